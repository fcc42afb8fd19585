package chat

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Timing holds every duration and count that decides when something happens. Nothing else in the module has a default
// for one. All values are of one replica; replicas of one deployment should agree on them.
type Timing struct {
	// Heartbeat is the time between two beats of a worker.
	Heartbeat time.Duration
	// SuspectAfter is the age of a heartbeat from which a worker is probed; ProbeGap lies between its two probes.
	SuspectAfter time.Duration
	ProbeGap     time.Duration
	// LostAfter is the age from which a worker is lost without a probe.
	LostAfter time.Duration
	// BeatGap is the longest time between two good beats of a sweeper that may judge by age.
	BeatGap time.Duration
	// ProbeQuiet is how long a sweeper does not probe after its own reconnect to NATS.
	ProbeQuiet time.Duration
	// SweepEvery is the time between two sweeps, jittered by a fifth.
	SweepEvery time.Duration

	// AckWait is NATS's deadline from delivery to claim.
	AckWait time.Duration
	// RedispatchAfter is the first wait before a pending chat's dispatch is looked for; it doubles to RedispatchMax.
	RedispatchAfter time.Duration
	RedispatchMax   time.Duration
	// SuspectDelay is the wait of a suspect chat for which no suspect slot was free.
	SuspectDelay time.Duration

	// Drain is how long running turns may go on after a shutdown began; Finalize bounds the final writes.
	Drain    time.Duration
	Finalize time.Duration

	// FirstToken and Token limit a model's silence, before and between tokens.
	FirstToken time.Duration
	Token      time.Duration
	// ModelAttempts is how many calls a step may fail; BackoffMin doubles to BackoffMax between them.
	ModelAttempts int
	BackoffMin    time.Duration
	BackoffMax    time.Duration

	// Coalesce is the least time between two deltas of a chat; PartialEvery between two of its saved partials.
	Coalesce     time.Duration
	PartialEvery time.Duration
	// Compare is how often a watcher compares what it knows with the row.
	Compare time.Duration

	// Statement bounds one statement of Postgres, IdleTx an idle transaction.
	Statement time.Duration
	IdleTx    time.Duration
}

// DefaultTiming is DESIGN section 5.
func DefaultTiming() Timing {
	return Timing{
		Heartbeat: 500 * time.Millisecond, SuspectAfter: 1250 * time.Millisecond, ProbeGap: 200 * time.Millisecond,
		LostAfter: 10 * time.Second, BeatGap: 2 * time.Second, ProbeQuiet: 2 * time.Second, SweepEvery: 500 * time.Millisecond,
		AckWait: 5 * time.Second, RedispatchAfter: 3 * time.Second, RedispatchMax: 5 * time.Minute, SuspectDelay: time.Second,
		Drain: 20 * time.Second, Finalize: 5 * time.Second,
		FirstToken: 120 * time.Second, Token: 60 * time.Second,
		ModelAttempts: 8, BackoffMin: time.Second, BackoffMax: 60 * time.Second,
		Coalesce: 50 * time.Millisecond, PartialEvery: 2 * time.Second, Compare: 10 * time.Second,
		Statement: 10 * time.Second, IdleTx: 2 * time.Second,
	}
}

// Validate refuses values that contradict each other. Its error names every one of them.
func (t Timing) Validate() error {
	var errs []error
	refuse := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	for _, n := range t.durations() {
		refuse(n.d <= 0 && n.name != "drain-timeout", "%s must be above zero, is %s", n.name, n.d)
	}
	refuse(t.Drain < 0, "drain-timeout must not be negative, is %s", t.Drain)
	refuse(t.SuspectAfter < 2*t.Heartbeat, "suspect-after (%s) must be at least two heartbeats (%s each), or every late beat is probed", t.SuspectAfter, t.Heartbeat)
	refuse(t.LostAfter < 2*t.SuspectAfter, "lost-after (%s) must be at least twice suspect-after (%s)", t.LostAfter, t.SuspectAfter)
	refuse(t.LostAfter < 4*t.Heartbeat, "lost-after (%s) must be at least four heartbeats (%s each)", t.LostAfter, t.Heartbeat)
	refuse(t.RedispatchMax < t.RedispatchAfter, "the longest redispatch wait (%s) must not be below the first (%s)", t.RedispatchMax, t.RedispatchAfter)
	refuse(t.BackoffMax < t.BackoffMin, "the longest back-off (%s) must not be below the first (%s)", t.BackoffMax, t.BackoffMin)
	refuse(t.ModelAttempts < 1, "model-attempts must be at least 1, is %d", t.ModelAttempts)
	return errors.Join(errs...)
}

// named is a duration with the name of its flag.
type named struct {
	name string
	d    time.Duration
}

func (t Timing) durations() []named {
	return []named{
		{"heartbeat", t.Heartbeat}, {"suspect-after", t.SuspectAfter}, {"probe-gap", t.ProbeGap}, {"lost-after", t.LostAfter},
		{"beat-gap", t.BeatGap}, {"probe-quiet", t.ProbeQuiet}, {"sweep-every", t.SweepEvery}, {"ack-wait", t.AckWait},
		{"redispatch-after", t.RedispatchAfter}, {"redispatch-max", t.RedispatchMax}, {"suspect-delay", t.SuspectDelay},
		{"drain-timeout", t.Drain}, {"finalize-timeout", t.Finalize}, {"first-token-timeout", t.FirstToken}, {"token-timeout", t.Token},
		{"backoff-min", t.BackoffMin}, {"backoff-max", t.BackoffMax}, {"coalesce", t.Coalesce}, {"partial-every", t.PartialEvery},
		{"compare", t.Compare}, {"statement", t.Statement}, {"idle-tx", t.IdleTx},
	}
}

// LogValue makes the whole table one group of a log line.
func (t Timing) LogValue() slog.Value {
	attrs := []slog.Attr{slog.Int("model-attempts", t.ModelAttempts)}
	for _, n := range t.durations() {
		attrs = append(attrs, slog.Duration(n.name, n.d))
	}
	return slog.GroupValue(attrs...)
}

// Limits of section 5 and 6 that are counts, not durations.
const (
	// SuspectFrom is the number of takeovers from which a chat is a suspect; ParkAt parks it.
	SuspectFrom = 2
	ParkAt      = 3
	// MaxRecoveries parks a chat whatever it commits.
	MaxRecoveries = 25
	// SuspectSlots is how many suspects one worker runs at once.
	SuspectSlots = 4
	// MaxSteps bounds the steps of one turn.
	MaxSteps = 200
	// MaxStepBytes ends a step's text as length. It counts the text as JSON, so that a committed message can always be sent.
	MaxStepBytes = 512 << 10
	// MaxQueue is how many messages may wait in one chat.
	MaxQueue = 20
)
