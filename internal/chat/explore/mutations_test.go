package explore

import (
	"strings"
	"testing"
	"time"

	"processor/internal/chat"
	"processor/internal/chat/chattest"
)

// TestBrokenRulesAreFound breaks one rule after another. A walk that finds nothing then proves nothing when it finds nothing.
func TestBrokenRulesAreFound(t *testing.T) {
	t.Parallel()
	right := chattest.DefaultRules()
	for what, broken := range map[string]struct {
		spoil func(*World)
		// finds is what the violation has to say.
		finds string
	}{
		"the guard ignores the epoch": {func(w *World) {
			w.Rules.Guard = func(c chat.Chat, l chat.Lease) bool { l.Epoch = c.Epoch; return right.Guard(c, l) }
		}, "I2"},
		"the guard ignores the worker, and a claim keeps the epoch": {func(w *World) {
			w.Rules.Claimed = func(c *chat.Chat) { c.Epoch = max(1, c.Epoch) }
			w.Rules.Guard = func(c chat.Chat, l chat.Lease) bool { return c.Worker != nil && right.Guard(c, under(l, *c.Worker)) }
		}, "I2"},
		"the guard ignores turn and step, so a repeated write lands twice": {func(w *World) {
			w.Rules.Guard = func(c chat.Chat, l chat.Lease) bool { l.Turn, l.Step = c.Turn, c.Step; return right.Guard(c, l) }
		}, "I2"},
		"a claim keeps the epoch": {func(w *World) { w.Rules.Claimed = func(c *chat.Chat) { c.Epoch = max(1, c.Epoch) } }, "I2"},
		"a second claim is accepted": {func(w *World) {
			w.Rules.Claimable = func(s chat.Status) bool { return s == chat.Pending || s == chat.Running }
		}, "not in the table"},
		"anybody may claim":                                {func(w *World) { w.Rules.Entitled = func(chattest.WorkerRow) bool { return true } }, "I2"},
		"a lost worker's beat revives it":                  {func(w *World) { w.Rules.Beats = func(chattest.WorkerRow) bool { return true } }, "I2"},
		"the wake is forgotten":                            {func(w *World) { w.Rules.Wake = func(*chattest.Dispatch, time.Time, time.Duration) {} }, "I3"},
		"a sweep never dispatches again":                   {func(w *World) { w.Steps, w.Flaws.NeverRedispatch = 0, true }, "never comes to rest"},
		"a beat compares nothing":                          {func(w *World) { w.Steps, w.Flaws.NeverLetGo = 0, true }, "never comes to rest"},
		"a write that had landed takes a later lease over": {func(w *World) { w.Steps, w.Flaws.AdoptLater = 0, true }, "I2"},
		"lost owners are left alone":                       {func(w *World) { w.Rules.Recoverable = func(chat.Status) bool { return false } }, "I3"},
		"idle chats are recovered": {func(w *World) {
			w.Rules.Recoverable = func(s chat.Status) bool { return s == chat.Running || s == chat.Waiting }
		}, "not in the table"},
		"a recovery keeps the epoch":   {func(w *World) { w.Rules.TakeOver = func(c *chat.Chat) { c.Recoveries++ } }, "I2"},
		"a truncation keeps the epoch": {func(w *World) { w.Rules.Truncated = func(*chat.Chat) {} }, "I2"},
		"a truncation takes one turn out of the middle": {func(w *World) {
			w.Rules.Cut = func(from int64, m chat.Message) bool { return *m.ID == from }
		}, "I10"},
		"a yield keeps the epoch":   {func(w *World) { w.Rules.HandOff = func(*chat.Chat) {} }, "I2"},
		"a yield is charged":        {func(w *World) { w.Rules.HandOff = func(c *chat.Chat) { c.Epoch++; c.Takeovers++ } }, "I8"},
		"every recovery is charged": {func(w *World) { w.Rules.Charged = func(chat.LostCause, bool) bool { return true } }, "I8"},
		"a frozen host is charged":  {func(w *World) { w.Rules.Charged = func(_ chat.LostCause, draining bool) bool { return !draining } }, "I8"},
		"a death while draining is charged": {func(w *World) {
			w.Draining, w.Rules.Charged = true, func(cause chat.LostCause, _ bool) bool { return cause == chat.LostGone }
		}, "I8"},
		"nothing is ever poisoned": {func(w *World) {
			w.Deaths, w.Rules.Poisoned = 2, func(chat.Chat) (string, string) { return "", "" }
		}, "I8"},
		"what leaves the queue does not enter the history": {func(w *World) { w.Rules.Inserted = func(chat.Message) bool { return false } }, "I4"},
		"a message sent twice is accepted twice": {func(w *World) {
			w.Rules.Accepted = func(string, chat.Message) bool { return false }
		}, "I4"},
		"a request to stop is missed": {func(w *World) { w.Rules.Asked = func(chat.Chat) bool { return false } }, "I4"},
		"a request to stop is kept":   {func(w *World) { w.Rules.Anew = anewBut(right, func(c *chat.Chat, turn int) { c.InterruptTurn = turn }) }, "is to stop"},
		"a request to stop hits the next turn": {func(w *World) {
			w.Rules.Anew = anewBut(right, func(c *chat.Chat, turn int) {
				if turn != 0 && c.Status == chat.Running && (c.Queued > 0 || turn < c.Turn) {
					c.InterruptTurn = c.Turn
				}
			})
		}, "nobody asked"},
		"a yield forgets the request to stop": {func(w *World) {
			w.Rules.HandOff = func(c *chat.Chat) { c.Epoch++; c.InterruptTurn = 0 }
		}, "that is forgotten"},
		"a recovery forgets the request to stop": {func(w *World) {
			w.Rules.TakeOver = func(c *chat.Chat) { right.TakeOver(c); c.InterruptTurn = 0 }
		}, "that is forgotten"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := World{Troubles: 1, Steps: 1, Rules: right}
			broken.spoil(&w)
			found := explore(t, w)
			if found.Violation == nil {
				t.Fatal("not found")
			}
			t.Logf("violation:\n%v", found.Violation)
			if !strings.Contains(found.Violation.Error(), broken.finds) {
				t.Errorf("found, but not for %q", broken.finds)
			}
		})
	}
}

func under(l chat.Lease, id chat.WorkerID) chat.Lease {
	l.Worker = id
	return l
}

// anewBut opens a turn and then spoils what it did, knowing the turn that had been asked to stop.
func anewBut(right chattest.Rules, spoil func(c *chat.Chat, turn int)) func(*chat.Chat) {
	return func(c *chat.Chat) {
		turn := c.InterruptTurn
		right.Anew(c)
		spoil(c, turn)
	}
}
