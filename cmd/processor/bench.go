package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

// BenchCmd measures, on this machine or on a deployment of the user's.
type BenchCmd struct {
	All        BenchAllCmd        `cmd:"" default:"withargs" help:"All of these one after the other, small."`
	Dispatch   BenchDispatchCmd   `cmd:"" help:"From the commit of a message to the call of the model, at a given rate."`
	Throughput BenchThroughputCmd `cmd:"" help:"Whole turns per second."`
	Inflight   BenchInflightCmd   `cmd:"" help:"What thousands of streaming chats cost one replica."`
	Recovery   BenchRecoveryCmd   `cmd:"" help:"From the kill of a replica to the next model call of each of its chats."`
	Handoff    BenchHandoffCmd    `cmd:"" help:"The same from a SIGTERM, without time to drain."`
	Stream     BenchStreamCmd     `cmd:"" help:"What relaying adds to the delay of a token."`
	Idle       BenchIdleCmd       `cmd:"" help:"A claim and a sweep beside a million idle chats."`
	Poison     BenchPoisonCmd     `cmd:"" help:"What a chat that kills its replica does to its neighbours."`
	Compare    BenchCompareCmd    `cmd:"" help:"Dispatch and throughput beside the same job built on River."`

	Provider BenchProviderCmd `cmd:"" hidden:"" help:"The model provider of a benchmark."`
	NATS     BenchNATSCmd     `cmd:"" name:"nats" hidden:"" help:"The NATS of a benchmark."`
	Replica  BenchReplicaCmd  `cmd:"" hidden:"" help:"A replica of a benchmark that needs more than run has."`
}

// Help says more than a line per flag can.
func (*BenchCmd) Help() string {
	return "By itself every benchmark starts what it needs in a folder of its own and removes it at the end: a PostgreSQL with fsync and " +
		"synchronous commits, a NATS, a model provider and replicas, each a process. With --nats-url and --database-url it measures those servers, with replicas " +
		"of its own, and removes the chats that it made. Its replicas get its timings, but never time to drain. " +
		"Percentiles are of all samples, sorted. pgbench measures the database in the same minute: compare ratios, and absolute figures only beside its. " +
		"What shares few cores competes for them: a figure of a laptop says what all of it together can do. Ctrl-C ends it."
}

// BenchFlags are those of every benchmark.
type BenchFlags struct {
	JSON      bool          `name:"json" help:"Print the result as one JSON object."`
	Histogram bool          `name:"histogram" help:"Print a histogram of each latency."`
	SVG       string        `name:"svg" placeholder:"FILE" help:"Write a plot of the latencies into this file."`
	Yardstick time.Duration `name:"yardstick" default:"3s" placeholder:"DURATION" help:"How long pgbench, where there is one, measures the database first; 0 for not at all."`
	Profile   string        `name:"cpu-profile" placeholder:"FILE" help:"Write a CPU profile of the first replica into this file."`
	Dir       string        `name:"dir" placeholder:"FOLDER" help:"Where the folder for the servers is made, on the disk that is to be measured; /var/tmp unless given."`

	ProviderListen string `name:"provider-listen" default:"127.0.0.1:0" placeholder:"ADDRESS" help:"Where the provider of the benchmark listens."`
	NATSURL        string `name:"nats-url" placeholder:"URL" help:"NATS to measure; one of its own unless given."`
	NATSCreds      string `name:"nats-creds" placeholder:"FILE" help:"Credentials file for NATS."`
	NATSCA         string `name:"nats-ca" placeholder:"FILE" help:"PEM file of the authorities to trust for TLS to NATS."`
	NATSCert       string `name:"nats-cert" placeholder:"FILE" help:"PEM file of the client certificate for NATS."`
	NATSKey        string `name:"nats-key" placeholder:"FILE" help:"PEM file of that certificate's key."`
	DatabaseURL    string `name:"database-url" placeholder:"URL" help:"Migrated PostgreSQL database to measure; one of its own unless given."`
	DatabasePool   int    `name:"database-pool" default:"20" placeholder:"N" help:"Connections to PostgreSQL of each replica at most."`

	TimingFlags `group:"Timing"`
}

// Validate is called by the command line's parser.
func (f BenchFlags) Validate() error {
	if (f.NATSURL == "") != (f.DatabaseURL == "") {
		return errors.New("--nats-url and --database-url go together: give both to measure a deployment, or neither")
	}
	return nil
}

func (f BenchFlags) nats(url string) NATSFlags {
	return NATSFlags{NATSURL: url, NATSCreds: f.NATSCreds, NATSCA: f.NATSCA, NATSCert: f.NATSCert, NATSKey: f.NATSKey}
}

// benchmark is one measurement. It fills the report, and may start replicas on the rig.
type benchmark func(ctx context.Context, r *rig, report *benchReport) error

// measure runs a benchmark on a rig of its own and prints its report.
func (f BenchFlags) measure(ctx context.Context, std *Streams, command *kong.Context, name string, run benchmark) (err error) {
	defer paceHeap()()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	r, err := newRig(ctx, std, f, command)
	if err != nil {
		return stopped(ctx, err)
	}
	report, err := r.measure(ctx, name, run)
	if err := errors.Join(stopped(ctx, err), r.close(context.WithoutCancel(ctx))); err != nil {
		return err
	}
	return report.write(std, f)
}

func (r *rig) measure(ctx context.Context, name string, run benchmark) (*benchReport, error) {
	report := &benchReport{Bench: name, Latencies: []benchLatency{}, Figures: []benchFigure{}}
	if err := r.describe(ctx, &report.Setup); err != nil {
		return nil, err
	}
	if err := r.yardstick(ctx, report); err != nil {
		return nil, err
	}
	if err := run(ctx, r, report); err != nil {
		return nil, err
	}
	report.Setup.Procs = r.cores.String() // which the number of replicas decides
	return report, nil
}

// errStopped replaces what broke because a signal ended the benchmark.
var errStopped = errors.New("stopped, and what was made is removed")

func stopped(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return errStopped
	}
	return err
}

// positive refuses counts and durations that measure nothing.
func positive(values map[string]float64) error {
	for name, v := range values {
		if v <= 0 {
			return fmt.Errorf("--%s must be above zero", name)
		}
	}
	return nil
}

// most bounds the samples of one benchmark: they are all kept.
const most = 5_000_000

// awaitEnd returns at a signal, or with the parent: the children of a benchmark live no longer than it.
func awaitEnd(ctx context.Context, in io.Reader) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	gone := make(chan struct{})
	go func() { // lives as long as the process: nothing else reads standard input
		_, _ = io.Copy(io.Discard, in)
		close(gone)
	}()
	select {
	case <-ctx.Done():
	case <-gone:
	}
}
