package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"processor/internal/chat"
)

// claimSQL locks the row and takes the chat if it may be taken; the row is the one before if it may not. It reads no table that
// the lock protects, so one statement is enough.
const claimSQL = `
with seen as (
  select ` + chatColumns + `,
    exists (select from processor.workers w where w.id = @worker and w.lost_at is null and not w.draining) as entitled
  from processor.chats c where c.id = @chat for update of c
), claimed as (
  update processor.chats c set ` + changing + `, status = 'running', worker_id = @worker, claimed_at = now(), dispatch_at = null, epoch = c.epoch + 1
  from seen s
  where c.number = s.number and c.status = any(@from::text[]) and s.entitled and (@suspects or c.takeovers < @suspect_from::int)
  returning ` + chatColumns + `
)
select true, true, ` + chatColumns + ` from claimed c
union all
select false, c.entitled, ` + chatColumns + ` from seen c where not exists (select from claimed)`

// historySQL reads the newest messages within the budget, and the open turn in any case. The window sums sizes as they are stored, so what is
// over the budget is never read. It finds nothing unless claimSQL has just claimed the chat.
const historySQL = `
select ` + messageColumns + `
from processor.chats c cross join lateral (
  select h.*, row_number() over newest as place, sum(h.size) over newest as total
  from (
    select ` + messageColumns + `, m.size from processor.messages m where m.chat = c.number order by m.id desc
    -- a step has at most two messages, the last one a third
    limit greatest(@messages::int, 2 * c.step + 4)
  ) h window newest as (order by h.id desc)
) m
where c.id = @chat and c.status = 'running' and c.worker_id = @worker and c.claimed_at = now()
  and (m.turn = c.turn or (m.place <= @messages::int and m.total <= @bytes::bigint))
order by m.id`

// claimCall is a Claim and what came of it.
type claimCall struct {
	id                chat.ID
	args              args
	claimed, entitled bool
	row               written
	history           []chat.Message
}

// Claim implements chat.Runs.
func (s *Store) Claim(ctx context.Context, id chat.ID, worker chat.WorkerID, suspects bool, b chat.Budget) (chat.Claimed, error) {
	c := claimCall{id: id, args: args{
		"chat": id, "worker": worker, "from": from(chat.Claim), "suspects": suspects, "suspect_from": chat.SuspectFrom, "messages": b.Messages, "bytes": b.Bytes,
	}}
	if err := s.do(ctx, "claim a chat", c.queue); err != nil {
		return chat.Claimed{}, err
	}
	if !c.claimed {
		return chat.Claimed{}, fmt.Errorf("claim of %s by %s: %w", id, worker, c.refusal())
	}
	return chat.Claimed{Chat: c.row.chat, History: c.history}, nil
}

func (c *claimCall) queue(b *batch) {
	b.query(claimSQL, c.args, func(rows pgx.Rows) error { return c.row.readChat(rows, &c.claimed, &c.entitled) })
	b.query(historySQL, c.args, func(rows pgx.Rows) (err error) {
		c.history, err = readMessages(rows, c.id)
		return err
	})
}

// refusal says why the chat was not claimed.
func (c *claimCall) refusal() error {
	row := c.row.chat
	switch {
	case !c.row.found:
		return fmt.Errorf("%w: the chat is gone", chat.ErrNothingToDo)
	case chat.Claim.Check(row.Status) != nil:
		return fmt.Errorf("%w: the chat is %s", chat.ErrNothingToDo, row.Status)
	case !c.entitled:
		return chat.ErrNotEntitled
	default:
		return chat.ErrSuspect
	}
}
