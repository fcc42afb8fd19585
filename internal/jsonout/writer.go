// Package jsonout writes JSON by appending to a slice, for the few types that are encoded thousands of times a second. What it writes is byte
// for byte what encoding/json writes of the same struct without the escaping for HTML: there is one form of an event, whoever encoded it, and
// tests compare the two for every such type.
package jsonout

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf8"
)

// Writer appends one JSON value. The first error is kept; what was written is of no use then. It stays on the stack as long as no call through
// an interface or a type parameter takes it.
type Writer struct {
	b   []byte
	err error
}

// To appends to b.
func To(b []byte) Writer { return Writer{b: b} }

// Bytes are what was there before and what was written.
func (w *Writer) Bytes() ([]byte, error) { return w.b, w.err }

// Open begins an object or an array.
func (w *Writer) Open(bracket byte) { w.b = append(w.b, bracket) }

// Close ends an object or an array.
func (w *Writer) Close(bracket byte) { w.b = append(w.b, bracket) }

// Next comes before every element of an array; Key does it in an object. No value ends with an opening bracket, so there is nothing to
// remember.
func (w *Writer) Next() {
	if c := w.b[len(w.b)-1]; c != '{' && c != '[' {
		w.b = append(w.b, ',')
	}
}

// Key begins a field. The name has nothing to escape.
func (w *Writer) Key(name string) *Writer {
	w.Next()
	w.b = append(append(append(w.b, '"'), name...), '"', ':')
	return w
}

// Null writes null.
func (w *Writer) Null() { w.b = append(w.b, "null"...) }

// Bool writes true or false.
func (w *Writer) Bool(v bool) { w.b = strconv.AppendBool(w.b, v) }

// Int writes a number.
func (w *Writer) Int(n int64) { w.b = strconv.AppendInt(w.b, n, 10) }

// Time writes a time, which has to be one that RFC 3339 knows.
func (w *Writer) Time(t time.Time) {
	w.b = append(w.b, '"')
	b, err := t.AppendText(w.b)
	if err != nil {
		w.fail(err)
		return
	}
	w.b = append(b, '"')
}

// Raw writes a value that is JSON already, without its white space.
func (w *Writer) Raw(raw json.RawMessage) {
	if string(raw) == "{}" {
		w.b = append(w.b, raw...)
		return
	}
	to := bytes.NewBuffer(w.b)
	if err := json.Compact(to, raw); err != nil {
		w.fail(err)
		return
	}
	w.b = to.Bytes()
}

func (w *Writer) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

// String writes a string. What is not UTF-8 becomes U+FFFD.
func (w *Writer) String(s string) {
	b := append(w.b, '"')
	done, i := 0, 0 // what is before done was copied
	for i < len(s) {
		if i+8 <= len(s) && plain(s[i:i+8]) {
			i += 8
			continue
		}
		c := s[i]
		if c < utf8.RuneSelf {
			if c < ' ' || c == '"' || c == '\\' {
				b = appendControl(append(b, s[done:i]...), c)
				done = i + 1
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if escaped := escape(r, size); escaped != "" {
			b = append(append(b, s[done:i]...), escaped...)
			done = i + size
		}
		i += size
	}
	w.b = append(append(b, s[done:]...), '"')
}

// plain reports whether eight bytes are ASCII with nothing to escape, all in one go: of a byte that is not, one of the differences has the high
// bit.
func plain(s string) bool {
	const each = 0x0101010101010101
	x := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 | uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
	return (x|(x-each*' ')|((x^each*'"')-each)|((x^each*'\\')-each))&(each*0x80) == 0
}

// escape is nothing for most runes. JavaScript's string literals once ended at two of them.
func escape(r rune, size int) string {
	switch {
	case r == utf8.RuneError && size == 1:
		return `\ufffd`
	case r == '\u2028':
		return `\u2028`
	case r == '\u2029':
		return `\u2029`
	}
	return ""
}

func appendControl(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\b':
		return append(b, '\\', 'b')
	case '\f':
		return append(b, '\\', 'f')
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	}
	const hex = "0123456789abcdef"
	return append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}
