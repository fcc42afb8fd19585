package chat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"processor/internal/jsonout"
)

// Marshal is json.Marshal without the escaping of < > & for HTML, which would make a text of 256 KiB grow sixfold and no longer
// fit a NATS message.
func Marshal(v any) ([]byte, error) { return AppendJSON(make([]byte, 0, 512), v) }

// AppendJSON appends what Marshal makes of v. What is encoded often is written without reflection; the bytes are those of encoding/json.
func AppendJSON(b []byte, v any) ([]byte, error) {
	w := jsonout.To(b)
	if write(&w, v) {
		return w.Bytes()
	}
	to := bytes.NewBuffer(b)
	enc := json.NewEncoder(to)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(to.Bytes(), []byte("\n")), nil
}

// jsonSize is how many bytes Marshal writes for text, at most. Newlines and quotes take two, other control characters six: an
// answer that is within a limit of text might not fit any message of NATS, and then nobody could read its chat.
func jsonSize(text string) (size int) {
	for i := range len(text) {
		size += jsonCost(text, i)
	}
	return size
}

func jsonCost(text string, i int) int {
	switch c := text[i]; {
	case c == '"', c == '\\', c == '\n', c == '\r', c == '\t':
		return 2
	case c < ' ':
		return 6
	case c == 0xE2 && len(text) > i+2 && text[i+1] == 0x80 && text[i+2]|1 == 0xA9: // U+2028 and U+2029, with the bytes that follow
		return 4
	default:
		return 1
	}
}

// Unmarshal reads exactly one JSON value into v and refuses unknown fields. Its errors are refusals that name the field.
// An empty payload is read as {}.
func Unmarshal(raw []byte, v any) error {
	if send, ok := v.(*SendRequest); ok && readSend(raw, send) {
		return nil
	}
	if len(bytes.TrimSpace(raw)) == 0 {
		raw = []byte("{}")
	}
	if !utf8.Valid(raw) {
		return Errorf(Invalid, "", "the request is not valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return malformed(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Errorf(Malformed, "", "the request has something after its JSON object")
	}
	return nil
}

func malformed(err error) error {
	var wrongType *json.UnmarshalTypeError
	if errors.As(err, &wrongType) {
		return Errorf(Malformed, wrongType.Field, "%s must be %s, not %s", orRequest(wrongType.Field), wrongType.Type, wrongType.Value)
	}
	return Errorf(Malformed, "", "the request is not what is expected here: %s", trimJSON(err))
}

func orRequest(field string) string {
	if field == "" {
		return "the request"
	}
	return field
}

func trimJSON(err error) string {
	const longest = 200
	s := fmt.Sprint(err)
	if len(s) > longest {
		s = s[:longest] + "…"
	}
	return s
}
