// Package localtest gives every test a PostgreSQL database and a nats-server of its own.
//
// A test binary has one database server, started by the first test that asks for it: without fsync, on a RAM disk where
// there is one, migrated once into a template that each test gets a clone of. Test binaries that run at the same time
// share nothing but a folder, and what a killed one left there is removed by the next.
package localtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"processor/internal/leaktest"
	"processor/internal/local"
)

const (
	template   = "template_processor"
	startLimit = time.Minute
	opLimit    = 30 * time.Second
)

// Suite is what the tests of one binary share. Make one per package with New, and hand its Main to TestMain.
type Suite struct {
	migrate func(ctx context.Context, url string) error

	once  sync.Once
	err   error
	run   *runDir
	admin *admin
	pg    *local.Postgres
}

// New makes a suite whose databases went through migrate, which must close its connections before it returns; nil leaves
// them empty. Nothing is started yet.
func New(migrate func(ctx context.Context, url string) error) *Suite {
	if migrate == nil {
		migrate = func(context.Context, string) error { return nil }
	}
	return &Suite{migrate: migrate}
}

// Main runs the tests, stops what they shared, fails when a goroutine is left, and exits.
func (s *Suite) Main(m *testing.M, options ...goleak.Option) {
	leaktest.Main(runner{suite: s, m: m}, options...)
}

// runner stops the shared server between the last test and the search for leaks.
type runner struct {
	suite *Suite
	m     *testing.M
}

// Run is what goleak calls in place of the tests.
func (r runner) Run() int {
	code := r.m.Run()
	if err := r.suite.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the database of the tests:", err)
		return max(code, 1)
	}
	return code
}

// Postgres is the URL of a migrated database that only this test uses. It is dropped when the test ends.
func (s *Suite) Postgres(t testing.TB) string {
	t.Helper()
	s.once.Do(func() { s.err = s.start() })
	if s.err != nil {
		t.Fatalf("start PostgreSQL for the tests: %v", s.err)
	}
	name, url, err := s.admin.clone()
	if err != nil {
		t.Fatalf("clone the template database: %v", err)
	}
	t.Cleanup(func() {
		if err := s.admin.drop(name); err != nil {
			t.Errorf("drop database %s: %v", name, err)
		}
	})
	return url
}

// OwnPostgres is a whole server for this test alone, with one migrated database, to be halted, killed and restarted. It
// costs a second; Postgres costs a few hundredths.
func (s *Suite) OwnPostgres(t testing.TB) *local.Postgres {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	dir, err := newRunDir()
	if err != nil {
		t.Fatalf("make a folder for PostgreSQL: %v", err)
	}
	t.Cleanup(func() {
		if err := dir.remove(); err != nil {
			t.Errorf("remove the folder of PostgreSQL: %v", err)
		}
	})
	pg, err := local.StartPostgres(ctx, postgresConfig(dir.path))
	if err != nil {
		t.Fatalf("start PostgreSQL: %v", err)
	}
	t.Cleanup(func() { stop(t, pg) })
	if err := s.migrate(ctx, pg.URL()); err != nil {
		t.Fatalf("migrate: %v", err)
	}
	return pg
}

// NATS is a nats-server with JetStream for this test alone, on a free port. It stops when the test ends; its Halt, Start,
// Restart and Wipe are the test's to call.
func NATS(t testing.TB) *local.NATS {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	n, err := local.StartNATS(ctx, local.NATSConfig{Listen: "127.0.0.1:0", StoreDir: t.TempDir()})
	if err != nil {
		t.Fatalf("start NATS: %v", err)
	}
	t.Cleanup(n.Stop)
	return n
}

func stop(t testing.TB, pg *local.Postgres) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), opLimit)
	defer cancel()
	if err := pg.Stop(ctx); err != nil {
		t.Errorf("stop PostgreSQL: %v", err)
	}
}

func postgresConfig(dir string) local.PostgresConfig {
	return local.PostgresConfig{
		Dir:            filepath.Join(dir, "postgres"),
		MaxConnections: 400,
		Settings:       map[string]string{"min_wal_size": "32MB", "max_wal_size": "256MB"},
	}
}

func (s *Suite) start() error {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	var err error
	if s.run, err = newRunDir(); err != nil {
		return err
	}
	if s.pg, err = local.StartPostgres(ctx, postgresConfig(s.run.path)); err != nil {
		return err
	}
	if s.admin, err = newAdmin(ctx, s.pg.URL()); err != nil {
		return err
	}
	return s.admin.makeTemplate(ctx, s.migrate)
}

func (s *Suite) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), opLimit)
	defer cancel()
	if s.admin != nil {
		if err := s.admin.conn.Close(ctx); err != nil {
			return err
		}
	}
	if s.pg != nil {
		s.pg.Halt(ctx, true)
		if err := s.pg.Stop(ctx); err != nil {
			return err
		}
	}
	if s.run != nil {
		return s.run.remove()
	}
	return nil
}

// admin makes and drops databases. They take turns: two at once are no faster.
type admin struct {
	mu    sync.Mutex
	conn  *pgx.Conn
	count int
}

func newAdmin(ctx context.Context, url string) (*admin, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	return &admin{conn: conn}, nil
}

func (a *admin) makeTemplate(ctx context.Context, migrate func(context.Context, string) error) error {
	if _, err := a.conn.Exec(ctx, "create database "+template); err != nil {
		return err
	}
	if err := migrate(ctx, a.url(template)); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	// A closed connection lives on in the server for a moment, and a template that is in use cannot be cloned.
	const end = `select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = $1`
	if _, err := a.conn.Exec(ctx, end, template); err != nil {
		return err
	}
	_, err := a.conn.Exec(ctx, "alter database "+template+" is_template true allow_connections false")
	return err
}

func (a *admin) url(database string) string {
	config := a.conn.Config()
	return fmt.Sprintf("postgres://%s:%s@%s:%d/%s?sslmode=disable",
		config.User, config.Password, config.Host, config.Port, database)
}

func (a *admin) clone() (name, url string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.count++
	name = fmt.Sprintf("test_%d", a.count)
	err = a.exec("create database " + name + " template " + template)
	return name, a.url(name), err
}

func (a *admin) drop(name string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.exec("drop database " + name + " with (force)")
}

func (a *admin) exec(statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), opLimit)
	defer cancel()
	_, err := a.conn.Exec(ctx, statement)
	return err
}
