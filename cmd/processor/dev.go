package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/oklog/run"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"processor/internal/local"
	"processor/internal/store"
)

// DevCmd is a whole deployment on this machine.
type DevCmd struct {
	Dir        string `name:"dir" default:".processor" placeholder:"FOLDER" help:"Where the state is kept between starts."`
	NATSListen string `name:"nats-listen" default:"127.0.0.1:4222" placeholder:"ADDRESS" help:"Where the embedded NATS listens."`
	HTTP       string `name:"http" default:"127.0.0.1:8080" placeholder:"ADDRESS" help:"Where dev serves HTTP; the replicas get the next free ports."`
	Replicas   int    `name:"replicas" default:"2" placeholder:"N" help:"How many replicas are started."`
	Respawn    bool   `name:"respawn" help:"Start a replica again that has ended."`

	HTTPFlags     `group:"HTTP"`
	DatabaseFlags `group:"Database"`
	ReplicaFlags  `group:"Replica"`
	StreamFlags   `group:"Replica"`
	ModelFlags    `group:"Models"`
	TimingFlags   `group:"Timing"`
	LogFlags      `group:"Log"`
}

// Help says more than a line per flag can.
func (c *DevCmd) Help() string {
	return "Starts an embedded NATS, a private PostgreSQL (unless --database-url names one), the migrations, and replicas as " +
		"processes of their own that may be killed. Its other flags are those of run, and are handed on to the replicas. " +
		"Ctrl-C lets the replicas finish their turns, a second one kills them."
}

// Validate is called by the command line's parser.
func (c *DevCmd) Validate() error {
	if c.Replicas < 0 {
		return fmt.Errorf("--replicas must not be negative, is %d", c.Replicas)
	}
	return nil
}

// dev is what DevCmd started.
type dev struct {
	std      *Streams
	logger   *slog.Logger
	http     net.Listener // nil: none
	natsURL  string
	database string // its URL
	password string // the file with the database's password, if it is dev's own
	drain    time.Duration
	replicas []*devReplica
	ready    *Readiness
	signals  <-chan os.Signal
	// handler serves dev's own HTTP; draining ends when its streams have to.
	handler  http.Handler
	draining context.Context
}

// Run starts everything, and ends it in the order in which it depends on each other: replicas, then NATS and PostgreSQL.
func (c *DevCmd) Run(ctx context.Context, std *Streams, command *kong.Context) error {
	defer outliveReaders()()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	d := &dev{std: std, logger: c.Logger(std.Err), drain: c.DrainTimeout, ready: NewReadiness(), signals: signals}
	draining, endStreams := context.WithCancel(context.WithoutCancel(ctx)) // ended when dev begins to stop
	defer endStreams()
	d.draining = draining

	unlock, err := lockFolder(c.Dir)
	if err != nil {
		return err
	}
	defer unlock()

	if c.HTTP != "" {
		if d.http, err = listen(c.HTTP); err != nil {
			return err
		}
		defer d.http.Close()
	}

	nats, err := local.StartNATS(ctx, local.NATSConfig{Listen: c.NATSListen, StoreDir: filepath.Join(c.Dir, "nats"), Logger: d.logger})
	if err != nil {
		return err
	}
	defer nats.Stop()
	d.natsURL = nats.URL()

	started := abortable(signals, cancel)
	defer started()
	stopDatabase, err := c.startDatabase(ctx, d)
	if err != nil {
		return err
	}
	defer stopDatabase()
	if err := store.Migrate(ctx, d.database, d.logger); err != nil {
		return err
	}
	if d.http != nil {
		closeAPI, err := c.openAPI(ctx, d)
		if err != nil {
			return err
		}
		defer closeAPI()
	}
	started()

	if d.replicas, err = c.newReplicas(d, command); err != nil {
		return err
	}
	return d.run(ctx, endStreams)
}

