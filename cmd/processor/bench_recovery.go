package main

import (
	"context"
	"fmt"
	"time"

	"github.com/alecthomas/kong"

	"processor/internal/measure"
)

// takeoverFlags are those of recovery and handoff.
type takeoverFlags struct {
	Chats  int `name:"chats" default:"200" placeholder:"N" help:"Chats that stream when their replica goes."`
	Rounds int `name:"rounds" default:"3" placeholder:"N" help:"How often, each time with new replicas and new chats."`

	BenchFlags
}

// Validate is called by the command line's parser.
func (c *takeoverFlags) Validate() error {
	return positive(map[string]float64{"chats": float64(c.Chats), "rounds": float64(c.Rounds)})
}

// BenchRecoveryCmd kills.
type BenchRecoveryCmd struct{ takeoverFlags }

// Run measures.
func (c *BenchRecoveryCmd) Run(ctx context.Context, std *Streams, command *kong.Context) error {
	return c.measure(ctx, std, command, "recovery", c.kill)
}

// BenchHandoffCmd asks to end.
type BenchHandoffCmd struct{ takeoverFlags }

// Run measures.
func (c *BenchHandoffCmd) Run(ctx context.Context, std *Streams, command *kong.Context) error {
	return c.measure(ctx, std, command, "handoff", c.terminate)
}

func (c *takeoverFlags) kill(ctx context.Context, r *rig, report *benchReport) error {
	report.About = fmt.Sprintf("kill -9 of a replica with %d streaming chats beside an idle one, %d times", c.Chats, c.Rounds)
	return c.rounds(ctx, r, report, "kill → model call", (*benchChild).kill)
}

func (c *takeoverFlags) terminate(ctx context.Context, r *rig, report *benchReport) error {
	report.About = fmt.Sprintf("SIGTERM to a replica with %d streaming chats and no time to drain, beside an idle one, %d times", c.Chats, c.Rounds)
	return c.rounds(ctx, r, report, "SIGTERM → model call", func(victim *benchChild) error { victim.stop(); return nil })
}

const (
	// settle is how long two replicas run beside each other before one goes: a sweeper that has just connected does not probe yet.
	settle = 4 * time.Second
	// takeoverPatience is far above what any set-up promises.
	takeoverPatience = 2 * time.Minute
)

func (c *takeoverFlags) rounds(ctx context.Context, r *rig, report *benchReport, name string, end func(*benchChild) error) error {
	var all measure.Samples
	for round := range c.Rounds {
		r.std.note("round %d of %d…", round+1, c.Rounds)
		samples, err := c.round(ctx, r, int64(round*c.Chats), end)
		if err != nil {
			return fmt.Errorf("round %d: %w", round+1, err)
		}
		all = append(all, samples...)
	}
	report.latency(name, "from just before the signal, for each chat to its next request at the provider, by the one clock of this machine", all)
	return nil
}

// round leaves no chat and no replica behind.
func (c *takeoverFlags) round(ctx context.Context, r *rig, first int64, end func(*benchChild) error) (measure.Samples, error) {
	victim, err := r.replica(ctx, c.Chats)
	if err != nil {
		return nil, err
	}
	err = r.begin(ctx, c.Chats, benchSenders, func(i int) string {
		return fmt.Sprintf("#n=%d #tokens=1000000 #delay=100ms talk for ever", first+int64(i))
	})
	if err != nil {
		return nil, err
	}
	if err := r.awaitCalls(ctx, callPatience, first, int64(c.Chats)); err != nil {
		return nil, err
	}
	if _, err := r.replica(ctx, c.Chats); err != nil {
		return nil, err
	}
	if !pause(ctx, settle) {
		return nil, context.Cause(ctx)
	}

	ended := time.Now()
	if err := end(victim); err != nil {
		return nil, err
	}
	samples, err := r.calledAgain(ctx, first, c.Chats, ended)
	if err != nil {
		return nil, err
	}
	if err := r.remove(ctx); err != nil {
		return nil, fmt.Errorf("remove the chats: %w", err)
	}
	r.stopReplicas()
	return samples, nil
}

// calledAgain waits for a call of each message's model after a time.
func (r *rig) calledAgain(ctx context.Context, first int64, n int, after time.Time) (measure.Samples, error) {
	var samples measure.Samples
	err := r.calls.await(ctx, takeoverPatience, func() bool {
		samples = samples[:0]
		for i := first; i < first+int64(n); i++ {
			for _, at := range r.calls.of[i] {
				if at.After(after) {
					samples = append(samples, at.Sub(after))
					break
				}
			}
		}
		return len(samples) == n
	})
	if err != nil {
		return nil, fmt.Errorf("%d of %d chats were called again: %w", len(samples), n, err)
	}
	return samples, nil
}
