package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/alecthomas/kong"

	"processor/internal/bus"
	"processor/internal/chat"
)

// BenchInflightCmd measures what streaming chats cost.
type BenchInflightCmd struct {
	Chats    int           `name:"chats" default:"10000" placeholder:"N" help:"Chats that stream on one replica."`
	Every    time.Duration `name:"every" default:"1s" placeholder:"DURATION" help:"Time between two tokens of a chat."`
	Duration time.Duration `name:"duration" default:"30s" placeholder:"DURATION" help:"How long is measured, once all stream."`
	Ramp     time.Duration `name:"ramp" default:"5m" placeholder:"DURATION" help:"How long it may take until all stream."`

	BenchFlags
}

// Validate is called by the command line's parser.
func (c *BenchInflightCmd) Validate() error {
	return positive(map[string]float64{"chats": float64(c.Chats), "every": c.Every.Seconds(), "duration": c.Duration.Seconds(), "ramp": c.Ramp.Seconds()})
}

// Run measures.
func (c *BenchInflightCmd) Run(ctx context.Context, std *Streams, command *kong.Context) error {
	return c.measure(ctx, std, command, "inflight", c.bench)
}

func (c *BenchInflightCmd) bench(ctx context.Context, r *rig, report *benchReport) error {
	report.About = fmt.Sprintf("%d chats on one replica, a token every %s each, for %s", c.Chats, c.Every, c.Duration)
	if _, err := r.replica(ctx, c.Chats); err != nil {
		return err
	}
	idle, err := r.read(ctx)
	if err != nil {
		return err
	}
	r.std.note("starting %d chats…", c.Chats)
	ramp, cancel := context.WithTimeoutCause(ctx, c.Ramp, fmt.Errorf("not all of them stream after %s (--ramp)", c.Ramp))
	defer cancel()
	err = r.begin(ramp, c.Chats, benchSenders, func(i int) string {
		return fmt.Sprintf("#n=%d #tokens=1000000 #delay=%s talk for ever", i, c.Every)
	})
	if err == nil {
		err = r.awaitCalls(ramp, c.Ramp, 0, int64(c.Chats))
	}
	if err != nil {
		return err
	}
	deltas, stop, err := countDeltas(ctx, r.bus)
	if err != nil {
		return err
	}
	defer stop()
	if !pause(ctx, c.Every+2*time.Second) {
		return context.Cause(ctx)
	}
	r.std.note("measuring for %s…", c.Duration)
	before, err := r.read(ctx)
	if err != nil {
		return err
	}
	first := deltas.Load()
	if !pause(ctx, c.Duration) {
		return context.Cause(ctx)
	}
	after, err := r.read(ctx)
	if err != nil {
		return err
	}
	report.figure("tokens at a watcher of all chats", float64(deltas.Load()-first)/after.at.Sub(before.at).Seconds(), "tokens/s")
	report.inflight(idle, before, after)
	report.costs(before, after, 0)
	return nil
}

// inflight adds what a replica that only streams should not do.
func (b *benchReport) inflight(idle, before, after reading) {
	chats := after.metrics["processor_runs_in_flight"]
	memory := after.metrics["process_resident_memory_bytes"] - idle.metrics["process_resident_memory_bytes"]
	b.figure("chats in flight", chats, "chats")
	b.figure("memory more than idle, per chat", memory/max(chats, 1)/1024, "KiB")
	b.figure("leases lost", after.metrics["processor_lease_losses_total"], "")
	b.figure("chats taken over", after.metrics["processor_recovered_total"], "")
	b.figure("events dropped", after.metrics["processor_events_dropped_total"], "")
	if before.beats >= 0 {
		b.figure("heartbeat statements (pg_stat_statements)", (after.beats-before.beats)/after.at.Sub(before.at).Seconds(), "statements/s")
	} else {
		b.figure("heartbeat statements (the replica's metric)", after.since(before, "processor_heartbeat_seconds_count"), "statements/s")
	}
	beats := after.metrics["processor_heartbeat_seconds_count"] - before.metrics["processor_heartbeat_seconds_count"]
	spent := after.metrics["processor_heartbeat_seconds_sum"] - before.metrics["processor_heartbeat_seconds_sum"]
	b.figure("heartbeat", 1000*spent/max(beats, 1), "ms on average")
}

// countDeltas counts the deltas of all chats until stop, and begins again when it fell behind.
func countDeltas(ctx context.Context, b *bus.Bus) (count *atomic.Int64, stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	events, _, err := b.SubscribeAll(ctx)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	count = &atomic.Int64{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			for e := range events {
				if e.Type == chat.DeltaEvent {
					count.Add(1)
				}
			}
			again, _, err := b.SubscribeAll(ctx)
			if err != nil && !pause(ctx, time.Second) {
				return
			}
			if err == nil {
				events = again
			}
		}
	}()
	return count, func() { cancel(); <-done }, nil
}
