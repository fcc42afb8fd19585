package chattest

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"processor/internal/chat"
)

// Key is equal for two stores that behave alike from now on. What only names or dates things is left out (message ids, versions,
// times that passed), so that a walk over all states comes to an end; numbers and epochs stay, because leases hold them.
// Waits and ages are part of it: give the store a clock that moves only when the test says so.
func (m *Memory) Key() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	key := fmt.Appendf(nil, "%d", m.number)
	for _, r := range m.byNumber() {
		key = r.appendKey(key, now)
	}
	for _, id := range slices.Sorted(maps.Keys(m.workers)) {
		w := m.workers[id]
		key = fmt.Appendf(key, "|%s %t %s %d", id, w.Draining, w.LostCause, now.Sub(w.HeartbeatAt))
	}
	return string(key)
}

func (r *record) appendKey(key []byte, now time.Time) []byte {
	c := r.chat
	key = fmt.Appendf(key, "|%s %d %s %d.%d %d %d", c.ID, c.Number, c.Status, c.Turn, c.Step, c.Epoch, c.Void)
	if c.Worker != nil {
		key = fmt.Appendf(key, " by %s", *c.Worker)
	}
	if r.dispatch.At != nil {
		key = fmt.Appendf(key, " due %d %d", max(0, r.dispatch.At.Sub(now)), r.dispatch.Count)
	}
	key = fmt.Appendf(key, " %d %t %d %d %d", c.Attempts, c.RetryAt != nil, c.Takeovers, c.Recoveries, c.InterruptTurn)
	for _, m := range r.messages {
		key = appendMessage(key, m)
	}
	for _, m := range r.queue {
		key = appendMessage(key, m)
	}
	return key
}

func appendMessage(key []byte, m chat.Message) []byte {
	key = fmt.Appendf(key, "\n%t %d.%d %d %s %s %s", m.ID == nil, m.Turn, m.Step, m.Epoch, m.Role, m.Finish, m.ClientID)
	for _, p := range m.Parts {
		key = fmt.Appendf(key, " %s %s %q", p.Type, p.CallID, p.Text)
	}
	return key
}
