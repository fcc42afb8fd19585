package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/jackc/pgx/v5"

	"processor/internal/measure"
)

// BenchCompareCmd measures the processor and the same job built on River, in turn.
type BenchCompareCmd struct {
	River    string        `name:"river" placeholder:"PROGRAM" help:"The program to compare with; built from bench/river of the source tree unless given."`
	Rounds   int           `name:"rounds" default:"3" placeholder:"N" help:"How often, each time on new servers; the order changes."`
	Rate     float64       `name:"rate" default:"200" placeholder:"N" help:"New turns per second of dispatch."`
	Senders  int           `name:"senders" default:"64" placeholder:"N" help:"Senders of throughput, each of which waits for its answer."`
	Duration time.Duration `name:"duration" default:"10s" placeholder:"DURATION" help:"How long each is measured."`
	Warmup   time.Duration `name:"warmup" default:"3s" placeholder:"DURATION" help:"How long the same load runs before."`
	Tokens   int           `name:"tokens" default:"20" placeholder:"N" help:"Tokens of an answer."`
	Instant  bool          `name:"instant" help:"Answer inside of both, without HTTP; there is no dispatch to measure then."`

	BenchFlags
}

// Help says what is compared.
func (*BenchCompareCmd) Help() string {
	return "The same PostgreSQL and provider, the same messages and chats, one replica against one process of River, each on a database of its own. " +
		"River's process sends and works, and learns of answers in memory; the processor's replica also publishes every token to watchers. " +
		"Chats are made before the measurement, as many for both. bench/river says which settings River has. Ratios are of medians over the rounds; above 1 the processor is better."
}

// Validate is called by the command line's parser.
func (c *BenchCompareCmd) Validate() error {
	if c.NATSURL != "" {
		return errors.New("compare measures on servers of its own only: leave out --nats-url and --database-url")
	}
	return positive(map[string]float64{"rounds": float64(c.Rounds), "rate": c.Rate, "senders": float64(c.Senders), "duration": c.Duration.Seconds()})
}

// Run measures.
func (c *BenchCompareCmd) Run(ctx context.Context, std *Streams, command *kong.Context) error {
	defer paceHeap()()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	built, remove, err := c.program(ctx, std)
	if err != nil {
		return stopped(ctx, err)
	}
	defer remove()
	total := &comparison{flags: c, river: built}
	for round := range c.Rounds {
		std.note("round %d of %d…", round+1, c.Rounds)
		if err := total.round(ctx, std, command, round); err != nil {
			return stopped(ctx, err)
		}
	}
	return total.report().write(std, c.BenchFlags)
}

// program is the one to compare with, built if need be.
func (c *BenchCompareCmd) program(ctx context.Context, std *Streams) (path string, remove func(), err error) {
	if c.River != "" {
		return c.River, func() {}, nil
	}
	const source = "bench/river"
	if _, err := os.Stat(filepath.Join(source, "go.mod")); err != nil {
		return "", nil, errors.New("nothing to compare with: run this in the source tree, which has bench/river, or name its program with --river")
	}
	dir, err := os.MkdirTemp(benchFolder(c.Dir), "processor-bench-")
	if err != nil {
		return "", nil, err
	}
	remove = func() { os.RemoveAll(dir) }
	std.note("building %s…", source)
	path = filepath.Join(dir, "river")
	build := exec.CommandContext(ctx, "go", "build", "-o", path, ".")
	build.Dir = source
	if output, err := build.CombinedOutput(); err != nil {
		remove()
		return "", nil, fmt.Errorf("build %s: %w: %s", source, err, oneLine(string(output), 300))
	}
	return path, remove, nil
}

// comparison is what all rounds measured.
type comparison struct {
	flags *BenchCompareCmd
	river string
	about string

	setup        benchSetup
	pgbench      []float64
	ours, theirs contender
}

// contender is one side.
type contender struct {
	dispatch, start, turn measure.Samples
	p99, rate             []float64 // of each round
}

