package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"processor/internal/chat"
)

// retrySQL opens the parked turn again. The status is a parameter, as a word in the text would let the server read all that is parked. The error was not counted as a step, so the next one takes its place.
const retrySQL = `
with forgotten as (
  delete from processor.messages m using processor.chats c
  where c.id = @chat and ` + visible + ` and c.status = @in::text and m.chat = c.number and m.turn = c.turn and m.finish = 'error'
  returning m.id
)
update processor.chats c set ` + changing + `, ` + anew + `, ` + waking + `, epoch = c.epoch + 1, last_error = null
where c.id = @chat and ` + visible + ` and c.status = @in::text
returning array(select f.id from forgotten f order by f.id),
  coalesce((select max(m.id) from processor.messages m where m.chat = c.number and m.id not in (select f.id from forgotten f)), 0), ` + chatColumns

// Retry implements chat.Commands.
func (s *Store) Retry(ctx context.Context, id chat.ID) (chat.Outcome, error) {
	a := args{"chat": id, "in": chat.Parked, "redispatch": s.config.Timing.RedispatchAfter}
	var before, after written
	var removed []int64
	var kept int64
	err := s.do(ctx, "retry a turn", func(b *batch) {
		before.lock(b, a)
		b.query(retrySQL, a, func(rows pgx.Rows) error { return after.readChat(rows, &removed, &kept) })
	})
	switch {
	case err != nil:
		return chat.Outcome{}, err
	case !before.found:
		return chat.Outcome{}, chat.ErrNotFound(id)
	case !after.found:
		return chat.Outcome{Chat: before.chat, From: before.chat.Status}, nil
	}
	out := after.outcome(before.chat.Status, nil)
	out.Removed, out.Kept = removed, kept
	return out, nil
}

// deleteSQL takes the chat's messages and queue with it.
const deleteSQL = `
delete from processor.chats c where c.id = @chat and ` + visible + ` and c.status = any(@from::text[]) returning ` + chatColumns

// Delete implements chat.Commands.
func (s *Store) Delete(ctx context.Context, id chat.ID) (chat.Chat, error) {
	var gone written
	err := s.do(ctx, "delete a chat", func(b *batch) {
		b.query(deleteSQL, args{"chat": id, "from": from(chat.Delete)}, func(rows pgx.Rows) error { return gone.readChat(rows) })
	})
	switch {
	case err != nil:
		return chat.Chat{}, err
	case !gone.found:
		return chat.Chat{}, chat.ErrNotFound(id)
	}
	s.recent.forget(id)
	return gone.chat, nil
}
