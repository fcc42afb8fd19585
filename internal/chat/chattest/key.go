package chattest

import (
	"cmp"
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
	return m.KeyUnder(Names{func(epoch int64) int64 { return epoch }, func(id chat.WorkerID) chat.WorkerID { return id }})
}

// Names are other names for epochs, which only rise, and for workers, for a walk that has to come to an end. They must tell apart whatever
// the holders of leases can tell apart.
type Names struct {
	Epoch  func(epoch int64) int64
	Worker func(id chat.WorkerID) chat.WorkerID
}

// KeyUnder is Key with other names.
func (m *Memory) KeyUnder(names Names) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	key := fmt.Appendf(nil, "%d", m.number)
	for _, r := range m.byNumber() {
		key = r.appendKey(key, now, names)
	}
	return string(m.appendWorkers(key, now, names))
}

func (m *Memory) appendWorkers(key []byte, now time.Time, names Names) []byte {
	byName := func(a, b chat.WorkerID) int { return cmp.Compare(names.Worker(a), names.Worker(b)) }
	for _, id := range slices.SortedFunc(maps.Keys(m.workers), byName) {
		w := m.workers[id]
		key = fmt.Appendf(key, "|%s %t %s %d", names.Worker(id), w.Draining, w.LostCause, now.Sub(w.HeartbeatAt))
	}
	return key
}

func (r *record) appendKey(key []byte, now time.Time, names Names) []byte {
	c := r.chat
	key = fmt.Appendf(key, "|%s %d %s %d.%d %d %d", c.ID, c.Number, c.Status, c.Turn, c.Step, names.Epoch(c.Epoch), names.Epoch(c.Void))
	if c.Worker != nil {
		key = fmt.Appendf(key, " by %s", names.Worker(*c.Worker))
	}
	if r.dispatch.At != nil {
		key = fmt.Appendf(key, " due %d %d", max(0, r.dispatch.At.Sub(now)), r.dispatch.Count)
	}
	key = fmt.Appendf(key, " %d %t %d %d %d", c.Attempts, c.RetryAt != nil, c.Takeovers, c.Recoveries, c.InterruptTurn)
	for _, m := range r.messages {
		key = appendMessage(key, m, names.Epoch(m.Epoch))
	}
	for _, m := range r.queue {
		key = appendMessage(key, m, names.Epoch(m.Epoch))
	}
	return key
}

func appendMessage(key []byte, m chat.Message, epoch int64) []byte {
	key = fmt.Appendf(key, "\n%t %d.%d %d %s %s %s", m.ID == nil, m.Turn, m.Step, epoch, m.Role, m.Finish, m.ClientID)
	for _, p := range m.Parts {
		key = fmt.Appendf(key, " %s %s %q", p.Type, p.CallID, p.Text)
	}
	return key
}
