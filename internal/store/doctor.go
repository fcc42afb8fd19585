package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"processor/internal/chat"
)

// Findings is what Doctor saw at one moment. What is empty or zero is in order.
type Findings struct {
	Schema SchemaState `json:"schema"`
	// Unowned are running chats without a live owner, Undispatched pending ones whose dispatch is due to be looked for (I3). A sweep ends
	// both within its interval, so only what a second look finds again is wrong. At most 100 of each are listed.
	Unowned      []Stuck `json:"unowned"`
	Undispatched []Stuck `json:"undispatched"`
	// Counts is how many chats are in each status that somebody has to act on, or did in vain.
	Counts map[chat.Status]int64 `json:"counts"`
	// OldestPending and OldestRunning are ages of the longest-waiting chat and of the oldest claim.
	OldestPending time.Duration `json:"oldest_pending"`
	OldestRunning time.Duration `json:"oldest_running"`
	LiveWorkers   int           `json:"live_workers"`
	// LastSweep is how long ago some replica did a sweep.
	LastSweep time.Duration `json:"last_sweep"`
	// LastLost is how long ago a worker was declared lost last, zero for never.
	LastLost time.Duration `json:"last_lost"`
	// ClockSkew is this host's clock minus the database's, as exact as half the round trip. Only logs suffer from it (I9).
	ClockSkew time.Duration `json:"clock_skew"`
	RoundTrip time.Duration `json:"round_trip"`
}

// Stuck is a chat that should be on its way.
type Stuck struct {
	Chat   chat.ID       `json:"chat"`
	Status chat.Status   `json:"status"`
	Worker chat.WorkerID `json:"worker,omitempty"`
	// For is how long: since the claim, or since the dispatch was due.
	For time.Duration `json:"for"`
}

const unownedListSQL = `
select c.id, c.status, c.worker_id, now() - c.claimed_at` + unowned + ` order by c.claimed_at limit 100`

const undispatchedSQL = `
select c.id, c.status, '', now() - c.dispatch_at
from processor.chats c where c.status = 'pending' and c.dispatch_at <= now() order by c.dispatch_at limit 100`

const agesSQL = `
select
  (select count(*) from processor.chats c where c.status = 'pending'),
  (select count(*) from processor.chats c where c.status = 'running'),
  (select count(*) from processor.chats c where c.status = 'error'),
  coalesce(now() - (select min(c.updated_at) from processor.chats c where c.status = 'pending'), '0'),
  coalesce(now() - (select min(c.claimed_at) from processor.chats c where c.status = 'running'), '0'),
  (select count(*) from processor.workers w where w.lost_at is null and w.heartbeat_at > now() - @lost_after::interval),
  coalesce(now() - (select max(w.lost_at) from processor.workers w), '0'),
  now() - (select s.swept_at from processor.sweep s)`

// Doctor reads what the invariants forbid and what a person wants to know before anything else.
func (s *Store) Doctor(ctx context.Context) (Findings, error) {
	var f Findings
	var err error
	if f.Schema, err = s.Check(ctx); err != nil || f.Schema.Applied == 0 {
		return f, err
	}
	if err := s.readClock(ctx, &f); err != nil {
		return f, err
	}
	return f, s.do(ctx, "examine the database", func(b *batch) {
		b.query(unownedListSQL, nil, readStuck(&f.Unowned))
		b.query(undispatchedSQL, nil, readStuck(&f.Undispatched))
		b.query(agesSQL, args{"lost_after": s.config.Timing.LostAfter}, func(rows pgx.Rows) error {
			var pending, running, parked int64
			_, err := pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (struct{}, error) {
				return struct{}{}, row.Scan(&pending, &running, &parked, &f.OldestPending, &f.OldestRunning, &f.LiveWorkers, &f.LastLost, &f.LastSweep)
			})
			f.Counts = map[chat.Status]int64{chat.Pending: pending, chat.Running: running, chat.Parked: parked}
			return err
		})
	})
}

func readStuck(to *[]Stuck) func(pgx.Rows) error {
	return func(rows pgx.Rows) (err error) {
		*to, err = collect(rows, pgx.RowToStructByPos[Stuck])
		return err
	}
}

// readClock compares the clocks by the shortest of a few round trips.
func (s *Store) readClock(ctx context.Context, f *Findings) error {
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	for range 5 {
		var theirs time.Time
		sent := time.Now()
		if err := s.pool.QueryRow(ctx, `select clock_timestamp()`).Scan(&theirs); err != nil {
			return wrap("read the database's clock", err)
		}
		took := time.Since(sent)
		if f.RoundTrip == 0 || took < f.RoundTrip {
			f.RoundTrip, f.ClockSkew = took, sent.Add(took/2).Sub(theirs)
		}
	}
	return nil
}
