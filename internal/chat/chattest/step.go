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
	for _, b := range before.Chats {
		i := slices.IndexFunc(after.Chats, func(a ChatRow) bool { return a.Chat.Number == b.Chat.Number })
		if i < 0 {
			continue
		}
		f.of = string(b.Chat.ID)
		f.rises(b.Chat, after.Chats[i].Chat)
		f.charges(b.Chat, after.Chats[i].Chat)
		f.writes(b.Chat, after.Chats[i].Chat, before.History(b.Chat.Number), after.History(b.Chat.Number))
		f.keeps(before, after, b.Chat.Number)
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
		f.same(cmp.Equal(b, a), "I7: a sweep changed an idle chat", b, a)
	}
	return errors.Join(f.all...)
}

func (f *faults) rises(b, a chat.Chat) {
	f.unless(a.Version == b.Version || a.Version == b.Version+1, "version %d follows %d", a.Version, b.Version)
	f.same(a.Version > b.Version || cmp.Equal(a, b), "the row changed without a transition", b, a)
	f.unless(a.Epoch >= b.Epoch && a.Void >= b.Void, "I2: epoch %d, void %d after %d, %d", a.Epoch, a.Void, b.Epoch, b.Void)
	f.unless(a.Turn == b.Turn || a.Turn == b.Turn+1, "I4: turn %d follows %d", a.Turn, b.Turn)
	sameOwner := a.Worker != nil && b.Worker != nil && *a.Worker == *b.Worker
	f.unless(a.Worker == nil || sameOwner || a.Epoch > b.Epoch, "I2: another owner in the same epoch %d", a.Epoch)
}

// charges: a takeover is charged in a recovery only, and a failed attempt by the owner only.
func (f *faults) charges(b, a chat.Chat) {
	recovered := a.Recoveries == b.Recoveries+1 && a.Epoch == b.Epoch+1 && b.Status == chat.Running && a.Status != chat.Running
	f.unless(a.Recoveries <= b.Recoveries || recovered, "I8: %d recoveries after %d", a.Recoveries, b.Recoveries)
	f.unless(a.Takeovers <= b.Takeovers || recovered, "I8: %d takeovers after %d without a recovery", a.Takeovers, b.Takeovers)
	f.unless(a.Attempts <= b.Attempts || a.Status == chat.Running && b.Status == chat.Running, "I8: %d attempts after %d", a.Attempts, b.Attempts)
}

// writes: history only grows at its end, under the row's epoch; a retry alone takes the error away that parked the chat.
func (f *faults) writes(b, a chat.Chat, old, now []chat.Message) {
	if b.Status == chat.Parked && a.Status == chat.Pending && a.Turn == b.Turn && len(old) > 0 {
		old = old[:len(old)-1]
	}
	if len(now) < len(old) || !slices.EqualFunc(old, now[:len(old)], sameMessage) {
		f.same(false, "I10: history was rewritten", old, now)
		return
	}
	for _, m := range now[len(old):] {
		f.unless(m.Epoch == a.Epoch, "I2: a message of epoch %d was written in epoch %d", m.Epoch, a.Epoch)
		f.unless(a.Version == b.Version+1, "a message was written without a transition")
	}
}

// sameMessage compares what no transition may change.
func sameMessage(a, b chat.Message) bool {
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
