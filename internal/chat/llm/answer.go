package llm

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"processor/internal/chat"
)

const (
	// maxInput bounds the input of all tool calls of one answer together, maxCalls their number.
	maxInput = 256 << 10
	maxCalls = 128
)

// answer gathers one answer while it streams.
type answer struct {
	emit func(chat.Delta)
	req  *chat.Request

	// kind and tail are the start of a rune whose end must come with the next delta of that kind.
	kind chat.DeltaKind
	tail string

	calls []*toolCall
	input int

	usage  chat.Usage
	finish chat.Finish
	events int
}

type toolCall struct {
	index    int64
	id, name string
	input    strings.Builder
}

// say hands a piece of the answer on. Some providers cut text by bytes, so a rune that is not whole waits for its rest.
func (a *answer) say(kind chat.DeltaKind, text string) {
	if text == "" {
		return
	}
	if a.tail != "" {
		if kind != a.kind {
			a.flush()
		}
		text, a.tail = a.tail+text, ""
	}
	if n := halfRune(text); n > 0 {
		a.kind, a.tail = kind, strings.Clone(text[len(text)-n:])
		text = text[:len(text)-n]
	}
	if text != "" {
		a.emit(chat.Delta{Kind: kind, Text: chat.Clean(text)})
	}
}

// flush hands on the start of a rune whose rest never came.
func (a *answer) flush() {
	if a.tail != "" {
		a.emit(chat.Delta{Kind: a.kind, Text: chat.Clean(a.tail)})
		a.tail = ""
	}
}

// halfRune is the number of bytes at the end of s that begin a rune and do not finish it.
func halfRune(s string) int {
	for n := 1; n < utf8.UTFMax && n <= len(s); n++ {
		if c := s[len(s)-n]; utf8.RuneStart(c) {
			if c < utf8.RuneSelf || utf8.FullRuneInString(s[len(s)-n:]) {
				return 0
			}
			return n
		}
	}
	return 0
}

// call finds the tool call of that index, or begins it. An id that differs begins another one under the same index:
// some compatible servers number all their calls zero.
func (a *answer) call(index int64, id string) (*toolCall, error) {
	for i := len(a.calls) - 1; i >= 0; i-- {
		c := a.calls[i]
		if c.index == index && (id == "" || c.id == "" || c.id == id) {
			if c.id == "" {
				c.id = id
			}
			return c, nil
		}
	}
	if len(a.calls) == maxCalls {
		return nil, fmt.Errorf("more than %d tool calls in one answer", maxCalls)
	}
	c := &toolCall{index: index, id: id}
	a.calls = append(a.calls, c)
	return c, nil
}

func (a *answer) write(c *toolCall, piece string) error {
	if a.input += len(piece); a.input > maxInput {
		return fmt.Errorf("the input of the tool calls is longer than %d bytes", maxInput)
	}
	c.input.WriteString(piece)
	return nil
}

// result is the whole answer. Usage that the provider did not tell stays unknown.
func (a *answer) result() chat.Answer {
	a.flush()
	out := chat.Answer{Finish: a.finish}
	if a.usage != (chat.Usage{}) {
		out.Usage = &a.usage
	}
	for i, c := range a.calls {
		out.Calls = append(out.Calls, a.part(i, c))
	}
	return out
}

// part makes up the id of a call that has none: results need it, and it must not change when the call is loaded again.
func (a *answer) part(i int, c *toolCall) chat.Part {
	id := chat.Clean(c.id)
	if id == "" {
		id = fmt.Sprintf("call_%d_%d_%d", a.req.Call.Turn, a.req.Call.Step, i)
	}
	return chat.Part{Type: chat.ToolCallPart, CallID: id, Name: chat.Clean(c.name), Input: objectOf(c.input.String())}
}

// objectOf makes the input of a tool call a JSON object, because Anthropic refuses a history with anything else in it and
// jsonb what is not JSON, or more than it can give back. What the model wrote instead is kept as {"invalid_input": "…"}: the tool will refuse it by
// name, the model reads why, and the chat lives on.
func objectOf(text string) json.RawMessage {
	text = strings.TrimSpace(chat.Clean(text))
	if text == "" {
		return json.RawMessage("{}")
	}
	if text[0] == '{' && json.Valid([]byte(text)) {
		if input := cleanEscapes(text); chat.Storable(input) {
			return input
		}
	}
	wrapped, err := json.Marshal(map[string]string{"invalid_input": text})
	if err != nil {
		return json.RawMessage("{}")
	}
	return wrapped
}

// cleanEscapes does for the escapes of valid JSON what chat.Clean does for bytes: jsonb refuses \u0000 and halves of
// surrogate pairs. Decoding and encoding again would do it too, and would change numbers.
func cleanEscapes(text string) json.RawMessage {
	if !strings.Contains(text, `\u`) {
		return json.RawMessage(text)
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); {
		n := 1
		if text[i] == '\\' {
			n = 2
			if text[i+1] == 'u' {
				n = escapeLen(text[i:])
			}
		}
		if n < 0 {
			out, i = append(out, `\ufffd`...), i-n
			continue
		}
		out, i = append(out, text[i:i+n]...), i+n
	}
	return out
}

// escapeLen is the length of the \u escape, or pair of them, that text begins with; negative when jsonb refuses it.
func escapeLen(text string) int {
	r := hexRune(text)
	switch {
	case r == 0, r >= 0xDC00 && r < 0xE000:
		return -6
	case r < 0xD800 || r >= 0xE000:
		return 6
	case strings.HasPrefix(text[6:], `\u`):
		if low := hexRune(text[6:]); low >= 0xDC00 && low < 0xE000 {
			return 12
		}
	}
	return -6
}

// hexRune reads the four digits of a \u escape in valid JSON.
func hexRune(text string) rune {
	var r rune
	for _, c := range []byte(text[2:6]) {
		switch {
		case c <= '9':
			r = r<<4 | rune(c-'0')
		default:
			r = r<<4 | rune(c|0x20-'a'+10)
		}
	}
	return r
}
