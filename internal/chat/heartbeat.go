package chat

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Heartbeat keeps this replica registered: one narrow row update per beat, whatever the number of chats (DESIGN section 3).
//
// A failed beat proves nothing and ends nothing. Being declared lost is for ever: the registration's runs are cancelled with
// CauseLeaseLost, and when they have ended the replica registers again under a new id.
type Heartbeat struct {
	store  Beats
	chats  Repairer
	config HeartbeatConfig

	current atomic.Pointer[Registration]
	nudge   chan struct{}
	drain   atomic.Bool

	mu     sync.Mutex
	goodAt []time.Time // the last good beats, when they were sent
}

// HeartbeatConfig has what a replica tells of itself.
type HeartbeatConfig struct {
	Worker Worker // ID is made here
	Timing Timing
	Logger *slog.Logger
	// Registered is told of every new id before anything is claimed under it, and what it returns is called when that registration has
	// ended. Beaten is told of every beat, Lost of every lost registration. All may be nil.
	Registered func(ctx context.Context, id WorkerID) (ended func())
	Beaten     func(elapsed time.Duration, err error)
	Lost       func()
}

// Repairer is the processor as the heartbeat sees it.
type Repairer interface {
	// Running counts the runs under a registration, and fingerprints them like Beat does.
	Running(id WorkerID) (count, sum int64)
	// Repair compares what the registration should run with what it runs. It is called only when the fingerprints differ.
	Repair(ctx context.Context, reg *Registration, should []Owned)
	// LookAt tells the processor of a chat whose turn was asked to stop.
	LookAt(o Owned)
	// Ended is closed when the registration has no run any more.
	Ended(id WorkerID) <-chan struct{}
}

// Registration is one life of a replica in the table of workers.
type Registration struct {
	ID WorkerID
	// ctx ends with CauseLeaseLost when the registration was declared lost.
	ctx    context.Context
	cancel context.CancelCauseFunc
	sentAt atomic.Int64 // of the last good beat, as a monotonic distance from born
	born   time.Time
}

// Entitled reports whether the last good beat is recent enough to start anything new.
func (r *Registration) Entitled(t Timing) bool {
	return r.ctx.Err() == nil && time.Since(r.born)-time.Duration(r.sentAt.Load()) < t.LostAfter
}

// NewHeartbeat makes the heartbeat of one replica. parent is the context under which runs live: when it ends, they stop.
func NewHeartbeat(store Beats, chats Repairer, config HeartbeatConfig) *Heartbeat {
	return &Heartbeat{store: store, chats: chats, config: config, nudge: make(chan struct{}, 1)}
}

// Current is the registration under which chats may be claimed; nil before the first and between two.
func (h *Heartbeat) Current() *Registration { return h.current.Load() }

// Draining writes that this replica takes no more chats, with a beat at once.
func (h *Heartbeat) Draining() {
	h.drain.Store(true)
	h.Now()
}

// Now makes the next beat come at once.
func (h *Heartbeat) Now() {
	select {
	case h.nudge <- struct{}{}:
	default:
	}
}

// MayJudge reports whether this replica had no two good beats further apart than BeatGap during the last LostAfter. Only then
// does the age of others prove anything: after an outage of Postgres everybody's age is high.
func (h *Heartbeat) MayJudge() bool {
	t := h.config.Timing
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.goodAt) == 0 || now.Sub(h.goodAt[0]) < t.LostAfter {
		return false
	}
	last := now
	for i := len(h.goodAt) - 1; i >= 0; i-- {
		if last.Sub(h.goodAt[i]) > t.BeatGap {
			return false
		}
		if last = h.goodAt[i]; now.Sub(last) >= t.LostAfter {
			return true
		}
	}
	return true
}

// Run registers and beats until ctx ends, then removes the row. It lives longer than the drain: whoever cancels ctx has seen the
// last run end.
func (h *Heartbeat) Run(ctx context.Context) error {
	for {
		reg, err := h.register(ctx)
		if err != nil {
			return nil //nolint:nilerr // only ctx ends the registration's retries, and an ended ctx is the order to stop
		}
		lost, err := h.serve(ctx, reg)
		if !lost {
			return err
		}
		h.config.Logger.Warn("declared lost, registering again", "worker", reg.ID)
		if h.config.Lost != nil {
			h.config.Lost()
		}
		reg.cancel(CauseLeaseLost)
		select {
		case <-h.chats.Ended(reg.ID):
		case <-ctx.Done():
			return nil
		}
	}
}

