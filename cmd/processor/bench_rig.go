package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/alecthomas/kong"
	"github.com/jackc/pgx/v5"

	"processor/internal/bus"
	"processor/internal/chat"
	"processor/internal/local"
	"processor/internal/store"
)

const (
	benchModel = "openai/bench"
	// benchSenders is how many requests make chats, and remove them, at a time.
	benchSenders = 32
	// startPatience is for a machine that is busy.
	startPatience = 30 * time.Second
	// cleanLimit bounds what is done after the measurement.
	cleanLimit = time.Minute
)

// rig is what a benchmark measures with.
type rig struct {
	std      *Streams
	flags    BenchFlags
	self     string
	dir      string
	environ  []string // of replicas
	own      bool     // the servers are the rig's
	theirs   bool     // so are no replicas
	name     string   // begins the ids of its chats
	cores    *shares  // nil leaves them to each process
	living   context.Context
	kill     context.CancelFunc
	children []*benchChild
	replicas []*benchChild // of these, those started as replicas, dead ones too

	database string
	postgres *local.Postgres // nil when it is somebody else's
	conn     *pgx.Conn
	bus      *bus.Bus
	calls    *benchCalls

	mu   sync.Mutex
	made []chat.ID
}

// newRig starts servers and the provider. The caller calls close.
func newRig(ctx context.Context, std *Streams, f BenchFlags, command *kong.Context) (*rig, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	r := &rig{std: std, flags: f, self: self, own: f.NATSURL == "", database: f.DatabaseURL, name: "bench-" + strings.ToLower(rand.Text()[:8])}
	r.cores = shareCores(r.own)
	r.living, r.kill = context.WithCancel(context.WithoutCancel(ctx))
	if r.dir, err = os.MkdirTemp(benchFolder(f.Dir), "processor-bench-"); err != nil {
		return nil, fmt.Errorf("make a folder for the servers (--dir): %w", err)
	}
	if err := r.start(ctx, command); err != nil {
		return nil, errors.Join(err, r.close(context.WithoutCancel(ctx)))
	}
	return r, nil
}

// benchFolder prefers a folder that is on a disk: the usual one for temporary files is in memory on many systems, where fsync costs nothing.
func benchFolder(dir string) string {
	const onDisk = "/var/tmp"
	if _, err := os.Stat(onDisk); dir == "" && err == nil {
		return onDisk
	}
	return dir
}

func (r *rig) start(ctx context.Context, command *kong.Context) error {
	natsURL := r.flags.NATSURL
	if r.own {
		r.std.note("starting PostgreSQL, NATS and a provider in %s…", r.dir)
		var err error
		if natsURL, err = r.startServers(ctx); err != nil {
			return err
		}
	}
	provider, err := freeAddress(r.flags.ProviderListen)
	if err != nil {
		return err
	}
	if _, err := r.spawn(ctx, "provider", provider, r.cores.server(os.Environ()), "bench", "provider", "--listen", provider); err != nil {
		return err
	}
	r.calls = &benchCalls{url: "http://" + provider, of: map[int64][]time.Time{}}
	r.environ = append(handOn(command, os.Environ()),
		"PROCESSOR_NATS_URL="+natsURL, "PROCESSOR_DATABASE_URL="+r.database, "PROCESSOR_MODEL="+benchModel, "PROCESSOR_LOG_LEVEL=error", "PROCESSOR_DRAIN_TIMEOUT=0s",
		"OPENAI_API_KEY=bench", "OPENAI_BASE_URL="+r.calls.url+"/v1", "ANTHROPIC_API_KEY=", "ANTHROPIC_BASE_URL=")

	if r.conn, err = pgx.Connect(ctx, r.database); err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	patient, cancel := context.WithTimeoutCause(ctx, startPatience, errors.New("nobody answers"))
	defer cancel()
	r.bus, err = bus.Connect(patient, r.flags.nats(natsURL).Bus("bench", silent()))
	return err
}