// round measures both on new servers, in an order that changes.
func (t *comparison) round(ctx context.Context, std *Streams, command *kong.Context, round int) (err error) {
	r, err := newRig(ctx, std, t.flags.BenchFlags, command)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close(context.WithoutCancel(ctx))) }()
	var about benchReport
	if err := r.describe(ctx, &about.Setup); err != nil {
		return err
	}
	if err := r.yardstick(ctx, &about); err != nil {
		return err
	}
	t.setup = about.Setup
	for _, f := range about.Figures {
		t.pgbench = append(t.pgbench, f.Value)
	}
	sides := []func(context.Context, *rig) error{t.measureOurs, t.measureRiver}
	for i := range sides {
		if err := sides[(i+round)%len(sides)](ctx, r); err != nil {
			return err
		}
	}
	if r.cores != nil {
		t.setup.Procs = fmt.Sprintf("%s, %d of River's process", r.cores, r.cores.all) // which sends and works, and is slower with fewer
	}
	return nil
}

func (t *comparison) measureOurs(ctx context.Context, r *rig) error {
	c := t.flags
	var dispatched, started measure.Samples
	if !c.Instant {
		var dispatch benchReport
		err := (&BenchDispatchCmd{Rate: c.Rate, Duration: c.Duration, Warmup: c.Warmup, Tokens: c.Tokens, Replicas: 1}).bench(ctx, r, &dispatch)
		if err != nil {
			return err
		}
		r.stopReplicas()
		dispatched, started = dispatch.Latencies[0].samples, dispatch.Latencies[1].samples
	}
	var throughput benchReport
	if err := c.throughput().bench(ctx, r, &throughput); err != nil {
		return err
	}
	r.stopReplicas()
	t.ours.add(dispatched, started, throughput.Latencies[0].samples, throughput.Figures[0].Value)
	return nil
}

func (c *BenchCompareCmd) throughput() *BenchThroughputCmd {
	return &BenchThroughputCmd{Senders: c.Senders, Duration: c.Duration, Warmup: c.Warmup, Tokens: c.Tokens, Replicas: 1, Instant: c.Instant}
}

func (c *contender) add(dispatch, start, turn measure.Samples, rate float64) {
	c.dispatch, c.start, c.turn = append(c.dispatch, dispatch...), append(c.start, start...), append(c.turn, turn...)
	c.p99 = append(c.p99, millis(dispatch.Summary().P99))
	c.rate = append(c.rate, rate)
}

// riverResult is what bench/river prints. Times are in nanoseconds since 1970.
type riverResult struct {
	About    string
	From, To int64
	Turns    [][2]int64 // when each ended, and how long it took
	Sent     [][5]int64 // number, when it was due, when its transaction began, when that was committed, when the sender knew
}

func (t *comparison) measureRiver(ctx context.Context, r *rig) error {
	var dispatch, start, turns measure.Samples
	if !t.flags.Instant {
		var err error
		if dispatch, start, err = t.riverDispatch(ctx, r); err != nil {
			return err
		}
	}
	ended, err := t.runRiver(ctx, r, "throughput", 0)
	if err != nil {
		return err
	}
	for _, turn := range ended.Turns {
		turns = append(turns, time.Duration(turn[1]))
	}
	t.about = ended.About
	t.theirs.add(dispatch, start, turns, float64(len(turns))/time.Duration(ended.To-ended.From).Seconds())
	return nil
}

func (t *comparison) riverDispatch(ctx context.Context, r *rig) (dispatch, start measure.Samples, err error) {
	const first = most // numbers that our messages don't have
	sent, err := t.runRiver(ctx, r, "dispatch", first)
	if err != nil {
		return nil, nil, err
	}
	if err := r.calls.update(ctx); err != nil {
		return nil, nil, err
	}
	for _, s := range sent.Sent {
		if calls := r.calls.of[s[0]]; len(calls) > 0 {
			dispatch = append(dispatch, calls[0].Sub(time.Unix(0, s[3])))
			start = append(start, calls[0].Sub(time.Unix(0, s[2])))
		}
	}
	if len(dispatch) != len(sent.Sent) {
		return nil, nil, fmt.Errorf("the model was called for %d of %d messages of River's", len(dispatch), len(sent.Sent))
	}
	return dispatch, start, nil
}

