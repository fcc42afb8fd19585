package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"processor/internal/chat"
)

// updateSQL is one statement without a lock before it: it reads nothing but the row that it changes. A chat that is idle begins to be so anew, since
// somebody still cares for it.
const updateSQL = `
update processor.chats c set ` + changing + `, title = coalesce(@title::text, c.title), metadata = coalesce(@metadata::jsonb, c.metadata),
  idle_at = case when c.idle_at is not null then now() end
where c.id = @chat and ` + visible + ` and c.status = any(@from::text[])
returning ` + chatColumns

// Update implements chat.Labels.
func (s *Store) Update(ctx context.Context, l chat.Labelling) (chat.Outcome, error) {
	a := args{"chat": l.Chat, "title": l.Title, "from": from(chat.Update)}
	if l.Metadata != nil {
		a["metadata"] = []byte(l.Metadata)
	}
	var after written
	err := s.do(ctx, "update a chat", func(b *batch) {
		b.query(updateSQL, a, func(rows pgx.Rows) error { return after.readChat(rows) })
	})
	switch {
	case err != nil:
		return chat.Outcome{}, err
	case !after.found:
		return chat.Outcome{}, chat.ErrNotFound(l.Chat)
	}
	return after.outcome(after.chat.Status, nil), nil
}