// serve lets chats be claimed under a registration, and beats until ctx ends (false) or the registration is lost (true). The row goes while others
// are still answered: who reads it a moment later must not find a replica that nobody answers for.
func (h *Heartbeat) serve(ctx context.Context, reg *Registration) (lost bool, err error) {
	ended := func() {}
	if h.config.Registered != nil {
		ended = h.config.Registered(reg.ctx, reg.ID)
	}
	h.config.Logger.Info("registered", "worker", reg.ID)
	h.current.Store(reg)
	lost = h.beat(ctx, reg)
	h.current.Store(nil)
	gone := make(chan error, 1)
	go func() {
		if lost {
			gone <- nil
			return
		}
		gone <- h.unregister(ctx, reg)
	}()
	ended()
	return lost, <-gone
}

func (h *Heartbeat) register(ctx context.Context) (*Registration, error) {
	w := h.config.Worker
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		w.ID = WorkerID(newUUID())
		sent := time.Now()
		err := h.store.Register(ctx, w)
		if err == nil {
			reg := &Registration{ID: w.ID, born: sent}
			reg.ctx, reg.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
			h.good(reg, sent)
			return reg, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		h.config.Logger.Warn("can't register yet", "err", err)
		if !pause(ctx, jitter(wait)) {
			return nil, context.Cause(ctx)
		}
	}
}

// beat beats until ctx ends (false) or the registration is lost (true).
func (h *Heartbeat) beat(ctx context.Context, reg *Registration) bool {
	tick := time.NewTicker(h.config.Timing.Heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		case <-h.nudge:
		}
		if h.beatOnce(ctx, reg) {
			return true
		}
	}
}

func (h *Heartbeat) beatOnce(ctx context.Context, reg *Registration) (lost bool) {
	// A beat that hangs must not hold back the next one for longer than a lease can bear.
	ctx, cancel := context.WithTimeout(ctx, h.config.Timing.SuspectAfter)
	defer cancel()
	sent := time.Now()
	count, sum := h.chats.Running(reg.ID)
	b, err := h.store.Beat(ctx, reg.ID, int(count), h.drain.Load())
	if h.config.Beaten != nil {
		h.config.Beaten(time.Since(sent), err)
	}
	switch {
	case err != nil:
		if !errors.Is(ctx.Err(), context.Canceled) { // which is the end of this replica
			h.config.Logger.Warn("heartbeat failed", "worker", reg.ID, "err", err)
		}
		return false
	case b.Lost:
		return true
	}
	h.good(reg, sent)
	for _, o := range b.Interrupted {
		h.chats.LookAt(o)
	}
	if b.Count == count && b.Sum == sum {
		h.chats.Repair(ctx, reg, nil)
		return false
	}
	should, err := h.store.Owned(ctx, reg.ID)
	if err == nil {
		h.chats.Repair(ctx, reg, append([]Owned{}, should...))
	}
	return false
}

// good notes a beat that was answered, by when it was sent: the answer proves nothing about later.
func (h *Heartbeat) good(reg *Registration, sent time.Time) {
	reg.sentAt.Store(int64(sent.Sub(reg.born)))
	h.mu.Lock()
	defer h.mu.Unlock()
	h.goodAt = append(h.goodAt, sent)
	for len(h.goodAt) > 2 && sent.Sub(h.goodAt[1]) > 2*h.config.Timing.LostAfter {
		h.goodAt = h.goodAt[1:]
	}
}

func (h *Heartbeat) unregister(ctx context.Context, reg *Registration) error {
	// A row that stays is forgotten later, so that it is not worth a long wait.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(h.config.Timing.Finalize, time.Second))
	defer cancel()
	return h.store.Unregister(ctx, reg.ID)
}

// pause waits; false says that ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
