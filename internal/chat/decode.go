package chat

import (
	"encoding/json"
	"math"
	"strings"
	"unicode/utf8"
)

// Histories are read whole before every call of a model, and nearly all that is in them is parts of text. That, what was used, and a message that is
// sent, are read here at once; at anything else the reader gives up, and encoding/json reads all of it from the start.

// DecodeParts reads the parts of a message as json.Unmarshal does. Nothing is none.
func DecodeParts(raw []byte) ([]Part, error) {
	if raw == nil {
		return nil, nil
	}
	if parts, ok := readParts(raw); ok {
		return parts, nil
	}
	var parts []Part
	err := json.Unmarshal(raw, &parts)
	return parts, err
}

func readParts(raw []byte) ([]Part, bool) {
	r, parts := reader{raw: raw}, []Part{}
	r.array(func() {
		parts = append(parts, Part{})
		p := &parts[len(parts)-1]
		r.object(func(name []byte) {
			switch string(name) {
			case "text":
				p.Text = r.text()
			case "type":
				if p.Type = TextPart; !r.takes(`"text"`) {
					p.Type = PartType(r.text())
				}
			default:
				r.odd = true
			}
		})
	})
	return parts, r.whole()
}

// DecodeUsage reads what a message used as json.Unmarshal does. Nothing is none.
func DecodeUsage(raw []byte) (*Usage, error) {
	if raw == nil {
		return nil, nil //nolint:nilnil // a user's message used nothing
	}
	if u, ok := readUsage(raw); ok {
		return &u, nil
	}
	var u *Usage
	err := json.Unmarshal(raw, &u)
	return u, err
}

func readUsage(raw []byte) (u Usage, ok bool) {
	r := reader{raw: raw}
	r.object(func(name []byte) {
		switch string(name) {
		case "input_tokens":
			u.InputTokens = r.count()
		case "output_tokens":
			u.OutputTokens = r.count()
		default:
			r.odd = true
		}
	})
	return u, r.whole()
}

// readSend reports false, and leaves the request as it is, when it can't read all of it.
func readSend(raw []byte, to *SendRequest) bool {
	r, s := reader{raw: raw}, *to
	r.object(func(name []byte) {
		switch string(name) {
		case "chat":
			s.Chat = ID(r.text())
		case "text":
			text := r.text()
			s.Text = &text
		case "client_id":
			s.ClientID = r.text()
		case "model":
			s.Model = r.text()
		case "busy":
			s.Busy = Busy(r.text())
		default:
			r.odd = true
		}
	})
	if r.whole() {
		*to = s
	}
	return r.whole()
}

// reader reads JSON that has nothing odd in it. After something odd, what it returns means nothing.
type reader struct {
	raw []byte
	at  int
	odd bool
}

// whole reports whether everything was read.
func (r *reader) whole() bool {
	r.space()
	return !r.odd && r.at == len(r.raw)
}

func (r *reader) space() {
	for r.at < len(r.raw) && (r.raw[r.at] == ' ' || r.raw[r.at] == '\n' || r.raw[r.at] == '\r' || r.raw[r.at] == '\t') {
		r.at++
	}
}

// takes reports whether token is what comes next, and goes on behind it then.
func (r *reader) takes(token string) bool {
	r.space()
	if len(r.raw)-r.at < len(token) || string(r.raw[r.at:r.at+len(token)]) != token {
		return false
	}
	r.at += len(token)
	return true
}

func (r *reader) must(token string) { r.odd = !r.takes(token) || r.odd }

func (r *reader) array(element func()) {
	r.must("[")
	if r.takes("]") {
		return
	}
	for !r.odd {
		if element(); r.takes("]") {
			return
		}
		r.must(",")
	}
}

func (r *reader) object(field func(name []byte)) {
	r.must("{")
	if r.takes("}") {
		return
	}
	for !r.odd {
		name, escaped := r.quoted()
		r.odd = r.odd || escaped
		r.must(":")
		if field(name); r.takes("}") {
			return
		}
		r.must(",")
	}
}

// count reads a number that is not negative and far from overflowing.
func (r *reader) count() (n int64) {
	r.space()
	begin := r.at
	for ; r.at < len(r.raw) && '0' <= r.raw[r.at] && r.raw[r.at] <= '9' && n < math.MaxInt64/100; r.at++ {
		n = 10*n + int64(r.raw[r.at]-'0')
	}
	length := r.at - begin
	r.odd = r.odd || length == 0 || (length > 1 && r.raw[begin] == '0')
	return n
}

// quoted reads a string and returns what is between its quotes; escaped says that this has backslashes.
func (r *reader) quoted() (between []byte, escaped bool) {
	r.must(`"`)
	var all byte
	for i := r.at; i < len(r.raw); i++ {
		switch c := r.raw[i]; {
		case c == '"':
			between, r.at = r.raw[r.at:i], i+1
			r.odd = r.odd || (all >= utf8.RuneSelf && !utf8.Valid(between))
			return between, escaped
		case c == '\\':
			escaped = true
			i++
		case c < ' ':
			r.odd = true
			return nil, false
		default:
			all |= c
		}
	}
	r.odd = true
	return nil, false
}

// text reads a string without \u escapes, which hardly anybody writes where UTF-8 will do.
func (r *reader) text() string {
	raw, escaped := r.quoted()
	if r.odd || !escaped {
		return string(raw)
	}
	var b strings.Builder
	b.Grow(len(raw))
	begin := 0
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		b.Write(raw[begin:i])
		i++
		const codes, meanings = `"\/bfnrt`, "\"\\/\b\f\n\r\t"
		n := strings.IndexByte(codes, raw[i])
		if n < 0 {
			r.odd = true
			return ""
		}
		b.WriteByte(meanings[n])
		begin = i + 1
	}
	b.Write(raw[begin:])
	return b.String()
}
