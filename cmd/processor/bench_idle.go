package main

import (
	"context"
	"fmt"
	"time"

	"github.com/alecthomas/kong"

	"processor/internal/chat"
	"processor/internal/measure"
	"processor/internal/store"
)

// BenchIdleCmd measures that idle chats cost nothing.
type BenchIdleCmd struct {
	Few   int `name:"few" default:"1000" placeholder:"N" help:"Idle chats at first."`
	Many  int `name:"many" default:"1000000" placeholder:"N" help:"Idle chats then."`
	Calls int `name:"calls" default:"1000" placeholder:"N" help:"Claims and sweeps that are measured each time."`

	BenchFlags
}

// Validate is called by the command line's parser.
func (c *BenchIdleCmd) Validate() error {
	if c.NATSURL != "" {
		return fmt.Errorf("idle fills a database of its own only: leave out --nats-url and --database-url")
	}
	return positive(map[string]float64{"few": float64(c.Few), "many": float64(c.Many - c.Few), "calls": float64(c.Calls)})
}

// Run measures.
func (c *BenchIdleCmd) Run(ctx context.Context, std *Streams, command *kong.Context) error {
	return c.measure(ctx, std, command, "idle", c.bench)
}

const (
	// idleOpen is how many chats are pending or running while it is measured.
	idleOpen = 100
	// idleWorker owns them.
	idleWorker = chat.WorkerID("bench")
)

func (c *BenchIdleCmd) bench(ctx context.Context, r *rig, report *benchReport) error {
	report.About = fmt.Sprintf("%d claims and %d sweeps, one after the other, beside %d and beside %d idle chats", c.Calls, c.Calls, c.Few, c.Many)
	st, err := store.Open(ctx, store.Config{URL: r.database, Pool: r.flags.DatabasePool})
	if err != nil {
		return err
	}
	defer st.Close()
	if err := st.Register(ctx, chat.Worker{ID: idleWorker, Slots: idleOpen}); err != nil {
		return err
	}
	for i := range idleOpen {
		if _, err := st.Create(ctx, chat.NewChat{ID: chat.ID(fmt.Sprint("open-", i))}); err != nil {
			return err
		}
	}
	var p50 [2]map[string]time.Duration
	have := 0
	for i, n := range []int{c.Few, c.Many} {
		r.std.note("making %d idle chats…", n)
		if err := r.fill(ctx, have, n); err != nil {
			return err
		}
		have = n
		if p50[i], err = c.calls(ctx, st, report, n); err != nil {
			return err
		}
	}
	for _, name := range []string{"claim", "sweep"} {
		report.figure(fmt.Sprintf("%s, p50, %d to %d idle chats", name, c.Many, c.Few), float64(p50[1][name])/float64(p50[0][name]), "times")
	}
	return nil
}

// fill adds idle chats up to n, and has the server look at the tables as autovacuum would.
func (r *rig) fill(ctx context.Context, have, n int) error {
	const batch = 100_000
	const insert = `insert into processor.chats (id, digest, status, idle_at)
	select 'idle-' || n, sha256('idle'), 'waiting', now() - n * interval '1 second' from generate_series($1::int, $2::int) n`
	for from := have; from < n; from += batch {
		if _, err := r.conn.Exec(ctx, insert, from+1, min(from+batch, n)); err != nil {
			return fmt.Errorf("make idle chats: %w", err)
		}
	}
	for _, sql := range []string{`vacuum analyze processor.chats`, `checkpoint`} {
		if _, err := r.conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// calls measures claims and sweeps, after as many that are not counted.
func (c *BenchIdleCmd) calls(ctx context.Context, st *store.Store, report *benchReport, idle int) (map[string]time.Duration, error) {
	var claims, sweeps measure.Samples
	pass := chat.Pass{SuspectAfter: time.Hour, RedispatchAfter: time.Hour, Batch: idleOpen}
	for i := range 2 * c.Calls {
		id := chat.ID(fmt.Sprint("open-", i%idleOpen))
		claim, err := timedClaim(ctx, st, id, fmt.Sprint(idle, "-", i))
		if err != nil {
			return nil, err
		}
		start := time.Now()
		if _, err := st.Sweep(ctx, pass); err != nil {
			return nil, err
		}
		if i >= c.Calls {
			claims, sweeps = append(claims, claim), append(sweeps, time.Since(start))
		}
	}
	about := fmt.Sprintf("one round trip to the database, commit included, beside %d idle chats", idle)
	report.latency(fmt.Sprintf("claim, %d idle", idle), about, claims)
	report.latency(fmt.Sprintf("sweep, %d idle", idle), about, sweeps)
	return map[string]time.Duration{"claim": claims.Summary().P50, "sweep": sweeps.Summary().P50}, nil
}

// timedClaim is a turn of which the claim is timed.
func timedClaim(ctx context.Context, st *store.Store, id chat.ID, clientID string) (time.Duration, error) {
	text := []chat.Part{{Type: chat.TextPart, Text: "say something"}}
	if _, err := st.Send(ctx, chat.NewMessage{Chat: id, Parts: text, ClientID: clientID}, nil); err != nil {
		return 0, err
	}
	start := time.Now()
	claimed, err := st.Claim(ctx, id, idleWorker, false, chat.Budget{Messages: 1, Bytes: 1})
	took := time.Since(start)
	if err != nil {
		return 0, err
	}
	row := claimed.Chat
	l := chat.Lease{Chat: id, Number: row.Number, Worker: idleWorker, Epoch: row.Epoch, Turn: row.Turn, Step: row.Step}
	_, err = st.Finish(ctx, l, []chat.Message{{Role: chat.Assistant, Finish: chat.Stop, Parts: text}})
	return took, err
}
