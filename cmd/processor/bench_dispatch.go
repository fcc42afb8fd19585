package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/alecthomas/kong"

	"processor/internal/chat"
	"processor/internal/measure"
)

// BenchDispatchCmd measures how soon the model is called.
type BenchDispatchCmd struct {
	Rate     float64       `name:"rate" default:"500" placeholder:"N" help:"New turns per second."`
	Duration time.Duration `name:"duration" default:"30s" placeholder:"DURATION" help:"How long is measured."`
	Warmup   time.Duration `name:"warmup" default:"3s" placeholder:"DURATION" help:"How long the same load runs before."`
	Tokens   int           `name:"tokens" default:"20" placeholder:"N" help:"Tokens of an answer."`
	Replicas int           `name:"replicas" default:"2" placeholder:"N" help:"How many replicas are started; 0 measures those of the deployment."`

	BenchFlags
}

// Validate is called by the command line's parser.
func (c *BenchDispatchCmd) Validate() error {
	if c.Rate*(c.Duration+c.Warmup).Seconds() > most {
		return fmt.Errorf("--rate and --duration make more than %d turns", most)
	}
	return positive(map[string]float64{"rate": c.Rate, "duration": c.Duration.Seconds(), "tokens": float64(c.Tokens)})
}

// Run measures.
func (c *BenchDispatchCmd) Run(ctx context.Context, std *Streams, command *kong.Context) error {
	return c.measure(ctx, std, command, "dispatch", c.bench)
}

// callPatience is how long the last messages may take to reach the model.
const callPatience = 30 * time.Second

// reuse is how long a chat rests, at least, until it gets its next message.
const reuse = 4 * time.Second

func (c *BenchDispatchCmd) bench(ctx context.Context, r *rig, report *benchReport) error {
	report.About = fmt.Sprintf("%g new turns/s for %s, %d tokens each, to %d replicas, open loop", c.Rate, c.Duration, c.Tokens, c.Replicas)
	if err := r.startReplicas(ctx, c.Replicas, chat.DefaultSlots); err != nil {
		return err
	}
	chats, err := r.chats(ctx, min(max(int(c.Rate*reuse.Seconds()), benchSenders), 10_000), benchModel)
	if err != nil {
		return err
	}
	r.std.note("sending for %s…", c.Warmup+c.Duration)
	d := &dispatching{rig: r, tokens: c.Tokens, chats: chats}
	if err := openLoop(ctx, c.Rate, int(c.Rate*c.Warmup.Seconds()), func(i int, at time.Time) { d.send(ctx, i, at) }); err != nil {
		return err
	}
	before, err := r.read(ctx)
	if err != nil {
		return err
	}
	d.first = int(c.Rate * c.Warmup.Seconds())
	n := max(int(c.Rate*c.Duration.Seconds()), 1)
	if err := openLoop(ctx, c.Rate, n, func(i int, at time.Time) { d.send(ctx, d.first+i, at) }); err != nil {
		return err
	}
	after, err := r.read(ctx)
	if err != nil {
		return err
	}
	if err := d.report(ctx, report); err != nil {
		return err
	}
	report.costs(before, after, float64(n))
	return nil
}

// dispatching is the load of one run, and what came of it.
type dispatching struct {
	rig    *rig
	tokens int
	chats  []chat.ID
	first  int // number of the first message that counts

	mu     sync.Mutex
	sent   []sentTurn
	failed int
	err    error // the first
}

// sentTurn is one message on its way to the model.
type sentTurn struct {
	n                          int
	message                    *int64 // its id, nil while it waits in a queue
	intended, created, replied time.Time
	queued                     bool
}

func (d *dispatching) send(ctx context.Context, n int, intended time.Time) {
	text := fmt.Sprintf("#n=%d #tokens=%d say something", n, d.tokens)
	reply, err := ask[chat.SendReply](ctx, d.rig.bus, "chats.send", chat.SendRequest{Chat: d.chats[n%len(d.chats)], Text: &text})
	replied := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.failed++
		if d.err == nil {
			d.err = err
		}
		return
	}
	d.sent = append(d.sent, sentTurn{n, reply.Message.ID, intended, reply.Message.CreatedAt, replied, reply.Queued})
}

// report waits for the last calls. A send that failed fails the run when all did, and is a figure otherwise.
func (d *dispatching) report(ctx context.Context, report *benchReport) error {
	if len(d.sent) == 0 {
		return fmt.Errorf("no message was accepted: %w", d.err)
	}
	calls := d.rig.calls
	missing := 0
	err := calls.await(ctx, callPatience, func() bool {
		missing = 0
		for _, s := range d.sent {
			if len(calls.of[int64(s.n)]) == 0 {
				missing++
			}
		}
		return missing == 0
	})
	if err != nil && (ctx.Err() != nil || missing == len(d.sent)) {
		return fmt.Errorf("the model was not called (replicas of a deployment must have OPENAI_BASE_URL=%s/v1): %w", calls.url, err)
	}
	if err := d.latencies(ctx, report); err != nil {
		return err
	}
	report.figure("messages refused", float64(d.failed), "")
	report.figure("messages without a model call", float64(missing), "")
	return nil
}

// aboutCommit and aboutStart are the same of both sides that compare measures.
const (
	aboutCommit = "from the time in the message's commit record, which PostgreSQL takes before it writes the record and flushes it to disk, so that the flush is " +
		"counted in, to the request at the provider"
	aboutStart = "from the start of the transaction that stores the message, by PostgreSQL's clock, so that all of its statements are counted in too"
)

// latencies are of the messages that count, up to the first call for each.
func (d *dispatching) latencies(ctx context.Context, report *benchReport) error {
	clock, err := d.rig.databaseClock(ctx)
	if err != nil {
		return err
	}
	committed, untold, err := d.rig.committed(ctx, d.chats)
	if err != nil {
		return err
	}
	var commit, start, reply, whole, accepted measure.Samples
	queued := 0
	for _, s := range d.sent {
		if s.n < d.first || len(d.rig.calls.of[int64(s.n)]) == 0 {
			continue
		}
		if s.queued {
			queued++
		}
		called := d.rig.calls.of[int64(s.n)][0]
		if untold == "" {
			from, err := s.committed(committed)
			if err != nil {
				return err
			}
			commit = append(commit, called.Sub(clock.here(from)))
		}
		start = append(start, called.Sub(clock.here(s.created)))
		reply = append(reply, called.Sub(s.replied))
		whole = append(whole, called.Sub(s.intended))
		accepted = append(accepted, s.replied.Sub(s.intended))
	}
	if untold == "" {
		report.latency("commit → model call", aboutCommit+"; of one that waited in a queue from its transaction's start"+clock.about(), commit)
	} else {
		report.latency("reply → model call", "from the reply to the sender, which follows the commit, to the request at the provider, which may come first; not from the commit: "+untold, reply)
	}
	report.latency("start → model call", aboutStart+clock.about(), start)
	report.latency("send → model call", "from the time at which the schedule wanted the message sent, so that no stall is left out, to the request at the provider", whole)
	report.latency("send → reply", "from the same time to the reply to the sender, when the message is durable", accepted)
	report.figure("messages that waited in a queue", float64(queued), "")
	return nil
}

// committed is when the message was, by the database's clock. One that waited in a queue has another row since, which another transaction wrote.
func (s sentTurn) committed(at map[int64]time.Time) (time.Time, error) {
	if s.queued || s.message == nil {
		return s.created, nil
	}
	t, found := at[*s.message]
	if !found {
		return t, fmt.Errorf("message %d was accepted and is not there", *s.message)
	}
	return t, nil
}
