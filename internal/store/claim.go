package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"processor/internal/chat"
)

// claims are the calls of a claim as rows called k.
const claims = `unnest(@chats::text[], @workers::text[], @suspects::bool[], @counts::int[], @bytes::bigint[], @known::bigint[], @known_at::timestamptz[])
    with ordinality k (chat, worker, suspects, count, bytes, known, known_at, place)`

// claimSQL takes the chats that may be taken. It locks by updating: all that decides is in their own rows, but for the worker's, which nobody
// locks.
const claimSQL = `
update processor.chats c set ` + changing + `, status = 'running', worker_id = k.worker, claimed_at = now(), dispatch_at = null, epoch = c.epoch + 1
from ` + claims + ` join processor.workers w on w.id = k.worker and w.lost_at is null and not w.draining
where c.id = k.chat and c.status = any(@from::text[]) and (k.suspects or c.takeovers < @suspect_from::int)
returning k.place, ` + chatColumns

// unclaimedSQL reads what claimSQL may have found.
const unclaimedSQL = `
select exists (select from processor.workers w where w.id = @worker and w.lost_at is null and not w.draining), ` + chatColumns + `
from processor.chats c where c.id = @chat and ` + visible

// historySQL reads the newest messages within the budget, and the open turn in any case. The window sums sizes as they are stored, so what is
// over the budget is never read, nor is what comes before the message that the caller knows, if that is still there; of the known one come only
// the columns that are short. It finds nothing of a chat that was not claimed in this transaction. The chat is found by its id and nothing else
// (offset keeps the join that way round): a condition on its status would let the server read all that run.
const historySQL = `
select k.place, m.size, m.known, m.id, m.turn, m.step, m.epoch, m.role, case when not m.known then m.parts end, case when not m.known then m.chunks end,
  m.model, case when not m.known then m.params end, m.usage, m.finish, m.error, m.client_id, m.created_at
from ` + claims + ` cross join lateral (
  select c.number, c.turn, c.step, coalesce((
    select n.id from processor.messages n where n.chat = c.number and n.id = k.known and n.created_at = k.known_at), 0) as since
  from processor.chats c where c.id = k.chat and c.worker_id = k.worker and c.claimed_at = now() offset 0
) c cross join lateral (
  select h.*, h.id = c.since as known, row_number() over newest as nth, sum(h.size) over newest as total
  from (
    select ` + messageColumns + `, m.size from processor.messages m where m.chat = c.number and m.id >= c.since order by m.id desc
    -- a step has at most two messages, the turn's first and last come on top
    limit greatest(k.count, 2 * c.step + 4)
  ) h window newest as (order by h.id desc)
) m
where m.turn = c.turn or (m.nth <= k.count and m.total <= k.bytes)
order by m.id`

// pendingSQL picks among those that wait longest: replicas that look at the same time should not all find the same ones.
const pendingSQL = `
select c.id from (
  select c.id from processor.chats c where c.status = 'pending' order by c.dispatch_at, c.number limit 4 * @limit::int
) c order by random() limit @limit::int`

// Pending lists up to limit chats that wait for an owner.
func (s *Store) Pending(ctx context.Context, limit int) (found []chat.ID, err error) {
	err = s.do(ctx, "look for pending chats", func(b *batch) {
		b.query(pendingSQL, args{"limit": limit}, func(rows pgx.Rows) (err error) {
			found, err = collect(rows, pgx.RowTo[chat.ID])
			return err
		})
	})
	return found, err
}

// claimCall is a Claim and what came of it.
type claimCall struct {
	id       chat.ID
	worker   chat.WorkerID
	suspects bool
	budget   chat.Budget

	claimed bool
	row     chat.Chat
	history historyRead
}

func (c *claimCall) chat() chat.ID { return c.id }

// Claim implements chat.Runs.
func (s *Store) Claim(ctx context.Context, id chat.ID, worker chat.WorkerID, suspects bool, b chat.Budget) (chat.Claimed, error) {
	c := &claimCall{id: id, worker: worker, suspects: suspects, budget: b}
	for {
		if err := s.claims.do(ctx, c); err != nil {
			return chat.Claimed{}, err
		}
		if c.claimed {
			return chat.Claimed{Chat: c.row, History: s.recent.keep(c.history.of(c.row))}, nil
		}
		why, err := s.unclaimed(ctx, c)
		if err != nil {
			return chat.Claimed{}, err
		}
		if why != nil {
			return chat.Claimed{}, fmt.Errorf("claim of %s by %s: %w", id, worker, why)
		}
		// What was in the way is gone in between.
	}
}

// claimAll claims different chats in one transaction.
func (s *Store) claimAll(ctx context.Context, calls []*claimCall) error {
	n := len(calls)
	chats, workers, suspects, histories := make([]string, n), make([]string, n), make([]bool, n), make([]*historyRead, n)
	for i, c := range calls {
		chats[i], workers[i], suspects[i], histories[i] = string(c.id), string(c.worker), c.suspects, &c.history
		c.history = historyRead{chat: c.id, past: s.recent.of(c.id, c.budget), budget: c.budget}
	}
	a := args{"chats": chats, "workers": workers, "suspects": suspects, "from": from(chat.Claim), "suspect_from": chat.SuspectFrom}
	a.histories(histories)
	return s.do(ctx, "claim a chat", func(b *batch) {
		b.query(claimSQL, a, func(rows pgx.Rows) error { return readClaims(rows, calls) })
		b.query(historySQL, a, func(rows pgx.Rows) error { return readHistories(rows, histories) })
	})
}

func readClaims(rows pgx.Rows, calls []*claimCall) error {
	for _, c := range calls {
		c.claimed = false
	}
	for rows.Next() {
		var place int
		var row chat.Chat
		if err := rows.Scan(append([]any{&place}, chatTargets(&row)...)...); err != nil {
			return err
		}
		c := calls[place-1]
		c.claimed, c.row = true, row
	}
	return rows.Err()
}

// unclaimed says why the chat was not claimed, nil if now it could be.
func (s *Store) unclaimed(ctx context.Context, c *claimCall) (why, err error) {
	var w written
	var entitled bool
	err = s.do(ctx, "look why a chat can't be claimed", func(b *batch) {
		b.query(unclaimedSQL, args{"chat": c.id, "worker": c.worker}, func(rows pgx.Rows) error { return w.readChat(rows, &entitled) })
	})
	if err != nil {
		return nil, err
	}
	switch row := w.chat; {
	case !w.found:
		return fmt.Errorf("%w: the chat is gone", chat.ErrNothingToDo), nil
	case chat.Claim.Check(row.Status) != nil:
		return fmt.Errorf("%w: the chat is %s", chat.ErrNothingToDo, row.Status), nil
	case !entitled:
		return chat.ErrNotEntitled, nil
	case row.Takeovers >= chat.SuspectFrom && !c.suspects:
		return chat.ErrSuspect, nil
	default:
		return nil, nil
	}
}
