package chattest

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"

	"processor/internal/chat"
)

// object is what a missing JSON object is stored as.
func object(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("{}")
	}
	return slices.Clone(raw)
}

// Get implements chat.Queries.
func (m *Memory) Get(ctx context.Context, id chat.ID) (chat.Chat, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, err := m.findFor(ctx, id)
	if err != nil {
		return chat.Chat{}, err
	}
	return c.chat, nil
}

// Snapshot implements chat.Queries.
func (m *Memory) Snapshot(ctx context.Context, id chat.ID, after int64, limit int) (chat.Snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, err := m.findFor(ctx, id)
	if err != nil {
		return chat.Snapshot{}, err
	}
	var kept int64
	page := slices.DeleteFunc(slices.Clone(c.messages), func(msg chat.Message) bool {
		if *msg.ID <= after {
			kept = *msg.ID
		}
		return *msg.ID <= after
	})
	s := chat.Snapshot{Chat: c.chat, Messages: page, Kept: &kept}
	if len(page) > limit {
		s.Messages, s.Next = page[:limit], *page[limit-1].ID
	}
	return s, nil
}

// Queue implements chat.Queries.
func (m *Memory) Queue(ctx context.Context, id chat.ID, after string, bytes int) (chat.Queued, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, err := m.findFor(ctx, id)
	if err != nil {
		return chat.Queued{}, err
	}
	first := slices.IndexFunc(c.queue, func(msg chat.Message) bool { return msg.ClientID == after }) + 1
	waiting, before := c.queue[first:], 0
	q := chat.Queued{Chat: c.chat}
	for _, msg := range waiting {
		if before >= bytes {
			break
		}
		parts, err := chat.Marshal(msg.Parts)
		if err != nil {
			return chat.Queued{}, err
		}
		before += len(parts)
		q.Messages = append(q.Messages, msg)
	}
	q.More = len(q.Messages) < len(waiting)
	return q, nil
}

// Find implements chat.Queries.
func (m *Memory) Find(ctx context.Context, id chat.ID, clientID string) (chat.Message, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, err := m.findFor(ctx, id)
	if err != nil {
		return chat.Message{}, err
	}
	found, ok := c.accepted(clientID)
	if !ok {
		return chat.Message{}, chat.ErrNoMessage(clientID)
	}
	return found, nil
}

// List implements chat.Queries.
func (m *Memory) List(ctx context.Context, f chat.Filter) ([]chat.Chat, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	only := chat.TenantOf(ctx)
	var page []chat.Chat
	for _, r := range slices.Backward(m.byNumber()) {
		c := r.chat
		if (f.Status != "" && c.Status != f.Status) || (f.Tenant != "" && c.Tenant != f.Tenant) || (only != "" && c.Tenant != only) || (f.Before != 0 && c.Number >= f.Before) {
			continue
		}
		if len(page) < f.Limit {
			page = append(page, c)
		}
	}
	return page, nil
}

// byNumber lists the records in the order of creation, under the caller's lock.
func (m *Memory) byNumber() []*record {
	return slices.SortedFunc(maps.Values(m.chats), func(a, b *record) int { return cmp.Compare(a.chat.Number, b.chat.Number) })
}

// Workers implements chat.Queries.
func (m *Memory) Workers(context.Context) ([]chat.Worker, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	var all []chat.Worker
	for _, id := range slices.Sorted(maps.Keys(m.workers)) {
		row := *m.workers[id]
		w, age := row.Worker, now.Sub(row.HeartbeatAt)
		w.HeartbeatAge, w.Status = age.Milliseconds(), chat.WorkerLive
		switch {
		case row.LostAt != nil:
			w.Status = chat.WorkerLost
		case age >= m.SuspectAfter:
			w.Status = chat.WorkerSuspect
		}
		all = append(all, w)
	}
	return all, nil
}
