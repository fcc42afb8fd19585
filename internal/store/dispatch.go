package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"processor/internal/chat"
)

// dispatchedSQL notes when the dispatches are looked for again. It is no transition: the version stays. Rows that somebody has locked are
// left alone, for they are about to change.
const dispatchedSQL = `
with found as (
  select c.number, c.number = any(@published::bigint[]) as published from processor.chats c
  where c.number = any(@published::bigint[] || @present::bigint[]) and c.status = 'pending'
  for update skip locked
)
update processor.chats c set
  dispatches = c.dispatches + f.published::int,
  dispatch_at = now() + least(@longest::interval, case when f.published
    then @first::interval * power(2, least(c.dispatches + 1, 30))
    else greatest(@first::interval, now() - c.updated_at) end)
from found f where c.number = f.number`

// Dispatched implements chat.Sweeps.
func (s *Store) Dispatched(ctx context.Context, published, present []chat.Number, first, longest time.Duration) error {
	return s.doSweep(ctx, "note dispatches", dispatchedSQL, args{
		"published": numbers(published), "present": numbers(present), "first": first, "longest": longest,
	}, nil)
}

func numbers(all []chat.Number) []int64 {
	list := make([]int64, len(all))
	for i, n := range all {
		list[i] = int64(n)
	}
	return list
}

const anewSQL = `
with found as (
  select c.number from processor.chats c where c.status = 'pending' for update skip locked
)
update processor.chats c set dispatches = 0, dispatch_at = now() from found f where c.number = f.number`

// Anew implements chat.Sweeps.
func (s *Store) Anew(ctx context.Context) error {
	return s.doSweep(ctx, "make all dispatches due", anewSQL, nil, nil)
}

// doSweep is do on the sweep's own connection.
func (s *Store) doSweep(ctx context.Context, doing string, sql string, a args, read func(pgx.Rows) error) error {
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	return wrap(doing, s.send(ctx, s.sweeps, func(b *batch) {
		b.query(sql, a, func(rows pgx.Rows) error {
			if read == nil {
				return nil
			}
			return read(rows)
		})
	}))
}

const forgetWorkersSQL = `
delete from processor.workers w where w.heartbeat_at <= now() - interval '1 day'`

const pruneSQL = `
with old as (
  select c.number, c.idle_at from processor.chats c where c.idle_at <= now() - @retain::interval and c.queued = 0
  order by c.idle_at, c.number limit @batch::int for update skip locked
), gone as (
  delete from processor.chats c using old o where c.number = o.number returning c.id, c.number, o.idle_at
)
select g.id from gone g order by g.idle_at, g.number`

// Prune implements chat.Sweeps.
func (s *Store) Prune(ctx context.Context, retain time.Duration, batch int) ([]chat.ID, error) {
	if err := s.doSweep(ctx, "forget dead workers", forgetWorkersSQL, nil, nil); err != nil || retain <= 0 {
		return nil, err
	}
	var removed []chat.ID
	err := s.doSweep(ctx, "delete idle chats", pruneSQL, args{"retain": retain, "batch": batch}, func(rows pgx.Rows) (err error) {
		removed, err = collect(rows, pgx.RowTo[chat.ID])
		return err
	})
	return removed, err
}
