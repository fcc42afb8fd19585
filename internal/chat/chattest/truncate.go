package chattest

import (
	"context"
	"slices"

	"processor/internal/chat"
)

// Truncate implements chat.Commands.
func (m *Memory) Truncate(ctx context.Context, t chat.Truncation) (chat.Outcome, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, err := m.findFor(ctx, t.Chat)
	if err != nil {
		return chat.Outcome{}, err
	}
	if err := chat.Truncate.Check(c.from); err != nil {
		return chat.Outcome{}, err
	}
	if err := t.CheckVersion(c.chat); err != nil {
		return chat.Outcome{}, err
	}
	again := c.message(t.Message)
	if err := t.CheckMessage(again.Role); err != nil {
		return chat.Outcome{}, err
	}
	if t.Parts != nil {
		again.Parts = t.Parts
	}
	if t.Model != "" {
		again.Model = t.Model
	}
	if t.Params != nil {
		again.Params = t.Params
	}
	owner, removed := c.chat.Worker, c.cut(t.Message)
	kept := c.last()
	m.Rules.Truncated(&c.chat)
	c.chat.LastError = nil
	c.pend(m.RedispatchAfter)
	c.turn(userMessage(chat.NewMessage{Parts: again.Parts, ClientID: again.ClientID, Model: again.Model, Params: again.Params}))
	out := c.put(chat.Truncate)
	out.Removed, out.Kept, out.Evicted = removed, kept, owner
	return out, nil
}

// message finds one in the history by its id.
func (c *change) message(id int64) chat.Message {
	i := slices.IndexFunc(c.messages, func(m chat.Message) bool { return *m.ID == id })
	if i < 0 {
		return chat.Message{}
	}
	return c.messages[i]
}

// cut takes a message and what came after it out of the history.
func (c *change) cut(from int64) (removed []int64) {
	goes := func(m chat.Message) bool { return c.m.Rules.Cut(from, m) }
	for _, m := range c.messages {
		if goes(m) {
			removed = append(removed, *m.ID)
		}
	}
	c.messages = slices.DeleteFunc(slices.Clone(c.messages), goes)
	return removed
}

// last is the id of the newest message, zero for none.
func (c *change) last() int64 {
	if len(c.messages) == 0 {
		return 0
	}
	return *c.messages[len(c.messages)-1].ID
}
