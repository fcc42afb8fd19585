package sweeper

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"processor/internal/chat"
)

// Sweeper finds chats whose replica died, gives them back, and dispatches what waits without a dispatch.
type Sweeper struct {
	store  chat.Sweeps
	bus    Bus
	config Config

	// stream is the stream as it was seen last.
	stream StreamIdentity
	// oldest is the age of the oldest heartbeat in the last pass, zero if another replica held the lock.
	oldest time.Duration
	pruned time.Time
	clock  clock
}

// Bus is the bus as the sweeper needs it.
type Bus interface {
	// Probe asks a worker whether it is there.
	Probe(ctx context.Context, id chat.WorkerID) Answer
	// ConnectedSince is when the connection was made or made again; zero while there is none.
	ConnectedSince() time.Time
	Dispatch(ctx context.Context, id chat.ID, begun bool) error
	// Missing splits stale chats by whether the stream holds a dispatch for them. An error means that nothing is known.
	Missing(ctx context.Context, stale []chat.Stale) (missing, present []chat.Stale, err error)
	Stream(ctx context.Context) (StreamIdentity, error)
	Announce(events ...chat.Event)
}

// StreamIdentity tells a stream from one that was made after it.
type StreamIdentity struct {
	Created time.Time
	Empty   bool
}

// Answer is what a probe proved.
type Answer int

// NoResponders means that no process serves the worker's subject. An answer, or a time-out, proves nothing against the worker.
const (
	Unknown Answer = iota
	Answered
	NoResponders
)

// Config has the sweeper's settings.
type Config struct {
	Timing chat.Timing
	// Retain is how long idle chats are kept; zero: for ever.
	Retain time.Duration
	Logger *slog.Logger
	// MayJudge says whether this replica may judge others by age now.
	MayJudge func() bool
	// Self is this replica's own worker, which it does not probe; empty while it is not registered.
	Self func() chat.WorkerID
	// Release yields everything that a worker still owns, in one statement.
	Release func(ctx context.Context, id chat.WorkerID) ([]chat.Outcome, error)
	Hooks   Hooks
}

// Hooks are told what happens, for metrics. Any may be nil.
type Hooks struct {
	Swept  func(r chat.Report, elapsed time.Duration, err error)
	Probed func(Answer)
	// Redispatched is told how many chats waited without a dispatch, as far as is known, and how many of them got one.
	Redispatched func(missing, published int)
}

// batch bounds what one pass recovers and looks for; a full batch is followed by the next pass at once.
const batch = 500

// New makes a sweeper.
func New(store chat.Sweeps, bus Bus, config Config) *Sweeper {
	return &Sweeper{store: store, bus: bus, config: config}
}

// Run sweeps every Timing.SweepEvery, jittered, until ctx ends. Then it waits for drained, which is closed when this replica's last run has
// ended, and gives back whatever the replica still owns.
func (s *Sweeper) Run(ctx context.Context, drained <-chan struct{}) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			<-drained
			return s.release(ctx)
		case <-timer.C:
		}
		if err := s.RunOnce(ctx); err != nil && ctx.Err() == nil {
			s.config.Logger.Warn("sweep failed", "err", err)
		}
		timer.Reset(s.pause())
	}
}

// release is the replica's last write about chats: on a context that the shutdown did not cancel, with a deadline of its own (I6).
func (s *Sweeper) release(ctx context.Context) error {
	id := s.config.Self()
	if id == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.Timing.Finalize)
	defer cancel()
	outcomes, err := s.config.Release(ctx, id)
	if err != nil {
		return fmt.Errorf("release what is still owned: %w", err)
	}
	for _, o := range outcomes {
		s.config.Logger.Info("released", "chat", o.Chat.ID, "epoch", o.Chat.Epoch, "worker", id)
		s.bus.Announce(o.Events("yielded")...)
	}
	s.dispatch(ctx, outcomes)
	return nil
}

// pause is SweepEvery, jittered. When a heartbeat is late already, it ends when that one would make a suspect: half a beat is a lot of the
// time in which a killed replica's chats are answered again.
func (s *Sweeper) pause() time.Duration {
	t := s.config.Timing
	wait := t.SweepEvery - t.SweepEvery/5 + rand.N(2*t.SweepEvery/5+1)
	if due := t.SuspectAfter - s.oldest; due > 0 && s.oldest > t.Heartbeat*3/2 {
		wait = min(wait, due+time.Millisecond)
	}
	return wait
}

