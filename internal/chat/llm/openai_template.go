package llm

import (
	"strings"

	"github.com/tidwall/gjson"

	"processor/internal/chat"
)

// template is a chunk that said one text, with that text left out: nearly every chunk of an answer is the one before with another text. One
// that fits is not parsed again. That is no guess at what it means:
//
//   - The blank is where the parser found the text, between its quotes. What fits has the same bytes around a whole JSON string
//     without errors, so it is JSON, and every other key and value in it is what and where it was.
//   - A template is only made of a chunk whose one effect was that text (spoken): with the same bytes around it another text has no more.
//   - The text is not empty. An empty one counts as none, and then another field may be read for it (reasoning).
//
// A second blank is for the padding by which a provider hides how long the text is, such as OpenAI's obfuscation: a string on the
// outermost level, behind the text, under a name that is not read. What does not fit is parsed, and means what it says.
type template struct {
	kind                   chat.DeltaKind
	before, between, after string
	padded                 bool
}

// fit returns the text of data, if data is a chunk of the template.
func (t *template) fit(data []byte) (text string, ok bool) {
	begin := len(t.before)
	if begin == 0 || len(data) < begin || string(data[:begin]) != t.before {
		return "", false
	}
	end, escaped := stringEnd(data, begin)
	if end <= begin {
		return "", false
	}
	rest := data[end:]
	if t.padded {
		n := len(t.between)
		if len(rest) < n || string(rest[:n]) != t.between {
			return "", false
		}
		at, escaped := stringEnd(rest, n)
		if at < 0 || escaped {
			return "", false
		}
		rest = rest[at:]
	}
	if string(rest) != t.after {
		return "", false
	}
	if !escaped {
		return string(data[begin:end]), true
	}
	token := string(data[begin-1 : end+1])
	if !gjson.Valid(token) {
		return "", false
	}
	text = gjson.Parse(token).Str
	return text, text != ""
}

// stringEnd finds the closing quote of the JSON string whose first byte is data[i]; it is negative if there is none, or a byte before it that no
// string may hold. Escapes are passed over, not checked.
func stringEnd(data []byte, i int) (end int, escaped bool) {
	for ; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			return i, escaped
		case c == '\\':
			escaped = true
			i++
		case c < ' ':
			return -1, false
		}
	}
	return -1, false
}

// spoken is what was found in a chunk while it was parsed.
type spoken struct {
	kind chat.DeltaKind
	// text is the last of so many texts.
	text  gjson.Result
	texts int
	// more is set by every effect that is no text.
	more    bool
	padding gjson.Result
}

// learn makes the chunk the template of those that follow it, if it can be one.
func (t *template) learn(chunk string, s *spoken) {
	if s.texts != 1 || s.more {
		return
	}
	begin, end, ok := inside(chunk, s.text)
	if !ok {
		return
	}
	*t = template{kind: s.kind, before: chunk[:begin], after: chunk[end:]}
	if from, to, ok := inside(chunk, s.padding); ok && from > end {
		t.padded, t.between, t.after = true, chunk[end:from], chunk[to:]
	}
}

// inside is where the string is that was found in the chunk, without its quotes.
func inside(chunk string, s gjson.Result) (begin, end int, ok bool) {
	if s.Type != gjson.String || s.Index <= 0 || !strings.HasPrefix(chunk[s.Index:], s.Raw) {
		return 0, 0, false
	}
	return s.Index + 1, s.Index + len(s.Raw) - 1, true
}
