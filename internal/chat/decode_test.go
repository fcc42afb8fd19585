package chat_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"processor/internal/chat"
)

// What Postgres or a client may say, and what nobody does but somebody might.
func documents() []string {
	return []string{
		`[{"text": "It says \"hello\",\n\tand \\ or \/ and \b\f\r.", "type": "text"}]`, `[{"type":"text","text":"déjà vu, 漢字 🙂"}]`, `[ ]`, "\t[\n{ } ]\r",
		`[{"text": "why", "type": "reasoning"}, {"text": "so", "type": "text"}]`, `[{"name": "now", "type": "tool_call", "input": {"a": [1]}, "call_id": "c1"}]`,
		`[{"text": "\u00e9 \ud83d\ude42 \ud83d \u0001", "type": "text"}]`, `[{"TEXT": "a", "te\u0078t": "b", "text": "c", "text": "d"}]`,
		"[{\"text\": \"broken \xff\xc3\", \"type\": \"text\"}]", "[{\"\xff\": 1}]", "[{\"text\": \"a\nb\"}]", `[{"text": "\x"}]`, `[{"text": "a"} {"text": "b"}]`, `[{"text": "a"},]`,
		`[{"text" "a"}]`, `[{"text": "a",}]`, `[{"text": "a"}]]`, `[{"text": "a`, `[{"text": "a\`, `[{"text": null}, null]`, `[{"text": 1}]`, `null`, ``, `[`, `{`, `[{"text": "\é"}]`,
		`{"input_tokens": 12, "output_tokens": 0}`, `{"input_tokens": 012}`, `{"input_tokens": -1}`, `{"input_tokens": 1e3}`, `{"input_tokens": 1.0}`, `{"input_tokens": "1"}`,
		`{"input_tokens": 9223372036854775807}`, `{"input_tokens": 92233720368547758070}`, `{"input_tokens": }`, `{"cached": 3}`,
		`{"chat":"a","text":"hello\nthere","client_id":"1","model":"demo/echo","busy":"queue"}`, `{"chat":"a","parts":[{"type":"text","text":"b"}]}`,
		`{"chat":"a","text":null}`, `{"Chat":"a","text":"b"}`, `{"chat":"a","tex":"b"}`, `{"chat":"a"} {}`, `{"chat":1}`, "{\"chat\":\"\xff\"}",
		`{"chat":"a","text":"b","after":3,"params":{"instructions":"c"}}`, `{"text":"a","text":"b"}`, `{"text":"\u003c"}`, ` {} `, `[]`,
	}
}

// FuzzDecode looks for a document that is read at once in another way than encoding/json reads it.
func FuzzDecode(f *testing.F) {
	for _, raw := range documents() {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) { decodesAlike(t, raw) })
}

// The fuzz test's random bytes seldom are JSON, so this makes documents of random parts of it.
func TestDocumentsAreReadAsByEncodingJSON(t *testing.T) {
	t.Parallel()
	words := []string{
		"{", "}", "[", "]", ":", ",", " ", "\n", `"text"`, `"type"`, `"chat"`, `"input_tokens"`, `"output_tokens"`, `"busy"`, `"a"`, "null", "0", "17", "-1", "true",
		`"text": "a"`, `"type":"text"`, `[{`, `}]`, `"chat":"b"`, `"input_tokens": 12`,
	}
	word := rapid.OneOf(rapid.SampledFrom(words), rapid.Custom(func(t *rapid.T) string {
		s := rapid.OneOf(rapid.SampledFrom(texts()), rapid.String()).Draw(t, "text")
		raw, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if rapid.Bool().Draw(t, "not escaped") {
			return `"` + s + `"`
		}
		return string(raw)
	}))
	rapid.Check(t, func(t *rapid.T) {
		var raw string
		for _, w := range rapid.SliceOfN(word, 1, 12).Draw(t, "words") {
			raw += w
		}
		for _, format := range []string{"%s", `{%s}`, `[{"text":%s,"type":"text"}]`, `[{"text":"a"},{%s}]`, `{"chat":"a","text":%s}`, `{"input_tokens":%s}`} {
			decodesAlike(t, fmt.Sprintf(format, raw))
		}
	})
}

func decodesAlike(t rapid.TB, raw string) {
	t.Helper()
	alike(t, raw, "parts", chat.DecodeParts, func(raw []byte) (v []chat.Part, err error) { return v, json.Unmarshal(raw, &v) })
	alike(t, raw, "usage", chat.DecodeUsage, func(raw []byte) (v *chat.Usage, err error) { return v, json.Unmarshal(raw, &v) })
	type plain chat.SendRequest // read by encoding/json
	alike(t, raw, "request", func(raw []byte) (v chat.SendRequest, err error) { return v, chat.Unmarshal(raw, &v) },
		func(raw []byte) (chat.SendRequest, error) {
			var v plain
			err := chat.Unmarshal(raw, &v)
			return chat.SendRequest(v), err
		})
}

func alike[T any](t rapid.TB, raw, what string, read, reference func([]byte) (T, error)) {
	t.Helper()
	want, wantErr := reference([]byte(raw))
	got, err := read([]byte(raw))
	if fmt.Sprint(err) != strings.ReplaceAll(fmt.Sprint(wantErr), "chat_test.plain", "chat.SendRequest") {
		t.Fatalf("%s of %q: error %v, encoding/json has %v", what, raw, err, wantErr)
	}
	if d := cmp.Diff(want, got); err == nil && d != "" {
		t.Fatalf("%s of %q are read otherwise than by encoding/json (-want +got):\n%s", what, raw, d)
	}
}
