package store

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"processor/internal/chat"
)

// sweepLock is the advisory lock that one sweeper at a time holds, for the length of its transaction.
const sweepLock = 0x7377656570 // "sweep"

// sweepLockSQL also bounds how long a frozen sweeper keeps the lock, where the connection's own parameters can't.
const sweepLockSQL = `
select pg_try_advisory_xact_lock($1), set_config('idle_in_transaction_session_timeout', $2, true)`

// Sweep implements chat.Sweeps.
func (s *Store) Sweep(ctx context.Context, p chat.Pass) (chat.Report, error) {
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	var r chat.Report
	err := pgx.BeginFunc(ctx, s.sweeps, func(tx pgx.Tx) error {
		idle := strconv.FormatInt(s.config.Timing.IdleTx.Milliseconds(), 10)
		if err := tx.QueryRow(ctx, sweepLockSQL, int64(sweepLock), idle).Scan(&r.Held, nil); err != nil || !r.Held {
			return err
		}
		return s.sweep(ctx, tx, p, &r)
	})
	if err != nil {
		return chat.Report{}, wrap("sweep", err)
	}
	return r, nil
}

func (s *Store) sweep(ctx context.Context, tx pgx.Tx, p chat.Pass, r *chat.Report) error {
	a := args{
		"gone": p.Gone, "suspect_after": p.SuspectAfter, "lost_after": p.LostAfter, "judges_age": p.LostAfter > 0,
		"redispatch": p.RedispatchAfter, "batch": p.Batch, "park_at": chat.ParkAt, "max_recoveries": chat.MaxRecoveries,
	}
	if !p.NotAfter.IsZero() {
		a["not_after"] = p.NotAfter
	}
	if err := s.once(ctx, tx, sweepCall(p, a, r)); err != nil {
		return err
	}
	slices.SortFunc(r.Recovered, func(x, y chat.Recovered) int { return cmp.Compare(x.Chat.Number, y.Chat.Number) })
	r.More = len(r.Recovered) == p.Batch || len(r.Stale) == p.Batch
	return s.once(ctx, tx, parkCall(r))
}

// sweepCall has the order of a pass: whom it declares lost is recovered from at once.
func sweepCall(p chat.Pass, a args, r *chat.Report) call {
	return func(b *batch) {
		b.query(loseSQL, a, func(rows pgx.Rows) (err error) {
			r.Lost, err = collect(rows, pgx.RowToStructByPos[chat.LostWorker])
			slices.SortFunc(r.Lost, func(x, y chat.LostWorker) int { return cmp.Compare(x.ID, y.ID) })
			return err
		})
		b.query(recoverSQL, a, func(rows pgx.Rows) (err error) {
			r.Recovered, err = collect(rows, readRecovered)
			return err
		})
		b.query(unownedSQL, a, func(rows pgx.Rows) (err error) {
			r.Unowned, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[int])
			return err
		})
		b.query(agedSQL, nil, func(rows pgx.Rows) error {
			aged, err := collect(rows, pgx.RowToStructByPos[chat.Suspect])
			r.Suspects, r.Oldest = suspects(aged, p.SuspectAfter)
			return err
		})
		b.query(staleSQL, a, func(rows pgx.Rows) (err error) {
			r.Stale, err = collect(rows, readStale)
			return err
		})
		b.query(sweptSQL, nil, func(rows pgx.Rows) (err error) {
			r.Now, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[time.Time])
			return err
		})
	}
}

// sweptSQL leaves word for doctor.
const sweptSQL = `
update processor.sweep set swept_at = now() returning swept_at`

// loseSQL looks at the heartbeat again: a worker that has beaten since it was probed is spared. Lost is for ever.
const loseSQL = `
update processor.workers w
set lost_at = now(), lost_cause = case when w.id = any(@gone::text[]) and w.heartbeat_at <= now() - @suspect_after::interval then 'gone' else 'age' end
where w.lost_at is null and (
  (w.id = any(@gone::text[]) and w.heartbeat_at <= now() - @suspect_after::interval)
  or (@judges_age and now() <= coalesce(@not_after::timestamptz, now()) and w.heartbeat_at <= now() - @lost_after::interval))
returning w.id, w.lost_cause, now() - w.heartbeat_at`

// unowned are the running chats whose worker is gone or lost. It is a look-up for each chat and no join: of a row that changed before it was
// locked, a join sees the new owner beside the worker that it had found for the old one, and takes the chat from who has just claimed it.
const unowned = `
  from processor.chats c
  where c.status in ('running') and (select w.id from processor.workers w where w.id = c.worker_id and w.lost_at is null limit 1) is null`

