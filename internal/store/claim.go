package store

import (
	"context"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"

	"processor/internal/chat"
)

// claims are the calls of a claim as rows called k.
const claims = `unnest(@chats::text[], @workers::text[], @suspects::bool[], @counts::int[], @bytes::bigint[])
    with ordinality k (chat, worker, suspects, count, bytes, place)`

// claimSQL takes the chats that may be taken; the others' rows are as they were.
const claimSQL = `
with seen as (
  select k.place, k.worker, k.suspects, exists (
      select from processor.workers w where w.id = k.worker and w.lost_at is null and not w.draining) as entitled, ` + chatColumns + `
  from ` + claims + ` join processor.chats c on c.id = k.chat
), claimed as (
  update processor.chats c set ` + changing + `, status = 'running', worker_id = s.worker, claimed_at = now(), dispatch_at = null, epoch = c.epoch + 1
  from seen s
  where c.number = s.number and s.status = any(@from::text[]) and s.entitled and (s.suspects or s.takeovers < @suspect_from::int)
  returning s.place, ` + chatColumns + `
)
select c.place, true, true, ` + chatColumns + ` from claimed c
union all
select c.place, false, c.entitled, ` + chatColumns + ` from seen c where not exists (select from claimed d where d.place = c.place)`

// historySQL reads the newest messages within the budget, and the open turn in any case. The window sums sizes as they are stored, so what is
// over the budget is never read. It finds nothing of a chat that claimSQL has not just claimed.
const historySQL = `
select k.place, ` + messageColumns + `
from ` + claims + ` join processor.chats c on c.id = k.chat and c.status = 'running' and c.worker_id = k.worker and c.claimed_at = now()
cross join lateral (
  select h.*, row_number() over newest as nth, sum(h.size) over newest as total
  from (
    select ` + messageColumns + `, m.size from processor.messages m where m.chat = c.number order by m.id desc
    -- a step has at most two messages, the turn's first and last come on top
    limit greatest(k.count, 2 * c.step + 4)
  ) h window newest as (order by h.id desc)
) m
where m.turn = c.turn or (m.nth <= k.count and m.total <= k.bytes)
order by m.id`

// claimCall is a Claim and what came of it.
type claimCall struct {
	id       chat.ID
	worker   chat.WorkerID
	suspects bool
	budget   chat.Budget

	found, claimed, entitled bool
	row                      chat.Chat
	history                  []chat.Message
}

func (c *claimCall) chat() chat.ID { return c.id }

// Claim implements chat.Runs.
func (s *Store) Claim(ctx context.Context, id chat.ID, worker chat.WorkerID, suspects bool, b chat.Budget) (chat.Claimed, error) {
	c := &claimCall{id: id, worker: worker, suspects: suspects, budget: b}
	if err := s.claims.do(ctx, c); err != nil {
		return chat.Claimed{}, err
	}
	if !c.claimed {
		return chat.Claimed{}, fmt.Errorf("claim of %s by %s: %w", id, worker, c.refusal())
	}
	return chat.Claimed{Chat: c.row, History: c.history}, nil
}

// claimAll claims different chats in one transaction.
func (s *Store) claimAll(ctx context.Context, calls []*claimCall) error {
	n := len(calls)
	chats, workers, suspects, counts, bytes := make([]string, n), make([]string, n), make([]bool, n), make([]int32, n), make([]int64, n)
	for i, c := range calls {
		chats[i], workers[i], suspects[i] = string(c.id), string(c.worker), c.suspects
		counts[i], bytes[i] = int32(min(c.budget.Messages, math.MaxInt32)), int64(c.budget.Bytes)
	}
	a := args{
		"chats": chats, "workers": workers, "suspects": suspects, "counts": counts, "bytes": bytes,
		"from": from(chat.Claim), "suspect_from": chat.SuspectFrom,
	}
	return s.do(ctx, "claim a chat", func(b *batch) {
		b.exec(lockSQL, a)
		b.query(claimSQL, a, func(rows pgx.Rows) error { return readClaims(rows, calls) })
		b.query(historySQL, a, func(rows pgx.Rows) error {
			var place int
			return readMessages(rows, []any{&place}, func(r *messageRow) error {
				c := calls[place-1]
				m, err := r.read(c.id)
				c.history = append(c.history, m)
				return err
			})
		})
	})
}

func readClaims(rows pgx.Rows, calls []*claimCall) error {
	for _, c := range calls {
		c.found, c.claimed, c.history = false, false, nil
	}
	for rows.Next() {
		var place int
		var claimed, entitled bool
		var row chat.Chat
		if err := rows.Scan(append([]any{&place, &claimed, &entitled}, chatTargets(&row)...)...); err != nil {
			return err
		}
		c := calls[place-1]
		c.found, c.claimed, c.entitled, c.row = true, claimed, entitled, row
	}
	return rows.Err()
}

// refusal says why the chat was not claimed.
func (c *claimCall) refusal() error {
	switch row := c.row; {
	case !c.found:
		return fmt.Errorf("%w: the chat is gone", chat.ErrNothingToDo)
	case chat.Claim.Check(row.Status) != nil:
		return fmt.Errorf("%w: the chat is %s", chat.ErrNothingToDo, row.Status)
	case !c.entitled:
		return chat.ErrNotEntitled
	default:
		return chat.ErrSuspect
	}
}
