package chattest

import (
	"errors"
	"reflect"
	"slices"

	"github.com/google/go-cmp/cmp"

	"processor/internal/chat"
)

// CheckStep says what in one transaction's change of the rows breaks an invariant: what must only rise falls, what was written changes,
// or a row changes without a transition. before and after must be at most one transaction on each chat apart.
func CheckStep(before, after Rows) error {
	var f faults
	for _, row := range before.Chats {
		b := row.Chat
		now, ok := after.Chat(b.ID)
		if a := now.Chat; ok && a.Number == b.Number {
			f.of = string(b.ID)
			f.rises(b, a)
			f.owners(b, a, after)
			f.charges(b, a, after)
			f.writes(b, a, before.History(b.Number), after.History(b.Number))
			f.keeps(before, after, b.Number)
		}
	}
	for _, b := range before.Workers {
		if a, ok := after.Worker(b.ID); ok {
			f.of = "of worker " + string(b.ID)
			f.unless(b.LostAt == nil || a.LostAt != nil && a.HeartbeatAt.Equal(b.HeartbeatAt), "I2: lost is for ever")
			f.unless(!b.Draining || a.Draining, "draining only rises")
		}
	}
	return errors.Join(f.all...)
}

// CheckIdle says whether a sweep changed an idle or parked chat (I7).
func CheckIdle(before, after Rows) error {
	var f faults
	for _, b := range before.Chats {
		if b.Chat.Status != chat.Waiting && b.Chat.Status != chat.Parked {
			continue
		}
		a, _ := after.Chat(b.Chat.ID)
		f.of = string(b.Chat.ID)
		f.same(alike(b, a), "I7: a sweep changed an idle chat", b, a)
	}
	return errors.Join(f.all...)
}

func (f *faults) rises(b, a chat.Chat) {
	f.unless(a.Version == b.Version || a.Version == b.Version+1, "version %d follows %d", a.Version, b.Version)
	f.same(a.Version > b.Version || alike(a, b), "the row changed without a transition", b, a)
	f.unless(a.Epoch >= b.Epoch && a.Void >= b.Void, "I2: epoch %d, void %d after %d, %d", a.Epoch, a.Void, b.Epoch, b.Void)
	appended := a.Turn > b.Turn && a.Status == chat.Waiting && b.Status == chat.Waiting
	f.unless(a.Turn == b.Turn || a.Turn == b.Turn+1 || appended, "I4: turn %d follows %d", a.Turn, b.Turn)
}

// owners: every owner has an epoch of its own, and was entitled to claim. Who gives a chat back unfinished ends the epoch too.
func (f *faults) owners(b, a chat.Chat, after Rows) {
	f.unless(b.Status != chat.Running || a.Status != chat.Pending || a.Epoch > b.Epoch, "I2: epoch %d outlived its owner", b.Epoch)
	if a.Worker == nil || b.Worker != nil && *a.Worker == *b.Worker {
		return
	}
	w, ok := after.Worker(*a.Worker)
	f.unless(ok && w.LostAt == nil && !w.Draining, "I2: claimed by %s, which may not", *a.Worker)
	f.unless(b.Worker == nil && a.Epoch > b.Epoch, "I2: another owner in the same epoch %d", a.Epoch)
}

// charges: a takeover is charged in a recovery from a process that is gone and did not drain, and a failed attempt by the owner only.
func (f *faults) charges(b, a chat.Chat, after Rows) {
	recovered := a.Recoveries == b.Recoveries+1 && a.Epoch == b.Epoch+1 && b.Status == chat.Running && a.Status != chat.Running
	f.unless(a.Recoveries <= b.Recoveries || recovered, "I8: %d recoveries after %d", a.Recoveries, b.Recoveries)
	failed := a.Status == chat.Running && b.Status == chat.Running && !b.InterruptRequested()
	f.unless(a.Attempts <= b.Attempts || failed, "I8: %d attempts after %d", a.Attempts, b.Attempts)
	if a.Takeovers > b.Takeovers {
		var died bool
		if b.Worker != nil {
			w, ok := after.Worker(*b.Worker)
			died = ok && w.LostCause == chat.LostGone && !w.Draining
		}
		f.unless(recovered && died, "I8: %d takeovers after %d without a death", a.Takeovers, b.Takeovers)
	}
}

// writes: history only grows at its end, under the row's epoch; a retry alone takes the error away that parked the chat, and a truncation
// takes an end away that begins with a user message.
func (f *faults) writes(b, a chat.Chat, old, now []chat.Message) {
	if b.Status == chat.Parked && a.Status == chat.Pending && a.Turn == b.Turn && len(old) > 0 {
		old = old[:len(old)-1]
	}
	if truncated(b, a, old, now) {
		f.unless(a.Epoch == b.Epoch+1, "I2: a truncation left the chat in epoch %d", a.Epoch)
		return
	}
	if len(now) < len(old) || !slices.EqualFunc(old, now[:len(old)], alike[chat.Message]) {
		f.same(false, "I10: history was rewritten", old, now)
		return
	}
	for _, m := range now[len(old):] {
		f.unless(m.Epoch == a.Epoch, "I2: a message of epoch %d was written in epoch %d", m.Epoch, a.Epoch)
		f.unless(a.Version == b.Version+1, "a message was written without a transition")
		stopped := m.Finish == chat.Interrupted || m.Turn != b.Turn || !m.Ends()
		f.unless(!b.InterruptRequested() || stopped, "I4: turn %d was asked to stop and ended as %s", m.Turn, m.Finish)
	}
}

// truncated: a user message and all after it went, and the same sender's message opened a turn.
func truncated(b, a chat.Chat, old, now []chat.Message) bool {
	kept := len(now) - 1
	if kept < 0 || kept >= len(old) || a.Status != chat.Pending || a.Version != b.Version+1 || a.Turn != b.Turn+1 {
		return false
	}
	cut, opened := old[kept], now[kept]
	return cut.Role == chat.User && opened.Role == chat.User && opened.ClientID == cut.ClientID && opened.Turn == a.Turn && opened.Epoch == a.Epoch &&
		*opened.ID > *old[len(old)-1].ID && slices.EqualFunc(old[:kept], now[:kept], alike[chat.Message])
}

// alike is cmp.Equal with a short cut, since nearly everything compared here did not change.
func alike[T any](a, b T) bool {
	return reflect.DeepEqual(a, b) || cmp.Equal(a, b)
}

// same shows what differs, but works it out only if it matters.
func (f *faults) same(holds bool, what string, before, after any) {
	if !holds {
		f.unless(false, "%s:\n%s", what, cmp.Diff(before, after))
	}
}

// keeps: what was queued is queued or in history (I4).
func (f *faults) keeps(before, after Rows, n chat.Number) {
	kept := slices.Concat(after.History(n), after.Waiting(n))
	for _, m := range before.Waiting(n) {
		found := slices.ContainsFunc(kept, func(k chat.Message) bool { return k.ClientID == m.ClientID })
		f.unless(found, "I4: the queued message %q is gone", m.ClientID)
	}
}