// recoverSQL takes chats from lost owners, and judges by the rows that it locked. A row that somebody else has locked is left for the next
// pass: its owner may be finishing it. Of a row that changed just before it was locked the server first makes an update of the old version, and
// checks it, before it makes the one of the new: so interrupt_turn is set to what it is.
// Only a takeover from a process that is gone and was not draining is charged (I8).
const recoverSQL = `
with lost as (
  select c.number, c.worker_id as worker, c.takeovers, c.recoveries, c.interrupt_turn = c.turn as interrupted` + unowned + `
  order by c.number limit @batch::int for update of c skip locked
), found as (
  select l.*, coalesce(w.lost_cause, 'row') as cause, coalesce(w.lost_cause = 'gone' and not w.draining, false) as charged
  from lost l left join processor.workers w on w.id = l.worker
), judged as (
  select l.*, case
      when l.interrupted then null -- the next owner ends the turn
      when l.takeovers + l.charged::int >= @park_at::int then
        '{"code": "poison", "message": "the chat''s owners died one after another"}'::jsonb
      when l.recoveries + 1 >= @max_recoveries::int then
        '{"code": "too_many_recoveries", "message": "the turn was recovered too often"}'::jsonb
    end as verdict
  from found l
)
update processor.chats c set ` + changing + `, epoch = c.epoch + 1, recoveries = c.recoveries + 1, takeovers = c.takeovers + j.charged::int,
  worker_id = null, claimed_at = null, dispatches = 0, interrupt_turn = case when j.interrupted then c.turn else 0 end,
  status = case when j.verdict is null then 'pending' else 'error' end,
  dispatch_at = case when j.verdict is null then now() + @redispatch::interval end,
  idle_at = case when j.verdict is not null then now() end,
  retry_at = case when j.verdict is null then c.retry_at end,
  last_error = j.verdict || jsonb_build_object('at', now(), 'attempts', c.attempts)
from judged j where c.number = j.number
returning j.worker, j.cause, j.charged, ` + chatColumns

func readRecovered(row pgx.CollectableRow) (r chat.Recovered, err error) {
	r.Changed, r.From = true, chat.Running
	return r, row.Scan(append([]any{&r.Worker, &r.Cause, &r.Charged}, chatTargets(&r.Chat)...)...)
}

const unownedSQL = `
select count(*)` + unowned

const agedSQL = `
select w.id, now() - w.heartbeat_at from processor.workers w where w.lost_at is null order by w.id`

// suspects are the workers whose heartbeat is at least so old; oldest is the greatest age of all.
func suspects(aged []chat.Suspect, after time.Duration) (found []chat.Suspect, oldest time.Duration) {
	for _, w := range aged {
		oldest = max(oldest, w.Age)
		if w.Age >= after {
			found = append(found, w)
		}
	}
	return found, oldest
}

const staleSQL = `
select c.id, c.number, c.step, c.attempts, c.recoveries
from processor.chats c where c.status = 'pending' and c.dispatch_at <= now() order by c.dispatch_at, c.number limit @batch::int`

func readStale(row pgx.CollectableRow) (chat.Stale, error) {
	var c chat.Chat
	err := row.Scan(&c.ID, &c.Number, &c.Step, &c.Attempts, &c.Recoveries)
	return chat.Stale{Chat: c.ID, Number: c.Number, Begun: c.Begun()}, err
}

// parkSQL writes the error that ended the turn of a parked chat, after the results of its open calls.
const parkSQL = `
with ending as (
  select c.number, c.turn, c.step, c.epoch, c.last_error - 'at' - 'attempts' as error from processor.chats c where c.number = @number
), closing as (` + openCalls + `)
insert into processor.messages as m (chat, turn, step, epoch, role, finish, parts, size, error)
select e.number, e.turn, e.step + 1, e.epoch, n.role, n.finish, n.parts, octet_length(n.parts::text), n.error
from ending e cross join lateral (
  select 1 as place, 'tool' as role, '' as finish, l.parts, null::jsonb as error from closing l
  union all
  select 2, 'assistant', 'error', '[]'::jsonb, e.error
) n order by n.place
returning ` + messageColumns

// parkCall writes the last messages of the chats that the pass parked, few if any.
func parkCall(r *chat.Report) call {
	return func(b *batch) {
		for i := range r.Recovered {
			out := &r.Recovered[i].Outcome
			if out.Chat.Status != chat.Parked {
				continue
			}
			b.query(parkSQL, args{"number": out.Chat.Number, "closed": closedCall()}, func(rows pgx.Rows) error {
				return readMessages(rows, nil, func(r *messageRow) error {
					m, err := r.read(out.Chat.ID)
					out.Messages = append(out.Messages, m)
					return err
				})
			})
		}
	}
}
