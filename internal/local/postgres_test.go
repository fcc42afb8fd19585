package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"processor/internal/leaktest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(parentDir); dir != "" {
		beKilled(dir)
	}
	leaktest.Main(m)
}

func startPostgres(t *testing.T, cfg PostgresConfig) *Postgres {
	t.Helper()
	p, err := StartPostgres(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopPostgres(t, p) })
	return p
}

func stopPostgres(t *testing.T, p *Postgres) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := p.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func run(t *testing.T, database, statement string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	rows, err := conn.Query(t.Context(), statement)
	if err != nil {
		t.Fatal(err)
	}
	texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(texts, " ")
}

func TestPostgresKeepsItsDataBetweenStarts(t *testing.T) {
	t.Parallel()
	cfg := PostgresConfig{Dir: filepath.Join(t.TempDir(), "made", "here"), Fsync: true}
	first := startPostgres(t, cfg)
	run(t, first.URL(), `create table notes as select 'kept' as body`)
	stopPostgres(t, first)
	stopPostgres(t, first)

	var steps []string
	cfg.Progress = func(step string) { steps = append(steps, step) }
	second := startPostgres(t, cfg)
	if got := run(t, second.URL(), `select body from notes`); got != "kept" {
		t.Errorf("got %q", got)
	}
	if len(steps) != 0 {
		t.Errorf("a start on existing data has no long steps, got %q", steps)
	}
	if first.password != second.password {
		t.Error("the password changed")
	}
	if got := run(t, second.URL(), `show fsync`); got != "on" {
		t.Errorf("fsync is %s", got)
	}
}

func TestPostgresComesBackWhereItWas(t *testing.T) {
	t.Parallel()
	p := startPostgres(t, PostgresConfig{Dir: t.TempDir()})
	before := p.URL()
	run(t, before, `create table notes (body text)`)
	for name, down := range map[string]func(){
		"fast":      func() { p.Halt(t.Context(), false) },
		"immediate": func() { p.Halt(t.Context(), true) },
		"killed":    p.Kill,
		"by itself": func() {
			_ = syscall.Kill(p.server.pid, syscall.SIGINT)
			<-p.server.done
		},
	} {
		run(t, before, fmt.Sprintf(`insert into notes values ('%s') returning body`, name))
		down()
		if _, err := pgx.Connect(t.Context(), before); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: got %v, want refused", name, err)
		}
		for range 2 { // the second finds it up
			if err := p.Start(t.Context()); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if p.URL() != before {
			t.Errorf("%s: moved to %s", name, p.URL())
		}
	}
	if err := p.Restart(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if got := run(t, before, `select count(*)::text from notes`); got != "4" {
		t.Errorf("%s of 4 commits are left", got)
	}
}

func TestPostgresIsPrivate(t *testing.T) {
	t.Parallel()
	p := startPostgres(t, PostgresConfig{Dir: t.TempDir()})
	if got := run(t, p.URL(), `show listen_addresses`); got != "127.0.0.1" {
		t.Errorf("listens on %s", got)
	}
	info, err := os.Stat(p.folder.join(passwordName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("password file: %v %v", info.Mode(), err)
	}
	other, err := url.Parse(p.URL())
	if err != nil {
		t.Fatal(err)
	}
	other.User = url.UserPassword(postgresUser, "guess")
	if _, err := pgx.Connect(t.Context(), other.String()); err == nil {
		t.Error("it takes any password")
	}
	if group, err := syscall.Getpgid(p.server.pid); err != nil || group == syscall.Getpgrp() {
		t.Errorf("process group %d, %v: Ctrl-C would reach it", group, err)
	}
}

func TestAFolderHasOneUser(t *testing.T) {
	t.Parallel()
	p := startPostgres(t, PostgresConfig{Dir: t.TempDir()})
	_, err := StartPostgres(t.Context(), PostgresConfig{Dir: p.folder.path})
	if err == nil || !strings.Contains(err.Error(), "another process uses") {
		t.Errorf("got %v", err)
	}
}

func TestAnInterruptedInitdbIsDoneAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	half := filepath.Join(dir, newDataName)
	if err := os.Mkdir(half, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{filepath.Join(half, "PG_VERSION"), filepath.Join(dir, passwordName)} {
		if err := os.WriteFile(name, []byte("15\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, startPostgres(t, PostgresConfig{Dir: dir}).URL(), `select 'ready'`)
}

func TestAServerLeftBehindIsStoppedFirst(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	old := startPostgres(t, PostgresConfig{Dir: dir})
	run(t, old.URL(), `create table notes as select 'kept' as body`)
	if err := old.folder.lock.Close(); err != nil { // as if its parent had died
		t.Fatal(err)
	}
	next := startPostgres(t, PostgresConfig{Dir: dir})
	<-old.server.done
	if got := run(t, next.URL(), `select body from notes`); got != "kept" {
		t.Errorf("got %q", got)
	}
}

func TestAStalePidFileOfAnotherProcessIsHarmless(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	stopPostgres(t, startPostgres(t, PostgresConfig{Dir: dir}))
	// The number belongs to a living process that is no server on this data: this very one.
	content := fmt.Sprintf("%d\n%s\n", os.Getpid(), filepath.Join(dir, dataName))
	if err := os.WriteFile(filepath.Join(dir, dataName, "postmaster.pid"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, startPostgres(t, PostgresConfig{Dir: dir}).URL(), `select 'ready'`)
}

func TestATakenPortIsNamed(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	_, err = StartPostgres(t.Context(), PostgresConfig{Dir: t.TempDir(), Port: number})
	if err == nil || !strings.Contains(err.Error(), addressInUse) {
		t.Errorf("got %v", err)
	}
}

func TestACancelledStartLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	_, err := StartPostgres(ctx, PostgresConfig{Dir: dir, Progress: func(string) { cancel(enough) }})
	if !errors.Is(err, enough) {
		t.Fatalf("got %v", err)
	}
	run(t, startPostgres(t, PostgresConfig{Dir: dir}).URL(), `select 'ready'`)
}

// parentDir is set in a child that starts a server there and waits for its end.
const parentDir = "LOCAL_TEST_PARENT_DIR"

func beKilled(dir string) {
	p, err := StartPostgres(context.Background(), PostgresConfig{Dir: dir})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(p.URL())
	select {}
}
