package chat

import (
	"context"
	"time"
)

// Pass is one sweep as the sweeper asks for it.
type Pass struct {
	// Gone are workers whose process the probes proved gone. The statement looks again: a heartbeat younger than
	// SuspectAfter spares them.
	Gone         []WorkerID
	SuspectAfter time.Duration
	// LostAfter is the age that makes a worker lost. Zero: this sweeper may not judge by age now.
	LostAfter time.Duration
	// NotAfter, if set, is the latest that the database's clock can show now. If it shows more, it was set forward: every heartbeat looks old, and
	// nobody is judged by age.
	NotAfter time.Time
	// RedispatchAfter is when a recovered chat's dispatch is looked for first.
	RedispatchAfter time.Duration
	// Batch bounds the chats that one pass recovers, and those that it reports as Stale.
	Batch int
}

// LostCause says by which path a worker was found lost.
type LostCause string

// The causes: no process answered the probes, the heartbeat's age alone, or the worker's row is gone.
const (
	LostGone LostCause = "gone"
	LostAge  LostCause = "age"
	LostRow  LostCause = "row"
)

// LostWorker is a worker that this pass declared lost.
type LostWorker struct {
	ID    WorkerID
	Cause LostCause
	// Age is the heartbeat's age by the database's clock.
	Age time.Duration
}

// Recovered is a chat taken from a lost owner.
type Recovered struct {
	Outcome
	Worker WorkerID
	Cause  LostCause
	// Charged says that the takeover counts against the chat (the process is gone, and was not draining).
	Charged bool
}

// Suspect is a worker whose heartbeat is older than Pass.SuspectAfter.
type Suspect struct {
	ID  WorkerID
	Age time.Duration
}

// Stale is a pending chat whose dispatch is due to be looked for.
type Stale struct {
	Chat   ID
	Number Number
	Begun  bool
}

// Report is what one pass did and found.
type Report struct {
	// Held is false when another replica holds the sweep's lock: nothing was done.
	Held bool
	// Now is the database's clock.
	Now      time.Time
	Suspects []Suspect
	// Oldest is the age of the oldest heartbeat of a worker that is not lost.
	Oldest    time.Duration
	Lost      []LostWorker
	Recovered []Recovered
	Stale     []Stale
	// More says that a batch was full, so the next pass should follow at once.
	More bool
	// Unowned counts the running chats without a live owner that this pass left (I3).
	Unowned int
}

// Sweeps is what the sweeper needs of the store.
type Sweeps interface {
	// Sweep is one transaction under an advisory lock that is tried, not awaited.
	Sweep(ctx context.Context, p Pass) (Report, error)
	// Dispatched notes what was found for stale chats: published ones back off (doubling from first to longest), present ones are
	// looked for again after as long as they have waited already.
	Dispatched(ctx context.Context, published, present []Number, first, longest time.Duration) error
	// Anew makes every pending chat due now: the stream is new.
	Anew(ctx context.Context) error
	// Prune removes rows of workers lost or silent for a day, and chats that were idle for retain (zero: none) and have no queue, at
	// most batch at a time. It returns the chats removed.
	Prune(ctx context.Context, retain time.Duration, batch int) ([]ID, error)
}