// RunOnce is one sweep: passes until nothing is left to recover, and the dispatches that follow from them.
func (s *Sweeper) RunOnce(ctx context.Context) error {
	report, err := s.passes(ctx, nil)
	s.oldest = report.Oldest
	if err != nil || !report.Held {
		return err
	}
	if gone := s.probe(ctx, report.Suspects); len(gone) > 0 {
		if _, err := s.passes(ctx, gone); err != nil {
			return err
		}
	}
	return s.prune(ctx)
}

// passes runs passes until one was not full. No network but the database's is used while its transaction is open.
func (s *Sweeper) passes(ctx context.Context, gone []chat.WorkerID) (chat.Report, error) {
	for {
		start := time.Now()
		report, err := s.store.Sweep(ctx, s.pass(gone))
		if s.config.Hooks.Swept != nil {
			s.config.Hooks.Swept(report, time.Since(start), err)
		}
		if err != nil || !report.Held {
			return report, err
		}
		s.clock.read(report.Now, start, s.config.Timing.BeatGap)
		s.publish(ctx, report)
		repaired := s.repairDispatches(ctx, report.Stale)
		// What could not be dispatched is found again by every pass: it waits for the next sweep, or one would follow the other without end.
		if !report.More || (!repaired && len(report.Recovered) < batch) {
			return report, nil
		}
	}
}

func (s *Sweeper) pass(gone []chat.WorkerID) chat.Pass {
	t := s.config.Timing
	p := chat.Pass{Gone: gone, SuspectAfter: t.SuspectAfter, RedispatchAfter: t.RedispatchAfter, Batch: batch}
	if s.config.MayJudge() && time.Since(s.clock.steady) >= t.LostAfter {
		p.LostAfter, p.NotAfter = t.LostAfter, s.clock.latest(time.Now(), t.BeatGap)
	}
	return p
}

// publish tells watchers and replicas of what was recovered.
func (s *Sweeper) publish(ctx context.Context, report chat.Report) {
	for _, w := range report.Lost {
		s.config.Logger.Warn("worker lost", "worker", w.ID, "cause", w.Cause, "elapsed", w.Age)
	}
	for _, r := range report.Recovered {
		s.config.Logger.Warn("recovered", "chat", r.Chat.ID, "epoch", r.Chat.Epoch, "worker", r.Worker, "cause", r.Cause, "status", r.Chat.Status)
		s.bus.Announce(r.Events("recovered")...)
	}
	outcomes := make([]chat.Outcome, len(report.Recovered))
	for i, r := range report.Recovered {
		outcomes[i] = r.Outcome
	}
	s.dispatch(ctx, outcomes)
}

// dispatchLimit bounds a batch of dispatches: recovery must not wait for a bus that acknowledges nothing.
const dispatchLimit = 2 * time.Second

// dispatch wakes replicas for what was taken back, concurrently: fifty chats of a dead replica must not wait for one another. What fails is
// found as stale later.
func (s *Sweeper) dispatch(ctx context.Context, outcomes []chat.Outcome) {
	ctx, cancel := context.WithTimeout(ctx, dispatchLimit)
	defer cancel()
	each(outcomes, func(o chat.Outcome) {
		if o.Chat.Status != chat.Pending {
			return
		}
		if err := s.bus.Dispatch(ctx, o.Chat.ID, true); err != nil {
			s.config.Logger.Warn("not dispatched yet", "chat", o.Chat.ID, "err", err)
		}
	})
}

// each runs do for every item, at most 32 at a time, and waits.
func each[T any](items []T, do func(T)) {
	var group sync.WaitGroup
	places := make(chan struct{}, 32)
	for _, item := range items {
		places <- struct{}{}
		group.Go(func() {
			defer func() { <-places }()
			do(item)
		})
	}
	group.Wait()
}

func (s *Sweeper) prune(ctx context.Context) error {
	if time.Since(s.pruned) < time.Minute {
		return nil
	}
	s.pruned = time.Now()
	gone, err := s.store.Prune(ctx, s.config.Retain, batch)
	if err == nil && len(gone) > 0 {
		s.config.Logger.Info("idle chats removed", "count", len(gone))
		if len(gone) == batch {
			s.pruned = time.Time{}
		}
	}
	return err
}
