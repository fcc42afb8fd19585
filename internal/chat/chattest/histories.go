package chattest

import (
	"context"
	"maps"
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
		return nil, chat.ErrNoTurn(c.chat.ID, turn)
	case c.opened(turn):
		return nil, chat.ErrOpenTurn(turn)
	}
	return history, nil
}

// opened reports whether a turn is not over.
func (c *change) opened(turn int) bool {
	return turn == c.chat.Turn && c.from != chat.Waiting && c.from != chat.Parked
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
func (m *Memory) Before(ctx context.Context, id chat.ID, turn int) (chat.TurnReply, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, err := m.findFor(ctx, id)
	if err != nil {
		return chat.TurnReply{}, err
	}
	reply := chat.TurnReply{Chat: c.chat}
	for _, msg := range c.messages {
		switch {
		case msg.Turn < turn:
			reply.After = *msg.ID
		case msg.Turn == turn && c.forgotten[*msg.ID]:
			reply.Forgotten = true
		}
	}
	return reply, nil
}

// Forget implements chat.Histories.
func (m *Memory) Forget(ctx context.Context, id chat.ID, turn int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, err := m.findFor(ctx, id)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(c.messages, func(msg chat.Message) bool { return msg.Turn == turn && msg.Role == chat.User })
	switch {
	case i < 0 || c.forgotten[*c.messages[i].ID]:
		return chat.ErrNoTurn(id, turn)
	case c.opened(turn):
		return chat.ErrOpenTurn(turn)
	}
	c.forgotten = maps.Clone(c.forgotten)
	if c.forgotten == nil {
		c.forgotten = map[int64]bool{}
	}
	c.forgotten[*c.messages[i].ID] = true
	m.chats[id] = c.record
	return nil
}
