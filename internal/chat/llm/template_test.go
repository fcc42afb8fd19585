package llm

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"processor/internal/chat"
)

// outcome is all that is known of an answer after so many chunks.
type outcome struct {
	Deltas []chat.Delta
	Answer chat.Answer
	Events int
	Err    string
}

// read gives the chunks to one reader, either as it is or so that nothing fits.
func read(data []string, parseAll bool) (out outcome, fitted int) {
	a := answer{emit: func(d chat.Delta) { out.Deltas = append(out.Deltas, d) }, req: &chat.Request{}}
	c := chunks{answer: &a}
	for _, d := range data {
		if _, ok := c.like.fit([]byte(d)); ok {
			fitted++
		}
		take := c.take
		if parseAll {
			take = func(data []byte) error { return c.parse(string(data)) }
		}
		if err := take([]byte(d)); err != nil {
			out.Err = fmt.Sprintf("%T %v", err, err)
			break
		}
	}
	out.Events = a.events
	out.Answer = a.result()
	return out, fitted
}

func compare(t *testing.T, data []string) (fitted int) {
	t.Helper()
	want, _ := read(data, true)
	got, fitted := read(data, false)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("chunks %q: parsed one by one, and by the template (-want +got):\n%s", data, diff)
	}
	return fitted
}

const (
	plainBefore = `{"id":"1","created":1,"system_fingerprint":"fp","choices":[{"index":0,"delta":{"content":"`
	plainAfter  = `"},"logprobs":null,"finish_reason":null}],"usage":null}`
)

func plainChunk(body string) string { return plainBefore + body + plainAfter }

