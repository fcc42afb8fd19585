package chat

import (
	"encoding/json"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Limits of what callers may send (CONTRACT section 2), in bytes unless said otherwise.
const (
	MaxText     = 256 << 10
	MaxMetadata = 16 << 10
	MaxSystem   = 256 << 10
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

func checkTitle(title string) error {
	if utf8.RuneCountInString(title) > MaxTitle {
		return Errorf(Invalid, "title", "title is longer than %d characters", MaxTitle)
	}
	return checkText("title", title, len(title))
}

func checkMetadata(raw json.RawMessage) error {
	if len(raw) > MaxMetadata {
		return Errorf(TooLarge, "metadata", "metadata has %d bytes, the limit is %d", len(raw), MaxMetadata)
	}
	if len(raw) == 0 {
		return nil
	}
	var object map[string]any
	if err := json.Unmarshal(raw, &object); err != nil {
		return Errorf(Invalid, "metadata", "metadata must be a JSON object")
	}
	if !cleanJSON(object) {
		return Errorf(Invalid, "metadata", "metadata contains a NUL character or text that is not UTF-8")
	}
	return nil
}

// cleanJSON reports whether jsonb can hold v: it refuses NUL in any string, keys included. Broken UTF-8 never gets here
// as such, since encoding/json replaces it; checkText on the raw bytes refuses it.
func cleanJSON(v any) bool {
	switch v := v.(type) {
	case string:
		return !strings.ContainsRune(v, 0)
	case []any:
		for _, x := range v {
			if !cleanJSON(x) {
				return false
			}
		}
	case map[string]any:
		for k, x := range v {
			if strings.ContainsRune(k, 0) || !cleanJSON(x) {
				return false
			}
		}
	}
	return true
}
