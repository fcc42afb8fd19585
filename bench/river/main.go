// Command river is the yardstick of `processor bench compare`: what a good engineer builds on River in a day to answer chats.
//
// A message and its job are stored in one transaction. A worker loads the chat's history, streams the answer from the provider and
// stores it. Senders and workers are one process, and a sender learns of its answer in memory, which is more than a deployment of several
// replicas could have. There is no live stream to watchers, no order of the turns of one chat, and no interruption.
//
// Settings are those at which River is fastest here: FetchCooldown at its minimum of 1 ms, wake-ups by LISTEN and NOTIFY, so many
// workers that none is waited for, and the batch completer, which the storing of an answer does not wait for: a job that runs again
// after a crash finds its answer stored, by a unique key. FetchPollInterval is 10 ms, because a client sends one notification per
// FetchCooldown at most, and a job whose notification was left out for one that came before its commit waits for the next, or
// for the poll. The client of HTTP has the settings of processor's.
//
// Chats are made before anything is measured, as processor's benchmark does.
//
// It prints what it measured as one JSON object, raw: who asked computes percentiles.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"
)

// options are the command line's.
type options struct {
	database, provider string
	mode               string
	senders, tokens    int
	rate               float64
	duration, warmup   time.Duration
	workers, pool      int
	poll               time.Duration
	first, chats       int
	instant            bool
}

func (o *options) define(f *flag.FlagSet) {
	f.StringVar(&o.database, "database-url", os.Getenv("BENCH_DATABASE_URL"), "empty database; $BENCH_DATABASE_URL unless given")
	f.StringVar(&o.provider, "provider", "", "base URL of the provider, with its /v1")
	f.StringVar(&o.mode, "mode", "throughput", "throughput or dispatch")
	f.IntVar(&o.senders, "senders", 64, "of throughput")
	f.IntVar(&o.tokens, "tokens", 20, "of an answer")
	f.Float64Var(&o.rate, "rate", 500, "turns per second of dispatch")
	f.DurationVar(&o.duration, "duration", 10*time.Second, "how long is measured")
	f.DurationVar(&o.warmup, "warmup", 3*time.Second, "how long the same load runs before")
	f.IntVar(&o.workers, "workers", 1000, "jobs at a time")
	f.IntVar(&o.pool, "pool", 40, "connections to PostgreSQL at most")
	f.DurationVar(&o.poll, "poll", 10*time.Millisecond, "River's FetchPollInterval")
	f.BoolVar(&o.instant, "instant", false, "answer in this process, without the provider")
	f.IntVar(&o.chats, "chats", 0, "made in advance, of throughput")
	f.IntVar(&o.first, "first", 0, "number of the first message")
}

// result is what is printed. Times are in nanoseconds since 1970.
type result struct {
	About string `json:"about"`
	// From and To are the time that is measured.
	From int64 `json:"from"`
	To   int64 `json:"to"`
	// Turns are of throughput: when each ended, and how long it took.
	Turns [][2]int64 `json:"turns,omitempty"`
	// Sent are of dispatch: a message's number, when it was due, when its transaction began, when that was committed by the commit's record, and
	// when the sender knew.
	Sent [][5]int64 `json:"sent,omitempty"`
}

// heapRoom is counted as alive by the garbage collector and never touched, so that it collects after 192 MiB, as processor's does.
const (
	heapRoom    = 384 << 20
	heapPercent = 50
)

func main() {
	debug.SetGCPercent(heapPercent)
	room := make([]byte, heapRoom)
	defer runtime.KeepAlive(room)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var o options
	o.define(flag.CommandLine)
	flag.Parse()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench/river:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	a, err := open(ctx, o)
	if err != nil {
		return err
	}
	defer a.close()
	var r result
	switch o.mode {
	case "throughput":
		r, err = a.throughput(ctx, o)
	case "dispatch":
		r, err = a.dispatch(ctx, o)
	default:
		err = errors.New("-mode is throughput or dispatch")
	}
	if err != nil {
		return err
	}
	r.About = fmt.Sprintf("River %s, FetchCooldown %s, FetchPollInterval %s, MaxWorkers %d, pool %d, LISTEN/NOTIFY, batch completer", version(), cooldown, o.poll, o.workers, o.pool)
	return json.NewEncoder(os.Stdout).Encode(r)
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "github.com/riverqueue/river" {
				return m.Version
			}
		}
	}
	return "of unknown version"
}
