package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"processor/internal/chat"
)

// BenchPoisonCmd measures what a chat that kills its process does to its neighbours.
type BenchPoisonCmd struct {
	Neighbours int           `name:"neighbours" default:"1000" placeholder:"N" help:"Chats that stream on the two replicas."`
	Every      time.Duration `name:"every" default:"500ms" placeholder:"DURATION" help:"Time between two tokens of a neighbour."`
	Tokens     int           `name:"tokens" default:"60" placeholder:"N" help:"Tokens of a neighbour's answer."`

	BenchFlags
}

// Validate is called by the command line's parser.
func (c *BenchPoisonCmd) Validate() error {
	return positive(map[string]float64{"neighbours": float64(c.Neighbours), "every": c.Every.Seconds(), "tokens": float64(c.Tokens)})
}

// Run measures.
func (c *BenchPoisonCmd) Run(ctx context.Context, std *Streams, command *kong.Context) error {
	return c.measure(ctx, std, command, "poison", c.bench)
}

// poisonModel kills the replica that calls it.
const poisonModel = "bench/poison"

type lethal struct{}

func (lethal) Stream(context.Context, chat.Request, func(chat.Delta)) (chat.Answer, error) {
	return chat.Answer{}, errors.Join(syscall.Kill(os.Getpid(), syscall.SIGKILL), errors.New("still alive"))
}

const (
	poisonReplicas = 2
	// poisonAgain is the time between two tokens of an answer that is made again: suspects run four at a time, and each has to say all of it.
	poisonAgain    = 10 * time.Millisecond
	poisonPatience = 2 * time.Minute
)

func (c *BenchPoisonCmd) bench(ctx context.Context, r *rig, report *benchReport) error {
	report.About = fmt.Sprintf("one chat that kills its replica, among %d streaming ones on %d replicas that are started again at once", c.Neighbours, poisonReplicas)
	if err := r.startReplicas(ctx, poisonReplicas, c.Neighbours); err != nil {
		return err
	}
	err := r.begin(ctx, c.Neighbours, benchSenders, func(i int) string {
		return fmt.Sprintf("#n=%d #tokens=%d #delay=%s #again=%s talk", i, c.Tokens, c.Every, poisonAgain)
	})
	if err != nil {
		return err
	}
	if err := r.awaitCalls(ctx, callPatience, 0, int64(c.Neighbours)); err != nil {
		return err
	}
	if !pause(ctx, settle) {
		return context.Cause(ctx)
	}
	poison := r.ids(1)[0]
	text, sent := "die", time.Now()
	// Whoever accepts it may run it, and die before it replies: the row is the answer.
	_ = tell(ctx, r.bus, "chats.create", chat.CreateRequest{ID: poison, Model: poisonModel, Message: &chat.FirstMessage{Text: &text}})
	limited, cancel := context.WithTimeoutCause(ctx, poisonPatience+c.Every*time.Duration(c.Tokens), errors.New("the chats did not come to rest"))
	defer cancel()
	deaths, parked, err := c.watch(limited, r, poison, sent)
	if err != nil {
		return err
	}
	return c.report(ctx, r, report, poison, deaths, parked)
}

// watch starts replicas again until all chats rest. parked is how long it took until the poisonous one was.
func (c *BenchPoisonCmd) watch(limited context.Context, r *rig, poison chat.ID, sent time.Time) (deaths int, parked time.Duration, err error) {
	for {
		deaths += r.respawn(limited, c.Neighbours)
		var status chat.Status
		var open int
		const query = `select coalesce((select c.status from processor.chats c where c.id = $1), ''), (select count(*) from processor.chats c where c.status in ('pending', 'running'))`
		if err := r.conn.QueryRow(limited, query, poison).Scan(&status, &open); err != nil {
			return 0, 0, fmt.Errorf("look at the chats: %w", err)
		}
		if status == chat.Parked && parked == 0 {
			parked = time.Since(sent)
		}
		if parked > 0 && open == 0 {
			return deaths, parked, nil
		}
		if !pause(limited, readyPoll) {
			return 0, 0, context.Cause(limited)
		}
	}
}

// respawn starts a replica for every one that died.
func (r *rig) respawn(ctx context.Context, slots int) (deaths int) {
	for _, c := range slices.Clone(r.replicas) {
		select {
		case <-c.done:
			if c.replaced {
				continue
			}
			c.replaced = true
			deaths++
			if _, err := r.replica(ctx, slots); err != nil {
				r.std.warn("a replica was not started again: %v", err)
			}
		default:
		}
	}
	return deaths
}

func (c *BenchPoisonCmd) report(ctx context.Context, r *rig, report *benchReport, poison chat.ID, deaths int, parked time.Duration) error {
	var harmed, answered int
	const query = `select (select count(*) from processor.chats c where c.status = 'error' and c.id <> $1),
	(select count(*) from processor.messages m where m.role = 'assistant' and m.finish = 'stop')`
	if err := r.conn.QueryRow(ctx, query, poison).Scan(&harmed, &answered); err != nil {
		return fmt.Errorf("look at the chats: %w", err)
	}
	report.figure("replicas killed", float64(deaths), "")
	report.figure("neighbours parked", float64(harmed), "")
	report.figure("neighbours answered", float64(answered), fmt.Sprintf("of %d", c.Neighbours))
	report.figure("until the chat was parked", parked.Seconds(), "s")
	return nil
}
