package chattest

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
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
	key := numbers(nil, int64(m.number))
	for _, r := range m.byNumber() {
		key = r.appendKey(key, now, names)
	}
	return string(m.appendWorkers(key, now, names))
}

func (m *Memory) appendWorkers(key []byte, now time.Time, names Names) []byte {
	byName := func(a, b chat.WorkerID) int { return cmp.Compare(names.Worker(a), names.Worker(b)) }
	for _, id := range slices.SortedFunc(maps.Keys(m.workers), byName) {
		w := m.workers[id]
		key = words(key, "|", string(names.Worker(id)), string(w.LostCause))
		key = numbers(key, bit(w.Draining), int64(now.Sub(w.HeartbeatAt)))
	}
	return key
}

func (r *record) appendKey(key []byte, now time.Time, names Names) []byte {
	c := r.chat
	key = words(key, "|", string(c.ID), string(c.Status))
	if c.Worker != nil {
		key = words(key, "by", string(names.Worker(*c.Worker)))
	}
	if r.dispatch.At != nil {
		key = words(key, "due")
		key = numbers(key, int64(max(0, r.dispatch.At.Sub(now))), int64(r.dispatch.Count))
	}
	key = numbers(key, int64(c.Number), int64(c.Turn), int64(c.Step), names.Epoch(c.Epoch), names.Epoch(c.Void),
		int64(c.Attempts), bit(c.RetryAt != nil), int64(c.Takeovers), int64(c.Recoveries), int64(c.InterruptTurn))
	for _, m := range r.messages {
		key = appendMessage(key, m, names.Epoch(m.Epoch))
	}
	for _, m := range r.queue {
		key = appendMessage(key, m, names.Epoch(m.Epoch))
	}
	return key
}

func appendMessage(key []byte, m chat.Message, epoch int64) []byte {
	key = words(key, "\n", string(m.Role), string(m.Finish), m.ClientID)
	key = numbers(key, bit(m.ID == nil), int64(m.Turn), int64(m.Step), epoch)
	for _, p := range m.Parts {
		key = words(key, string(p.Type), p.CallID)
		key = strconv.AppendQuote(key, p.Text)
	}
	return key
}

// words, numbers and bit are what fmt would do, at a tenth of the time: a walk makes millions of keys.
func words(key []byte, all ...string) []byte {
	for _, w := range all {
		key = append(append(key, ' '), w...)
	}
	return key
}

func numbers(key []byte, all ...int64) []byte {
	for _, n := range all {
		key = strconv.AppendInt(append(key, ' '), n, 10)
	}
	return key
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
