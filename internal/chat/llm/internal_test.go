package llm

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"processor/internal/chat"
)

func FuzzTheInputOfAToolCallIsAnObjectThatJSONBTakes(f *testing.F) {
	for _, s := range []string{"", "{}", "null", `{"a":"\u0000"}`, `{"a":"\ud800\u0041"}`, `{"a":"\\\\u0000\ud83d\ude00"}`, "{\"\xff\":1}", `{"a":"\uD83D\uDE00"}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		out := objectOf(in)
		var object map[string]any
		if err := json.Unmarshal(out, &object); err != nil {
			t.Fatalf("objectOf(%q) = %s: %v", in, out, err)
		}
		// Only an escaped backslash may stand before u0000.
		plain := strings.ReplaceAll(string(out), `\\`, "")
		if strings.Contains(plain, `\u0000`) || !utf8.Valid(out) {
			t.Errorf("objectOf(%q) = %s holds what jsonb refuses", in, out)
		}
		if again := objectOf(string(out)); !bytes.Equal(again, out) {
			t.Errorf("objectOf is not idempotent: %s, then %s", out, again)
		}
	})
}

func FuzzDeltasJoinedAreTheCleanText(f *testing.F) {
	f.Add("a🙂b", uint8(2))
	f.Add("\xf0\x9f\x00", uint8(1))
	f.Fuzz(func(t *testing.T, text string, size uint8) {
		var said strings.Builder
		a := answer{emit: func(d chat.Delta) {
			if d.Text == "" || d.Text != chat.Clean(d.Text) {
				t.Errorf("delta %q", d.Text)
			}
			said.WriteString(d.Text)
		}}
		step := max(1, int(size))
		for i := 0; i < len(text); i += step {
			a.say(chat.TextDelta, text[i:min(i+step, len(text))])
		}
		a.flush()
		// A run of broken bytes is one replacement or several, by where it was cut.
		if utf8.ValidString(text) && said.String() != chat.Clean(text) {
			t.Errorf("%q became %q", text, said.String())
		}
	})
}

func TestAStreamIsBoundedByItsEventsAndNotByItsLength(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxEvent/2)
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"many events":         {strings.Repeat("data: "+long+"\n\n", 8), nil},
		"many events, CRLF":   {strings.Repeat("data: "+long+"\r\n\r\n", 8), nil},
		"one long line":       {long + long + "x", errEventTooLong},
		"one of many lines":   {strings.Repeat("data: "+long+"\n", 3), errEventTooLong},
		"lines with comments": {strings.Repeat("data: "+long+"\n:\n", 3), errEventTooLong},
	} {
		for kind, reader := range map[string]func(io.Reader) io.Reader{"whole": nothing, "half": iotest.HalfReader, "bytes": iotest.OneByteReader} {
			t.Run(name+" "+kind, func(t *testing.T) {
				t.Parallel()
				body := &eventBody{rc: io.NopCloser(reader(strings.NewReader(c.text)))}
				if _, err := io.Copy(io.Discard, body); !errors.Is(err, c.want) {
					t.Errorf("error is %v, want %v", err, c.want)
				}
			})
		}
	}
}

func nothing(r io.Reader) io.Reader { return r }

func TestWordsOfManyServersForTooLong(t *testing.T) {
	t.Parallel()
	for server, message := range map[string]string{
		"vllm":      "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens",
		"vllm new":  "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
		"ollama":    "input length exceeds maximum context length",
		"llama.cpp": "the request exceeds the available context size. try increasing the context size",
		"tgi":       "Input validation error: `inputs` must have less than 1024 tokens. Given: 2000",
		"anthropic": "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
		"bedrock":   "Input is too long for requested model.",
		"gemini":    "The input token count (2000000) exceeds the maximum number of tokens allowed (1048576).",
		"xai":       "This model's maximum prompt length is 131072 but the request contains 200000 tokens.",
	} {
		for _, body := range []string{
			`{"error":{"message":` + quote(message) + `,"code":400}}`,
			`{"error":` + quote(message) + `}`,
			`{"object":"error","message":` + quote(message) + `,"type":"BadRequestError","code":400}`,
			`{"detail":` + quote(message) + `}`,
			message,
		} {
			if code, retry := classify(newFailure(400, nil, []byte(body))); code != chat.CodeContextOverflow || retry {
				t.Errorf("%s: %s became %s, retry %v", server, body, code, retry)
			}
			if code, retry := classify(newFailure(429, nil, []byte(body))); code != chat.CodeRateLimited || !retry {
				t.Errorf("%s: %s with 429 became %s, retry %v", server, body, code, retry)
			}
		}
	}
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

func TestOpenAIOwnsTheNewParameter(t *testing.T) {
	t.Parallel()
	for base, want := range map[string]bool{
		OpenAIURL: true, "https://eu.api.openai.com/v1": true, "https://x.openai.azure.com/openai/v1": true,
		"http://localhost:11434/v1": false, "https://api.openai.com.evil.example/v1": false, "https://openrouter.ai/api/v1": false,
	} {
		if got := ownedByOpenAI(base); got != want {
			t.Errorf("%s: %v", base, got)
		}
	}
}
