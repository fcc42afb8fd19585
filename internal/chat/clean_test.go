package chat

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCleanReplacesWhatPostgresRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ in, want string }{
		"empty":            {"", ""},
		"clean":            {"grüß dich 🙂", "grüß dich 🙂"},
		"nul":              {"a\x00b\x00", "a\uFFFDb\uFFFD"},
		"half a rune":      {"a\xf0\x9f", "a\uFFFD"},
		"lone surrogate":   {"a\xed\xa0\x80b", "a\uFFFDb"},
		"replacement kept": {"a\uFFFDb", "a\uFFFDb"},
		"both":             {"\x00\xff", "\uFFFD\uFFFD"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := Clean(c.in); got != c.want {
				t.Errorf("Clean(%q) = %q, want %q", c.in, got, c.want)
			}
		})
	}
}

//nolint:paralleltest // allocations are counted for the whole process
func TestCleanTextCostsNoAllocation(t *testing.T) {
	text := strings.Repeat("grüß dich 🙂 ", 100)
	if n := testing.AllocsPerRun(100, func() { _ = Clean(text) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\x00\xff")
	f.Fuzz(func(t *testing.T, in string) {
		out := Clean(in)
		if !utf8.ValidString(out) || strings.ContainsRune(out, 0) {
			t.Errorf("Clean(%q) = %q is not clean", in, out)
		}
		if Clean(out) != out {
			t.Errorf("Clean is not idempotent on %q", in)
		}
	})
}
