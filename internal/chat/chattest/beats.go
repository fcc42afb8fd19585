package chattest

import (
	"context"
	"fmt"

	"processor/internal/chat"
)

// Register implements chat.Beats.
func (m *Memory) Register(_ context.Context, w chat.Worker) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.workers[w.ID]; ok {
		return fmt.Errorf("worker %s is registered already", w.ID)
	}
	w.StartedAt, w.HeartbeatAt = m.now(), m.now()
	m.workers[w.ID] = &WorkerRow{Worker: w}
	return nil
}

// Beat implements chat.Beats.
func (m *Memory) Beat(_ context.Context, id chat.WorkerID, running int, draining bool) (chat.Beat, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w, ok := m.workers[id]
	if !ok || !m.Rules.Beats(*w) {
		return chat.Beat{Lost: true}, nil
	}
	row := *w
	row.HeartbeatAt, row.Running, row.Draining, row.LostAt, row.LostCause = m.now(), running, row.Draining || draining, nil, ""
	m.workers[id] = &row
	var b chat.Beat
	for _, r := range m.of(id) {
		b.Count++
		b.Sum += int64(r.chat.Number) * r.chat.Epoch
		if m.Rules.Asked(r.chat) {
			b.Interrupted = append(b.Interrupted, ownedOf(r.chat))
		}
	}
	return b, nil
}

// of lists the chats that run under a worker, under the caller's lock.
func (m *Memory) of(id chat.WorkerID) []*record {
	var all []*record
	for _, r := range m.byNumber() {
		if r.chat.Status == chat.Running && *r.chat.Worker == id {
			all = append(all, r)
		}
	}
	return all
}

func ownedOf(c chat.Chat) chat.Owned {
	return chat.Owned{Chat: c.ID, Number: c.Number, Epoch: c.Epoch, Turn: c.Turn, Step: c.Step, Interrupted: c.InterruptRequested()}
}

// Owned implements chat.Beats.
func (m *Memory) Owned(_ context.Context, id chat.WorkerID) ([]chat.Owned, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []chat.Owned
	for _, r := range m.of(id) {
		all = append(all, ownedOf(r.chat))
	}
	return all, nil
}

// Release implements chat.Beats.
func (m *Memory) Release(_ context.Context, id chat.WorkerID) ([]chat.Outcome, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []chat.Outcome
	for _, r := range m.of(id) {
		c := m.open(r)
		m.yield(c)
		all = append(all, c.put(chat.Yield))
	}
	return all, nil
}

// Unregister implements chat.Beats.
func (m *Memory) Unregister(_ context.Context, id chat.WorkerID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.workers, id)
	return nil
}
