package chattest

import (
	"context"

	"processor/internal/chat"
)

// Update implements chat.Labels.
func (m *Memory) Update(ctx context.Context, l chat.Labelling) (chat.Outcome, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, err := m.findFor(ctx, l.Chat)
	if err != nil {
		return chat.Outcome{}, err
	}
	if err := chat.Update.Check(c.from); err != nil {
		return chat.Outcome{}, err
	}
	if l.Title != nil {
		c.chat.Title = *l.Title
	}
	if l.Metadata != nil {
		c.chat.Metadata = l.Metadata
	}
	return c.put(chat.Update), nil
}
