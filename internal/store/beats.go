package store

import (
	"cmp"
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"processor/internal/chat"
)

// doOwn is do on the beat's own connection. A beat that takes long is given up early: the next one may find a better connection, and
// there is time for several before the worker is lost.
func (s *Store) doOwn(ctx context.Context, doing string, c call) error {
	t := s.config.Timing
	ctx, cancel := context.WithTimeout(ctx, min(t.Statement, max(t.LostAfter/4, t.Heartbeat)))
	defer cancel()
	return wrap(doing, s.send(ctx, s.beats, c))
}

const registerSQL = `
insert into processor.workers (id, name, host, pid, build, slots, running, draining)
values (@worker, @name, @host, @pid, @build, @slots, @running, @draining)`

// Register implements chat.Beats.
func (s *Store) Register(ctx context.Context, w chat.Worker) error {
	return s.doOwn(ctx, "register a worker", func(b *batch) {
		b.exec(registerSQL, args{
			"worker": w.ID, "name": w.Name, "host": w.Host, "pid": w.PID, "build": w.Build, "slots": w.Slots,
			"running": w.Running, "draining": w.Draining,
		})
	})
}

// beatSQL never revives a worker that was declared lost. The sum does not overflow where number times epoch does not, and
// that takes a billion chats with a billion owners each.
const beatSQL = `
with beat as (
  update processor.workers w set heartbeat_at = now(), running = @running, draining = w.draining or @draining
  where w.id = @worker and w.lost_at is null
  returning w.id
)
select (select count(*) from beat) = 0, count(*), coalesce(sum(c.number * c.epoch), 0)::bigint
from processor.chats c where c.status = 'running' and c.worker_id = @worker`

const ownedColumns = `c.id, c.number, c.epoch, c.turn, c.step, c.interrupt_turn = c.turn`

const interruptedSQL = `
select ` + ownedColumns + `
from processor.chats c where c.status = 'running' and c.worker_id = @worker and c.interrupt_turn = c.turn order by c.number`

// Beat implements chat.Beats.
func (s *Store) Beat(ctx context.Context, id chat.WorkerID, running int, draining bool) (chat.Beat, error) {
	var beat chat.Beat
	a := args{"worker": id, "running": running, "draining": draining}
	err := s.doOwn(ctx, "beat", func(b *batch) {
		b.query(beatSQL, a, func(rows pgx.Rows) (err error) {
			beat, err = pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (v chat.Beat, err error) {
				return v, row.Scan(&v.Lost, &v.Count, &v.Sum)
			})
			return err
		})
		b.query(interruptedSQL, a, func(rows pgx.Rows) (err error) {
			beat.Interrupted, err = readOwned(rows)
			return err
		})
	})
	if err != nil || beat.Lost {
		return chat.Beat{Lost: beat.Lost && err == nil}, err
	}
	return beat, nil
}

const ownedSQL = `
select ` + ownedColumns + ` from processor.chats c where c.status = 'running' and c.worker_id = @worker order by c.number`

// Owned implements chat.Beats.
func (s *Store) Owned(ctx context.Context, id chat.WorkerID) ([]chat.Owned, error) {
	var all []chat.Owned
	err := s.doOwn(ctx, "read what a worker owns", func(b *batch) {
		b.query(ownedSQL, args{"worker": id}, func(rows pgx.Rows) (err error) {
			all, err = readOwned(rows)
			return err
		})
	})
	return all, err
}

func readOwned(rows pgx.Rows) ([]chat.Owned, error) {
	return collect(rows, func(row pgx.CollectableRow) (o chat.Owned, err error) {
		return o, row.Scan(&o.Chat, &o.Number, &o.Epoch, &o.Turn, &o.Step, &o.Interrupted)
	})
}

// releaseSQL locks in the order of ids, as all do that lock several chats.
const releaseSQL = `
with owned as (
  select c.number from processor.chats c
  where c.worker_id = @worker and c.status = any(@from::text[])
  order by c.id for update
)
update processor.chats c set ` + changing + `, ` + waking + `, epoch = c.epoch + 1
from owned o where c.number = o.number
returning ` + chatColumns

// Release implements chat.Beats. It has all the time that its context has: it is a worker's last act.
func (s *Store) Release(ctx context.Context, id chat.WorkerID) ([]chat.Outcome, error) {
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	var released []chat.Chat
	err := s.send(ctx, s.beats, func(b *batch) {
		b.query(releaseSQL, args{"worker": id, "from": from(chat.Yield), "redispatch": s.config.Timing.RedispatchAfter}, func(rows pgx.Rows) (err error) {
			released, err = readChats(rows)
			return err
		})
	})
	slices.SortFunc(released, func(a, b chat.Chat) int { return cmp.Compare(a.Number, b.Number) })
	outcomes := make([]chat.Outcome, len(released))
	for i, c := range released {
		outcomes[i] = chat.Outcome{Changed: true, Chat: c, From: chat.Running}
	}
	return outcomes, wrap("release what a worker owns", err)
}

const unregisterSQL = `delete from processor.workers w where w.id = @worker`

// Unregister implements chat.Beats. What the worker still owns has lost its owner.
func (s *Store) Unregister(ctx context.Context, id chat.WorkerID) error {
	return s.doOwn(ctx, "unregister a worker", func(b *batch) {
		b.exec(unregisterSQL, args{"worker": id})
	})
}
