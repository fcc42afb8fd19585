package chattest

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"processor/internal/chat"
)

// TestBrokenRulesAreNoticed breaks one rule of Memory after another: a game that notices none of them proves nothing.
func TestBrokenRulesAreNoticed(t *testing.T) {
	t.Parallel()
	for what, spoil := range map[string]func(*Rules){
		"the guard ignores the epoch": func(r *Rules) {
			r.Guard = func(c chat.Chat, l chat.Lease) bool {
				l.Epoch = c.Epoch
				return guard(c, l)
			}
		},
		"the guard ignores turn and step": func(r *Rules) {
			r.Guard = func(c chat.Chat, l chat.Lease) bool {
				l.Turn, l.Step = c.Turn, c.Step
				return guard(c, l)
			}
		},
		"anybody may claim":               func(r *Rules) { r.Entitled = func(WorkerRow) bool { return true } },
		"a lost worker's beat revives it": func(r *Rules) { r.Beats = func(WorkerRow) bool { return true } },
		"the wake is forgotten":           func(r *Rules) { r.Wake = func(*Dispatch, time.Time, time.Duration) {} },
		"a yield is charged": func(r *Rules) {
			r.HandOff = func(c *chat.Chat) {
				c.Epoch++
				c.Takeovers++
			}
		},
		"a yield keeps the epoch":     func(r *Rules) { r.HandOff = func(*chat.Chat) {} },
		"every recovery is charged":   func(r *Rules) { r.Charged = func(chat.LostCause, bool) bool { return true } },
		"nothing is ever poisoned":    func(r *Rules) { r.Poisoned = func(chat.Chat) (string, string) { return "", "" } },
		"a request to stop is missed": func(r *Rules) { r.Asked = func(chat.Chat) bool { return false } },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			m := NewMemory()
			spoil(&m.Rules)
			for seed := range 100 {
				if noticed(t, seed, m) != "" {
					return
				}
			}
			t.Error("100 games did not notice")
		})
	}
}

// TestDifferencesAreNoticed plays a store against one that is like it, and one that is not.
func TestDifferencesAreNoticed(t *testing.T) {
	t.Parallel()
	other := NewMemory()
	other.Rules.HandOff = func(c *chat.Chat) { c.Epoch += 2 }
	for seed := range 5 {
		if found := noticed(t, seed, NewMemory(), NewMemory()); found != "" {
			t.Fatalf("two stores that are alike differ: %s", found)
		}
		if noticed(t, seed, NewMemory(), other) != "" {
			return
		}
	}
	t.Error("a store that skips an epoch looks like one that does not")
}

// noticed plays one game, and returns what it stopped at.
func noticed(t *testing.T, seed int, stores ...Store) string {
	t.Helper()
	return rapid.Custom(func(rt *rapid.T) (found string) {
		defer func() {
			if r := recover(); r != nil {
				found = fmt.Sprint(r)
			}
		}()
		rapid.Bool().Draw(rt, "a draw, which rapid wants of every generator")
		play(t.Context(), rt, stores...)
		return ""
	}).Example(seed)
}
