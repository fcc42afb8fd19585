package main

import (
	"context"
	"errors"
	"time"

	"github.com/alecthomas/kong"
)

// BenchAllCmd runs every benchmark of this program, each with a fraction of its usual load.
type BenchAllCmd struct {
	BenchFlags
}

// Validate is called by the command line's parser.
func (c *BenchAllCmd) Validate() error {
	if c.SVG != "" || c.Profile != "" {
		return errors.New("--svg and --cpu-profile write one file: name one benchmark, such as `processor bench dispatch`")
	}
	return nil
}

// Run measures.
func (c *BenchAllCmd) Run(ctx context.Context, std *Streams, command *kong.Context) error {
	return c.measureAll(ctx, std, command, []namedBenchmark{
		{"dispatch", (&BenchDispatchCmd{Rate: 200, Duration: 10 * time.Second, Warmup: 2 * time.Second, Tokens: 20, Replicas: 2}).bench},
		{"throughput", (&BenchThroughputCmd{Senders: 64, Duration: 10 * time.Second, Warmup: 2 * time.Second, Tokens: 20, Replicas: 1}).bench},
		{"throughput", (&BenchThroughputCmd{Senders: 64, Duration: 10 * time.Second, Warmup: 2 * time.Second, Tokens: 20, Replicas: 1, Instant: true}).bench},
		{"inflight", (&BenchInflightCmd{Chats: 1000, Every: time.Second, Duration: 10 * time.Second, Ramp: time.Minute}).bench},
		{"recovery", (&takeoverFlags{Chats: 200, Rounds: 1}).kill},
		{"handoff", (&takeoverFlags{Chats: 200, Rounds: 1}).terminate},
		{"stream", (&BenchStreamCmd{Chats: 100, Watchers: 2, Every: 100 * time.Millisecond, Duration: 10 * time.Second, Replicas: 1}).bench},
	})
}

type namedBenchmark struct {
	name string
	run  benchmark
}

// measureAll stops at the first that fails.
func (f BenchFlags) measureAll(ctx context.Context, std *Streams, command *kong.Context, all []namedBenchmark) error {
	for _, b := range all {
		if err := f.measure(ctx, std, command, b.name, b.run); err != nil {
			return err
		}
	}
	return nil
}
