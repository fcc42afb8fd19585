package chat

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits of what callers may send (CONTRACT section 2), in bytes unless said otherwise.
const (
	MaxText     = 256 << 10
	MaxMetadata = 16 << 10
	// MaxTextJSON and MaxSystem count the text as JSON: chat and message together have to fit a reply over NATS.
	MaxTextJSON = 512 << 10
	MaxSystem   = 256 << 10
	// MaxInstructions is less than MaxSystem: they come with every message.
	MaxInstructions = 64 << 10
	// MaxTitle is in characters.
	MaxTitle = 200
	MaxModel = 200
)

var idPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// CheckID refuses what is not an id, naming the field.
func CheckID(field, id string) error {
	if !idPattern.MatchString(id) {
		return Errorf(Invalid, field, "%s must be 1 to 64 of A-Z a-z 0-9 _ -", field)
	}
	return nil
}

func checkText(field, s string, limit int) error {
	switch {
	case len(s) > limit:
		return Errorf(TooLarge, field, "%s has %d bytes, the limit is %d", field, len(s), limit)
	case !utf8.ValidString(s):
		return Errorf(Invalid, field, "%s is not valid UTF-8", field)
	case strings.ContainsRune(s, 0):
		return Errorf(Invalid, field, "%s contains a NUL character", field)
	}
	return nil
}

func checkJSON(field string, size, limit int) error {
	if size > limit {
		return Errorf(TooLarge, field, "%s takes %d bytes as JSON, the limit is %d", field, size, limit)
	}
	return nil
}

func checkTitle(title string) error {
	if utf8.RuneCountInString(title) > MaxTitle {
		return Errorf(Invalid, "title", "title is longer than %d characters", MaxTitle)
	}
	return checkText("title", title, len(title))
}

// checkMetadata refuses what is no JSON object that jsonb can hold, and returns it as it is stored: half a surrogate pair, which jsonb
// does not take, is replaced as in all other text.
func checkMetadata(raw json.RawMessage) (json.RawMessage, error) {
	if len(raw) > MaxMetadata {
		return nil, Errorf(TooLarge, "metadata", "metadata has %d bytes, the limit is %d", len(raw), MaxMetadata)
	}
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	object, err := decodeObject(raw)
	if err != nil {
		return nil, Errorf(Invalid, "metadata", "metadata must be a JSON object")
	}
	if !cleanJSON(object, maxDepth) {
		return nil, Errorf(Invalid, "metadata", "metadata contains a NUL character, a number beyond 1e±%d, or is nested more than %d deep", maxExponent, maxDepth)
	}
	stored, err := Marshal(object)
	if err != nil {
		return nil, Errorf(Invalid, "metadata", "metadata can't be stored")
	}
	return stored, nil
}

func decodeObject(raw []byte) (object map[string]any, err error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	err = dec.Decode(&object)
	return object, err
}

// Storable reports whether jsonb can hold a JSON object and gives it back at about the size that it has. A model may write anything: one number of
// seven letters, read back as a hundred thousand digits, and a chat with some of them can't be read any more.
func Storable(raw []byte) bool {
	object, err := decodeObject(raw)
	return err == nil && cleanJSON(object, maxDepth)
}

// maxDepth and maxExponent bound what jsonb is given: its parser has a stack, and it writes 1e1000 with all its digits.
const (
	maxDepth    = 100
	maxExponent = 30
)

// cleanJSON reports whether jsonb can hold v: it refuses NUL in any string, keys included. Broken UTF-8 never gets here
// as such, since encoding/json replaces it; Unmarshal refuses it in the raw bytes.
func cleanJSON(v any, depth int) bool {
	switch v := v.(type) {
	case string:
		return !strings.ContainsRune(v, 0)
	case json.Number:
		return cleanNumber(string(v))
	case []any:
		for _, x := range v {
			if depth == 0 || !cleanJSON(x, depth-1) {
				return false
			}
		}
	case map[string]any:
		for k, x := range v {
			if depth == 0 || strings.ContainsRune(k, 0) || !cleanJSON(x, depth-1) {
				return false
			}
		}
	}
	return true
}

func cleanNumber(s string) bool {
	i := strings.IndexAny(s, "eE")
	if i < 0 {
		return true
	}
	exponent, err := strconv.Atoi(s[i+1:])
	return err == nil && exponent >= -maxExponent && exponent <= maxExponent
}
