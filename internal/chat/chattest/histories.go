package chattest

import (
	"context"
	"slices"

	"processor/internal/chat"
)

// Append implements chat.Histories.
func (m *Memory) Append(ctx context.Context, id chat.ID, all []chat.Exchange) (chat.Outcome, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, err := m.findFor(ctx, id)
	if err != nil {
		return chat.Outcome{}, err
	}
	if err := chat.Append.Check(c.from); err != nil {
		return chat.Outcome{}, err
	}
	c.exchange(all)
	return c.put(chat.Append), nil
}

// exchange writes turns that are over.
func (c *change) exchange(all []chat.Exchange) {
	for _, msg := range chat.Exchanged(c.chat.Turn, c.chat.Epoch, all) {
		c.chat.Turn, c.chat.Step = msg.Turn, 1
		c.add(msg)
	}
}

// Fork implements chat.Histories.
func (m *Memory) Fork(ctx context.Context, f chat.NewFork) (chat.Sent, error) {
	if only := chat.TenantOf(ctx); only != "" && f.Tenant != only {
		return chat.Sent{}, chat.ErrTenant(only)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if r, ok := m.chats[f.ID]; ok {
		return m.open(r).forked(f)
	}
	n := f.NewChat
	var copied []chat.Message
	if f.From != "" {
		from, err := m.findFor(ctx, f.From)
		if err == nil {
			copied, err = from.upTo(f.Turn)
		}
		if err != nil {
			return chat.Sent{}, err
		}
		n.Tenant, n.Title, n.Model, n.System = from.chat.Tenant, from.chat.Title, from.chat.Model, from.chat.System
	}
	c := m.create(n, f.Digest())
	for _, msg := range copied {
		m.message++
		id := m.message
		msg.ID, msg.Chat = &id, f.ID
		c.messages = append(c.messages, msg)
		c.chat.Turn, c.chat.Epoch = msg.Turn, msg.Epoch
	}
	c.exchange(f.Exchanges)
	c.added = nil
	sent := chat.Sent{}
	if f.Message != nil {
		c.pend(m.RedispatchAfter)
		sent.Message = c.turn(userMessage(*f.Message))
	}
	m.chats[f.ID] = c.record
	sent.Outcome = chat.Outcome{Changed: true, Chat: c.chat, Messages: c.added}
	return sent, nil
}

// upTo is the history up to a turn, which must be over.
func (c *change) upTo(turn int) ([]chat.Message, error) {
	history := slices.DeleteFunc(slices.Clone(c.messages), func(m chat.Message) bool { return m.Turn > turn })
	switch n := len(history); {
	case n == 0 || history[n-1].Turn != turn:
		return nil, chat.Errorf(chat.NotFound, "turn", "chat %q has no turn %d", string(c.chat.ID), turn)
	case turn == c.chat.Turn && c.from != chat.Waiting && c.from != chat.Parked:
		return nil, chat.Errorf(chat.Conflict, "turn", "turn %d is not over", turn)
	}
	return history, nil
}

// forked answers a fork under an id that exists.
func (c *change) forked(f chat.NewFork) (chat.Sent, error) {
	if c.digest != f.Digest() {
		return chat.Sent{}, chat.Errorf(chat.Conflict, "id", "there is another chat %q", string(f.ID))
	}
	sent := chat.Sent{Outcome: c.same(), Duplicate: true}
	for _, m := range c.messages {
		if f.Message != nil && m.Role == chat.User && m.Turn == f.Opens() {
			sent.Message = m
		}
	}
	return sent, nil
}

// Before implements chat.Histories.
func (m *Memory) Before(ctx context.Context, id chat.ID, turn int) (chat.Chat, int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, err := m.findFor(ctx, id)
	if err != nil {
		return chat.Chat{}, 0, err
	}
	var after int64
	for _, msg := range c.messages {
		if msg.Turn < turn {
			after = *msg.ID
		}
	}
	return c.chat, after, nil
}