// startServers leaves the start of NATS to the first who connects.
func (r *rig) startServers(ctx context.Context) (natsURL string, err error) {
	const connections = 500
	r.postgres, err = local.StartPostgres(ctx, local.PostgresConfig{
		Dir: filepath.Join(r.dir, "postgres"), Fsync: true, MaxConnections: connections, Logger: silent(),
		Settings: map[string]string{"fsync": "on", "synchronous_commit": "on", "track_commit_timestamp": "on"},
		Progress: func(step string) { r.std.note("%s…", step) },
	})
	if err != nil {
		return "", err
	}
	r.database = r.postgres.URL()
	if err := store.Migrate(ctx, r.database, silent()); err != nil {
		return "", err
	}
	address, err := freeAddress("127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, err = r.spawn(ctx, "nats", "", r.cores.server(os.Environ()), "bench", "nats", "--listen", address, "--store", filepath.Join(r.dir, "nats"))
	return "nats://" + address, err
}

// alone refuses a deployment with live replicas: they would take part, and call their own models.
func (r *rig) alone(ctx context.Context) error {
	if r.own || len(r.replicas) > 0 {
		return nil
	}
	var live int
	const query = `select count(*) from processor.workers where lost_at is null and heartbeat_at > now() - interval '10 seconds'`
	if err := r.conn.QueryRow(ctx, query).Scan(&live); err != nil {
		return fmt.Errorf("look for replicas (is the schema there? try `processor migrate`): %w", err)
	}
	if live > 0 {
		return fmt.Errorf("%d replicas run there, and would take part: stop them, or measure them with --replicas 0 where there is that flag", live)
	}
	return nil
}

// replica starts a replica and waits until it takes work.
func (r *rig) replica(ctx context.Context, slots int) (*benchChild, error) {
	if err := r.alone(ctx); err != nil {
		return nil, err
	}
	address, err := freeAddress("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	name := "bench-" + strconv.Itoa(len(r.replicas)+1)
	args := []string{"bench", "replica"}
	if r.flags.Profile != "" && len(r.replicas) == 0 {
		args = append(args, "--cpu-profile", r.flags.Profile)
	}
	args = append(args, "--name", name, "--http", address, "--leash", "--slots", strconv.Itoa(slots))
	c, err := r.spawn(ctx, name, address, r.cores.replica(r.environ), args...)
	if err != nil {
		return nil, err
	}
	r.replicas = append(r.replicas, c)
	return c, r.awaitAPI(ctx)
}

// awaitAPI waits for somebody who answers: a replica takes work as soon as it is registered, and serves the API a moment sooner or later.
func (r *rig) awaitAPI(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		_, err := ask[chat.WorkersReply](ctx, r.bus, "chats.workers", chat.WorkersRequest{})
		if !errors.Is(err, bus.ErrNoReplica) || !pause(ctx, readyPoll) {
			return err
		}
	}
}

// startReplicas starts n replicas. None means that those of the deployment are measured, which must ask the benchmark's provider.
func (r *rig) startReplicas(ctx context.Context, n, slots int) error {
	if n == 0 && r.own {
		return usageError{errors.New("--replicas 0 measures the replicas of a deployment: say which with --nats-url and --database-url")}
	}
	if n == 0 {
		r.theirs = true
		r.std.note("measuring the replicas that run there; they must have OPENAI_BASE_URL=%s/v1", r.calls.url)
		return nil
	}
	r.std.note("starting %d replicas…", n)
	r.cores.among(n)
	for range n {
		if _, err := r.replica(ctx, slots); err != nil {
			return err
		}
	}
	return nil
}

// stopReplicas lets all replicas end, as quickly as they can.
func (r *rig) stopReplicas() {
	for _, c := range r.replicas {
		c.stop()
	}
	for _, c := range r.replicas {
		<-c.done
	}
	r.replicas = nil
}

// close ends and removes everything, chats first where the servers are somebody else's.
func (r *rig) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, cleanLimit)
	defer cancel()
	var errs []error
	if !r.own && r.bus != nil {
		r.std.note("removing the chats…")
		errs = append(errs, r.remove(ctx))
	}
	r.stopReplicas()
	r.cores.giveBack()
	r.kill()
	for _, c := range r.children {
		<-c.done
	}
	if r.bus != nil {
		r.bus.Close()
	}
	if r.conn != nil {
		r.conn.Close(ctx)
	}
	if r.postgres != nil {
		errs = append(errs, r.postgres.Stop(ctx))
	}
	return errors.Join(append(errs, os.RemoveAll(r.dir))...)
}

// each calls do for 0 to n-1, from so many goroutines, and returns the first error.
func each(ctx context.Context, n, goroutines int, do func(ctx context.Context, i int) error) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var group sync.WaitGroup
	next := make(chan int)
	for range min(n, goroutines) {
		group.Go(func() {
			for i := range next {
				if err := do(ctx, i); err != nil {
					fail(err)
				}
			}
		})
	}
	for i := 0; i < n && ctx.Err() == nil; i++ {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	group.Wait()
	return context.Cause(ctx)
}

// chats makes n idle chats.
func (r *rig) chats(ctx context.Context, n int, model string) ([]chat.ID, error) {
	ids := r.ids(n)
	return ids, each(ctx, n, benchSenders, func(ctx context.Context, i int) error {
		return tell(ctx, r.bus, "chats.create", chat.CreateRequest{ID: ids[i], Model: model})
	})
}

// begin makes n chats that open with a message each; message i asks for what text(i) says.
func (r *rig) begin(ctx context.Context, n, goroutines int, text func(i int) string) error {
	ids := r.ids(n)
	return each(ctx, n, goroutines, func(ctx context.Context, i int) error {
		body := text(i)
		return tell(ctx, r.bus, "chats.create", chat.CreateRequest{ID: ids[i], Model: benchModel, Message: &chat.FirstMessage{Text: &body}})
	})
}

func (r *rig) ids(n int) []chat.ID {
	r.mu.Lock()
	defer r.mu.Unlock()
	ids := make([]chat.ID, n)
	for i := range ids {
		ids[i] = chat.ID(r.name + "-" + strconv.Itoa(len(r.made)))
		r.made = append(r.made, ids[i])
	}
	return ids
}

// remove deletes all chats that were made, with the replicas that are left, or a new one if there is none.
func (r *rig) remove(ctx context.Context) error {
	r.mu.Lock()
	made := r.made
	r.made = nil
	r.mu.Unlock()
	if len(made) == 0 {
		return nil
	}
	if !r.theirs && !slices.ContainsFunc(r.replicas, func(c *benchChild) bool { pid, _, _, _ := c.state(); return pid != 0 }) {
		if _, err := r.replica(ctx, 1); err != nil {
			return err
		}
	}
	return each(ctx, len(made), benchSenders, func(ctx context.Context, i int) error {
		_, err := ask[chat.DeleteReply](ctx, r.bus, "chats.delete", chat.ChatRequest{Chat: made[i]})
		if isRefused(err, chat.NotFound) {
			return nil
		}
		return err
	})
}
