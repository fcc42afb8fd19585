package store

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype/zeronull"

	"processor/internal/chat"
)

// targetSQL says who said the message at which the history is to be cut.
const targetSQL = `
select m.role from processor.chats c join processor.messages m on m.chat = c.number and m.id = @message::bigint where c.id = @chat and ` + visible

// truncateSQL removes a user message and all after it, and opens a turn with the message again. It gets the same client_id, so
// what goes is counted, and thereby gone, before it is written.
const truncateSQL = `
with cut as (
  select c.number, c.turn, c.epoch, m.id, m.client_id, coalesce(@parts::jsonb, m.parts) as parts,
    case when @parts::jsonb is null then m.size else @size::int end as size, coalesce(nullif(@model, ''), m.model) as model,
    coalesce(@params::jsonb, m.params) as params,
    coalesce((select max(k.id) from processor.messages k where k.chat = c.number and k.id < m.id), 0) as kept
  from processor.chats c join processor.messages m on m.chat = c.number and m.id = @message::bigint and m.role = 'user'
  where c.id = @chat and ` + visible + ` and c.status = any(@from::text[]) and @version::bigint in (0, c.version)
), removed as (
  delete from processor.messages m using cut t where m.chat = t.number and m.id >= t.id returning m.id
), gone as (
  select array_agg(r.id order by r.id) as ids from removed r
), said as (
  insert into processor.messages as m (chat, turn, step, epoch, role, parts, size, client_id, model, params)
  select t.number, t.turn + 1, 0, t.epoch + 1, 'user', t.parts, t.size, t.client_id, t.model, t.params
  from cut t join gone g on cardinality(g.ids) > 0
  returning ` + messageColumns + `
), opened as (
  update processor.chats c set ` + changing + `, ` + anew + `, ` + waking + `, epoch = c.epoch + 1, last_error = null, turn = c.turn + 1, step = 0
  from cut t where c.number = t.number
  returning ` + chatColumns + `
)
select g.ids, t.kept, ` + chatColumns + `, ` + messageColumns + ` from opened c, said m, cut t, gone g`

// Truncate implements chat.Commands.
func (s *Store) Truncate(ctx context.Context, t chat.Truncation) (chat.Outcome, error) {
	a := args{
		"chat": t.Chat, "message": t.Message, "version": t.Version, "model": t.Model, "from": from(chat.Truncate),
		"redispatch": s.config.Timing.RedispatchAfter,
	}
	if t.Parts != nil {
		parts := encode(t.Parts)
		a["parts"], a["size"] = parts, len(parts)
	}
	if t.Params != nil {
		a["params"] = []byte(t.Params)
	}
	var before, after written
	var role zeronull.Text
	var removed []int64
	var kept int64
	err := s.do(ctx, "truncate a chat", func(b *batch) {
		before.lock(b, a)
		b.query(targetSQL, a, func(rows pgx.Rows) error {
			role = ""
			_, err := pgx.ForEachRow(rows, []any{&role}, func() error { return nil })
			return err
		})
		b.query(truncateSQL, a, func(rows pgx.Rows) error {
			after = written{}
			return readWritten(rows, []any{&removed, &kept}, func() *written { return &after })
		})
	})
	switch {
	case err != nil:
		return chat.Outcome{}, err
	case !before.found:
		return chat.Outcome{}, chat.ErrNotFound(t.Chat)
	case !after.found:
		return chat.Outcome{}, notTruncated(t, before.chat, chat.Role(role))
	}
	out := after.outcome(before.chat.Status, nil)
	out.Removed, out.Kept, out.Evicted = removed, kept, before.chat.Worker
	return out, nil
}

// notTruncated says why nothing was done.
func notTruncated(t chat.Truncation, c chat.Chat, role chat.Role) error {
	if err := chat.Truncate.Check(c.Status); err != nil {
		return err
	}
	if err := t.CheckVersion(c); err != nil {
		return err
	}
	return t.CheckMessage(role)
}