func TestAChunkLikeTheOneBeforeIsReadWithoutParsingIt(t *testing.T) {
	t.Parallel()
	padded := func(text, padding string) string {
		return strings.TrimSuffix(plainChunk(text), "}") + `,"obfuscation":"` + padding + `"}`
	}
	reasoning := func(text string) string {
		return `{"choices":[{"delta":{"content":null,"reasoning_content":"` + text + `"}}]}`
	}
	for name, c := range map[string]struct {
		chunks []string
		fitted int
	}{
		"text":               {[]string{plainChunk("a"), plainChunk(" b"), plainChunk("ü🙂")}, 2},
		"escapes":            {[]string{plainChunk("a"), plainChunk(`\n`), plainChunk(`\"`), plainChunk(`a\\`), plainChunk(`\/\b\f\r\t\u00fc`)}, 4},
		"surrogates":         {[]string{plainChunk("a"), plainChunk(`\ud83d\ude42`), plainChunk(`\ud83d`), plainChunk(`\ude42`), plainChunk(`\ud83dx`), plainChunk(`\ud83d\u0041`)}, 5},
		"NUL":                {[]string{plainChunk("a"), plainChunk(`\u0000`)}, 1},
		"broken UTF-8":       {[]string{plainChunk("a"), plainChunk("\xff"), plainChunk("\xf0\x9f"), plainChunk("\x99\x82"), plainChunk("\xf0")}, 4},
		"the template in it": {[]string{plainChunk("a"), plainChunk(strings.ReplaceAll(plainBefore+plainAfter, `"`, `\"`))}, 1},
		"padding":            {[]string{padded("a", "xyz"), padded("b", ""), padded(`\n`, "x")}, 2},
		"reasoning":          {[]string{reasoning("a"), reasoning("b"), plainChunk("c"), plainChunk("d")}, 2},
		"lines in it":        {[]string{"\n" + plainChunk("a") + "\n\n", "\n" + plainChunk("b") + "\n\n"}, 1},
		"another key before": {[]string{`{"p":"x","choices":[{"delta":{"content":"a"}}],"q":1}`, `{"p":"x","choices":[{"delta":{"content":"b"}}],"q":1}`}, 1},
		"the last of two":    {[]string{`{"choices":[{"delta":{"content":"a","content":"b"}}]}`, `{"choices":[{"delta":{"content":"a","content":"c"}}]}`}, 1},
		"an escaped key":     {[]string{`{"choices":[{"delta":{"\u0063ontent":"a"}}]}`, `{"choices":[{"delta":{"\u0063ontent":"b"}}]}`}, 1},
		"empty":              {[]string{plainChunk("a"), plainChunk("b"), plainChunk("")}, 1},
		"first empty":        {[]string{plainChunk(""), plainChunk("a"), plainChunk("b")}, 1},
		"null":               {[]string{plainChunk("a"), strings.Replace(plainChunk("null"), `"null"`, "null", 1), plainChunk("b")}, 1},
		"the end":            {[]string{plainChunk("a"), plainChunk("b"), strings.Replace(plainChunk("c"), `"finish_reason":null`, `"finish_reason":"stop"`, 1), plainChunk("d")}, 2},
		"usage": {
			[]string{plainChunk("a"), strings.Replace(plainChunk("b"), `"usage":null`, `"usage":{"prompt_tokens":1}`, 1), `{"choices":[],"usage":{"completion_tokens":2}}`}, 0,
		},
		"ends beyond the quote": {[]string{plainChunk("a"), plainChunk(`b\`)}, 0},
		"a quote too many":      {[]string{plainChunk("a"), plainChunk(`b"`)}, 0},
		"another field":         {[]string{plainChunk("a"), plainChunk(`b","content":"c`)}, 0},
		"a control character":   {[]string{plainChunk("a"), plainChunk("b\tc")}, 0},
		"no such escape":        {[]string{plainChunk("a"), plainChunk(`\x`)}, 0},
		"half an escape":        {[]string{plainChunk("a"), plainChunk(`\u12`)}, 0},
		"cut":                   {[]string{plainChunk("a"), plainBefore}, 0},
		"cut in the text":       {[]string{plainChunk("a"), plainBefore + "b"}, 0},
		"cut behind it":         {[]string{plainChunk("a"), plainBefore + `b"`}, 0},
		"more behind it":        {[]string{plainChunk("a"), plainChunk("b") + "x"}, 0},
		"padding escaped":       {[]string{padded("a", "x"), padded("b", `\n`), padded("c", `\x`)}, 0},
		"padding cut":           {[]string{padded("a", "x"), strings.TrimSuffix(padded("b", "x"), `"}`)}, 0},
		"padding before":        {[]string{`{"p":"x","choices":[{"delta":{"content":"a"}}]}`, `{"p":"y","choices":[{"delta":{"content":"b"}}]}`}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if fitted := compare(t, c.chunks); fitted != c.fitted {
				t.Errorf("%d chunks of %q were like the one before, want %d", fitted, c.chunks, c.fitted)
			}
		})
	}
}

func TestWhatChangesFromChunkToChunkIsParsed(t *testing.T) {
	t.Parallel()
	for name, format := range map[string]string{
		"id":                 `{"id":"%[2]d","choices":[{"delta":{"content":"%[1]s"}}]}`,
		"created":            `{"created":%[2]d,"choices":[{"delta":{"content":"%[1]s"}}]}`,
		"system_fingerprint": `{"choices":[{"delta":{"content":"%[1]s"}}],"system_fingerprint":"%[2]d","object":"chunk"}`,
		"two texts":          `{"choices":[{"delta":{"content":"%[1]s","refusal":"%[1]s"}}]}`,
		"two reasons":        `{"choices":[{"delta":{"reasoning":"%[1]s","reasoning_content":"%[1]s"}}]}`,
		"two choices":        `{"choices":[{"delta":{"content":"%[1]s"}},{"delta":{"content":"x"}}]}`,
		"two lists":          `{"choices":[{"delta":{"content":"%[1]s"}}],"choices":[{"delta":{"content":"x"}}]}`,
		"another's text":     `{"choices":[{"index":1,"delta":{"content":"%[1]s"}}]}`,
		"a text and an end":  `{"choices":[{"delta":{"content":"%[1]s"},"finish_reason":"length"}]}`,
		"a text and a call":  `{"choices":[{"delta":{"content":"%[1]s","tool_calls":[{"index":%[2]d,"function":{"arguments":"%[1]s"}}]}}]}`,
		"a text and usage":   `{"choices":[{"delta":{"content":"%[1]s"}}],"usage":{"completion_tokens":%[2]d}}`,
		"a text in an error": `{"error":{"message":"%[1]s"},"choices":[{"delta":{"content":"%[1]s"}}]}`,
		"arguments":          `{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"%[1]s"}}]}}]}`,
		"no object":          `["%[1]s"]`,
		"a string":           `"%[1]s"`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var data []string
			for i, text := range []string{"a", "b", "c"} {
				data = append(data, fmt.Sprintf(format, text, i))
			}
			if fitted := compare(t, data); fitted != 0 {
				t.Errorf("%d chunks of %q were taken for the one before", fitted, data)
			}
		})
	}
}

func FuzzATemplateMeansWhatTheParserSays(f *testing.F) {
	f.Add(plainBefore, plainAfter, "", "a\nb\n\\n\n\\ud83d\n\xff\n\n\"\n\\\nc")
	f.Add(plainBefore, `"},"finish_reason":null}],"obfuscation":"`, `"}`, "a\nb\nc\td\ne")
	f.Add(`{"choices":[{"delta":{"reasoning":"x","reasoning_content":"`, `"}}],"p":"`, `","error":null}`, "a\n\nb")
	f.Add(`{"choices":[{"delta":{"content":"a","content":"`, `","tool_calls":null}},{"index":1,"delta":{"content":"b"}}]`, `}`, "a\nb")
	f.Add(`{"error":null,"choices":[{"delta":{"refusal":"`, `"},"delta":{"content":"x"},"finish_reason":""}],"error":"`, `"}`, "a\nb")
	f.Add(`{"choices":{"x":{"index":"0","delta":{"content":"`, `"}}},"usage":"`, `"}`, "a\nb\",\"content\":\"c")
	f.Fuzz(func(t *testing.T, before, between, after, texts string) {
		var data []string
		for text := range strings.SplitSeq(texts, "\n") {
			data = append(data, before+text+between+after, before+text+between+text+after)
		}
		compare(t, data)
		// The same in another order: a template lives on over what does not fit it.
		for i := 2; i+1 < len(data); i += 2 {
			data[i], data[i-1] = data[i-1], data[i]
		}
		compare(t, data)
	})
}