// runRiver runs the other program on a database of its own.
func (t *comparison) runRiver(ctx context.Context, r *rig, mode string, first int) (riverResult, error) {
	c := t.flags
	r.std.note("measuring River, %s, for %s…", mode, c.Warmup+c.Duration)
	database, err := r.emptyDatabase(ctx, "river_"+mode)
	if err != nil {
		return riverResult{}, err
	}
	cmd := exec.CommandContext(ctx, t.river, "-mode", mode, "-provider", r.calls.url+"/v1", "-senders", strconv.Itoa(c.Senders),
		"-tokens", strconv.Itoa(c.Tokens), "-rate", fmt.Sprint(c.Rate), "-duration", c.Duration.String(), "-warmup", c.Warmup.String(), "-first", strconv.Itoa(first),
		"-chats", strconv.Itoa(c.throughput().chats()), fmt.Sprintf("-instant=%t", c.Instant))
	cmd.Env = append(os.Environ(), "BENCH_DATABASE_URL="+database)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = cleanLimit
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return riverResult{}, fmt.Errorf("run %s: %w: %s", t.river, err, oneLine(stderr.String(), 300))
	}
	var result riverResult
	if err := json.Unmarshal(stdout.Bytes(), &result); err != nil {
		return riverResult{}, fmt.Errorf("read what %s printed: %w", t.river, err)
	}
	return result, nil
}

// emptyDatabase makes one beside the rig's own.
func (r *rig) emptyDatabase(ctx context.Context, name string) (url string, err error) {
	if _, err := r.conn.Exec(ctx, "create database "+pgx.Identifier{name}.Sanitize()); err != nil {
		return "", fmt.Errorf("make a database for the comparison: %w", err)
	}
	c := r.conn.Config()
	return fmt.Sprintf("postgres://%s:%s@%s:%d/%s?sslmode=disable", c.User, c.Password, c.Host, c.Port, name), nil
}

func (t *comparison) report() *benchReport {
	c := t.flags
	what := fmt.Sprintf("dispatch at %g turns/s, throughput", c.Rate)
	if c.Instant {
		what = "throughput without HTTP"
	}
	b := &benchReport{Bench: "compare", Setup: t.setup, About: fmt.Sprintf(
		"%s with %d senders, %d tokens, %d rounds of %s each; %s", what, c.Senders, c.Tokens, c.Rounds, c.Duration, t.about)}
	if !c.Instant {
		b.latency("commit → model, processor", aboutCommit+", in an open loop", t.ours.dispatch)
		b.latency("commit → model, River", "the same", t.theirs.dispatch)
		b.latency("start → model, processor", aboutStart, t.ours.start)
		b.latency("start → model, River", "the same", t.theirs.start)
	}
	b.latency("turn, processor", "from the send to the committed answer at the sender, under as much load as the senders make", t.ours.turn)
	b.latency("turn, River", "the same", t.theirs.turn)
	b.figure("turns, processor", measure.Median(t.ours.rate), "turns/s")
	b.figure("turns, River", measure.Median(t.theirs.rate), "turns/s")
	b.figure("throughput, processor to River", measure.Median(t.ours.rate)/measure.Median(t.theirs.rate), "times")
	if !c.Instant {
		b.figure("dispatch p99, River to processor", measure.Median(t.theirs.p99)/measure.Median(t.ours.p99), "times")
	}
	if len(t.pgbench) > 0 {
		b.figure("pgbench, single-row inserts", measure.Median(t.pgbench), fmt.Sprintf("commits/s (%d clients)", yardstickClients))
	}
	return b
}