// abortable makes a signal end what is being started. It is called off when everything is.
func abortable(signals <-chan os.Signal, cancel context.CancelCauseFunc) (started func()) {
	done, left := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(left)
		select {
		case s := <-signals:
			cancel(fmt.Errorf("stopped by the signal %s", s))
		case <-done:
		}
	}()
	return sync.OnceFunc(func() { close(done); <-left })
}

func lockFolder(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for the state (--dir): %w", err)
	}
	lock, err := local.TryLock(filepath.Join(dir, "dev.lock"))
	if err != nil {
		return nil, fmt.Errorf("%w with --dir", err)
	}
	return func() { lock.Close() }, nil
}

// startDatabase starts a private PostgreSQL unless a flag names one. DATABASE_URL is never read: it is somebody else's.
func (c *DevCmd) startDatabase(ctx context.Context, d *dev) (stop func(), err error) {
	if c.DatabaseURL != "" {
		d.database = c.DatabaseURL
		return func() {}, nil
	}
	const others = 80 // dev itself, psql, tests
	pg, err := local.StartPostgres(ctx, local.PostgresConfig{
		Dir: filepath.Join(c.Dir, "postgres"), Fsync: true, MaxConnections: c.Replicas*(c.DatabasePool+6) + others,
		Progress: func(step string) { d.std.note("%s…", step) }, Logger: d.logger,
	})
	if err != nil {
		return nil, err
	}
	d.database, d.password = pg.URL(), pg.PasswordFile()
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if err := pg.Stop(ctx); err != nil {
			d.logger.Error("postgres not stopped", "err", err)
		}
	}, nil
}

// run runs the replicas until a signal. As in a replica, interrupts only say that it is time, and actors wait for what must end
// before them.
func (d *dev) run(ctx context.Context, endStreams func()) error {
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := func() { endStreams(); cancel() }
	living, kill := context.WithCancel(context.WithoutCancel(ctx)) // ended by a second signal
	defer kill()
	serving, serveNoMore := context.WithCancel(context.WithoutCancel(ctx)) // ended when the replicas are gone
	defer serveNoMore()
	gone := make(chan struct{})
	interrupt := func(error) { d.ready.NotReady("shutting down"); stop() }

	var g run.Group
	g.Add(func() error { return d.awaitSignals(running, stop, kill, gone) }, interrupt)
	g.Add(func() error { defer close(gone); return d.runReplicas(running, living) }, interrupt)
	g.Add(func() error { return d.greet(running) }, interrupt)
	g.Add(func() error { defer serveNoMore(); return wait(running, gone) }, interrupt)
	if d.http != nil {
		g.Add(func() error { return serveHTTP(serving, d.http, d.handler) }, interrupt)
	}
	return g.Run()
}

// awaitSignals lets the replicas finish on the first signal and kills them on the second.
func (d *dev) awaitSignals(running context.Context, stop, kill func(), gone <-chan struct{}) error {
	select {
	case <-d.signals:
	case <-running.Done():
	}
	d.ready.NotReady("shutting down")
	fmt.Fprintf(d.std.Out, "\nstopping: replicas finish their turns, for %s at most; Ctrl-C again kills them\n", short(d.drain))
	stop()
	select {
	case <-d.signals:
		kill()
	case <-gone:
	}
	return nil
}

func wait(running context.Context, gone <-chan struct{}) error {
	<-running.Done()
	<-gone
	return nil
}

// errNoReplica fails a start.
var errNoReplica = errors.New("no replica started: see above what they said")

// greet says what runs, once everything does.
func (d *dev) greet(ctx context.Context) error {
	alive := 0
	for _, r := range d.replicas {
		if r.awaitReady(ctx) {
			alive++
		}
	}
	if alive > 0 || len(d.replicas) == 0 {
		fmt.Fprint(d.std.Out, d.greeting())
		d.ready.Ready()
		<-ctx.Done()
	}
	if ctx.Err() == nil {
		return errNoReplica
	}
	return nil
}

func newDevRegistry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return reg
}
