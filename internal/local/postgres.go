package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	postgresUser     = "processor"
	postgresDatabase = "processor"

	// startLimit bounds one start. Crash recovery of a developer's database takes seconds.
	startLimit = 2 * time.Minute
	// connectLimit bounds one attempt to connect while waiting for the server.
	connectLimit = 5 * time.Second
	// retryEvery is the pause between two attempts to connect or to start.
	retryEvery = 25 * time.Millisecond
	// quitGrace is how long a server that was told to quit at once may take before it is killed.
	quitGrace = 5 * time.Second
)

// PostgresConfig says how StartPostgres runs its server. Only Dir is required.
type PostgresConfig struct {
	// Dir holds the data, the password and the log. It is made when missing, and belongs to this package alone.
	Dir string
	// Port to listen on, on 127.0.0.1; 0 takes a free one.
	Port int
	// Fsync makes what was committed survive a power failure. Tests do without.
	Fsync bool
	// MaxConnections is 200 by default.
	MaxConnections int
	// Settings are further settings of the server, by name.
	Settings map[string]string
	// Progress is told of the steps that take long: making the data directory, a download. May be nil.
	Progress func(step string)
	// Logger is told of repairs. May be nil.
	Logger *slog.Logger
}

func (c PostgresConfig) withDefaults() PostgresConfig {
	if c.MaxConnections == 0 {
		c.MaxConnections = 200
	}
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Postgres is a private PostgreSQL server, a child of this process. Its methods may be called from any goroutine.
type Postgres struct {
	config   PostgresConfig
	folder   *folder
	programs programs
	password string
	port     int

	mu     sync.Mutex
	server *process // nil while it is down
}

// StartPostgres starts a server on cfg.Dir, makes its data directory and its database first when they are missing, and
// returns when it accepts connections. The data is kept between starts. It fails when another process uses the folder,
// and in one line that says how to install PostgreSQL when this machine has none and none can be downloaded.
//
// ctx ends the start only; the server runs until Stop, and dies with this process.
func StartPostgres(ctx context.Context, cfg PostgresConfig) (*Postgres, error) {
	cfg = cfg.withDefaults()
	dir, err := openFolder(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("prepare the database's folder: %w", err)
	}
	p := &Postgres{config: cfg, folder: dir, port: cfg.Port}
	if err := p.prepare(ctx); err != nil {
		return nil, errors.Join(err, dir.close())
	}
	if err := p.Start(ctx); err != nil {
		return nil, errors.Join(err, dir.close())
	}
	return p, nil
}

func (p *Postgres) prepare(ctx context.Context) error {
	major, err := p.folder.version()
	if err != nil {
		return err
	}
	if p.programs, err = findOrFetchPrograms(ctx, major, p.config.Progress); err != nil {
		return err
	}
	if err := p.folder.stopOrphan(ctx, p.config.Logger); err != nil {
		return fmt.Errorf("stop the server that an earlier run left behind: %w", err)
	}
	if major == 0 {
		p.config.Progress("creating a database in " + p.folder.path)
		if err := p.folder.initialize(ctx, p.programs, p.config.Fsync); err != nil {
			return fmt.Errorf("create a database in %s: %w", p.folder.path, err)
		}
	}
	p.password, err = p.folder.password()
	return err
}

// PasswordFile is where the password is, for the owner of the folder to read.
func (p *Postgres) PasswordFile() string { return filepath.Join(p.config.Dir, passwordName) }

// URL is the address of the database, password included. It stays the same for as long as the server's data exists,
// except for the port when it was not chosen.
func (p *Postgres) URL() string { return p.url(postgresDatabase) }

func (p *Postgres) url(database string) string {
	address := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(postgresUser, p.password),
		Host:     net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return address.String()
}

// Start brings a server back that Halt or Kill took down, on the same port. It does nothing when the server is up.
func (p *Postgres) Start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server != nil && p.server.alive() {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, errors.New("it took longer than two minutes"))
	defer cancel()
	for {
		err := p.startOnce(ctx)
		// The port may be somebody else's for a moment, and the processes of a killed server need one to go away.
		var refused *startError
		if err == nil || !errors.As(err, &refused) || !refused.transient(p.config.Port == 0) {
			return err
		}
		p.config.Logger.Debug("postgres start refused", "err", err)
		if !pause(ctx, retryEvery) {
			return err
		}
	}
}

func (p *Postgres) startOnce(ctx context.Context) error {
	if p.port == 0 {
		port, err := FreePort()
		if err != nil {
			return err
		}
		p.port = port
	}
	log, err := p.folder.openLog()
	if err != nil {
		return err
	}
	defer log.file.Close()
	server, err := spawn(p.command(log))
	if err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	if err := p.awaitReady(ctx, server, log); err != nil {
		server.kill()
		if p.server == nil && p.config.Port == 0 {
			p.port = 0 // nobody knows this port yet
		}
		return err
	}
	p.server = server
	return nil
}

// awaitReady connects until that succeeds, and sees to the database that URL names.
func (p *Postgres) awaitReady(ctx context.Context, server *process, log *serverLog) error {
	for {
		err := p.ensureDatabase(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-server.done:
			return &startError{reason: log.lastFatal(), log: log.file.Name()}
		case <-ctx.Done():
			return fmt.Errorf("wait for postgres: %w (last: %w)", context.Cause(ctx), err)
		case <-time.After(retryEvery):
		}
	}
}

func (p *Postgres) ensureDatabase(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	conn, err := pgx.Connect(ctx, p.url("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var exists bool
	const query = `select exists (select from pg_database where datname = $1)`
	if err := conn.QueryRow(ctx, query, postgresDatabase).Scan(&exists); err != nil || exists {
		return err
	}
	_, err = conn.Exec(ctx, `create database `+postgresDatabase)
	return err
}

// Stop ends the server and lets go of its folder. Clients are disconnected; what they committed is on disk. When ctx ends
// first the server quits without that last checkpoint, which costs the next start a recovery and loses nothing.
func (p *Postgres) Stop(ctx context.Context) error {
	p.Halt(ctx, false)
	return p.folder.close()
}

// Halt takes the server down until Start, and keeps its folder and its port. With immediate it quits like in a crash:
// the next start recovers from the log.
func (p *Postgres) Halt(ctx context.Context, immediate bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server == nil {
		return
	}
	sig := syscall.SIGINT // PostgreSQL's "fast": disconnect everybody, checkpoint, exit
	if immediate {
		sig = syscall.SIGQUIT
	}
	p.server.stop(ctx, sig)
}

// Restart is Halt and Start: the same port and the same data, with every client disconnected.
func (p *Postgres) Restart(ctx context.Context, immediate bool) error {
	p.Halt(ctx, immediate)
	return p.Start(ctx)
}

// Kill ends the server with SIGKILL, until Start. Its processes notice within moments and leave.
func (p *Postgres) Kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server != nil {
		p.server.kill()
	}
}

// pause waits for d, and says whether it could: false means that ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
