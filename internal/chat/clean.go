package chat

import (
	"strings"
	"unicode/utf8"
)

// Clean replaces NUL and broken UTF-8 by U+FFFD, because jsonb refuses both and one such byte would fail the commit of
// a whole answer. Clean text, which is nearly all of it, is returned as it is, without an allocation.
func Clean(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
