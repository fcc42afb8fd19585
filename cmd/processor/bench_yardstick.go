package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"
)

// yardstickClients is how many connections insert at once.
const yardstickClients = 16

// yardstick measures how many rows pgbench commits per second, one in a transaction, in the same minute: what other figures mean
// depends on it. Without pgbench there is none.
func (r *rig) yardstick(ctx context.Context, report *benchReport) error {
	program := findPgbench()
	if r.flags.Yardstick <= 0 || program == "" {
		return nil
	}
	r.std.note("measuring the database with pgbench for %s…", r.flags.Yardstick)
	const table = `create schema processor_bench; create table processor_bench.yardstick (id bigint generated always as identity primary key, body text)`
	if _, err := r.conn.Exec(ctx, table); err != nil {
		return fmt.Errorf("make a table for pgbench: %w", err)
	}
	tps, err := r.pgbench(ctx, program)
	_, dropped := r.conn.Exec(context.WithoutCancel(ctx), `drop schema processor_bench cascade`)
	if err := errors.Join(err, dropped); err != nil {
		return fmt.Errorf("measure the database with pgbench (--yardstick 0 leaves it out): %w", err)
	}
	report.figure("pgbench, single-row inserts", tps, fmt.Sprintf("commits/s (%d clients)", yardstickClients))
	return nil
}

func (r *rig) pgbench(ctx context.Context, program string) (tps float64, err error) {
	script := filepath.Join(r.dir, "yardstick.sql")
	if err := os.WriteFile(script, []byte("insert into processor_bench.yardstick (body) values ('one two three four five');\n"), 0o600); err != nil {
		return 0, err
	}
	seconds := strconv.Itoa(max(int(r.flags.Yardstick.Seconds()), 1))
	cmd := exec.CommandContext(ctx, program, "-n", "-M", "prepared", "-c", strconv.Itoa(yardstickClients), "-j", "2", "-T", seconds, "-f", script)
	if cmd.Env, err = libpqEnviron(r.database); err != nil {
		return 0, err
	}
	output, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%w: %s", err, oneLine(string(output), 300))
	}
	match := regexp.MustCompile(`tps = ([0-9.]+)`).FindSubmatch(output)
	if match == nil {
		return 0, fmt.Errorf("no result in %s", oneLine(string(output), 300))
	}
	return strconv.ParseFloat(string(match[1]), 64)
}

// libpqEnviron is how programs of PostgreSQL learn where to connect without showing a password to everybody.
func libpqEnviron(database string) ([]string, error) {
	c, err := pgx.ParseConfig(database)
	if err != nil {
		return nil, fmt.Errorf("read --database-url: %w", err)
	}
	environ := append(os.Environ(), "PGHOST="+c.Host, "PGPORT="+strconv.Itoa(int(c.Port)), "PGUSER="+c.User, "PGPASSWORD="+c.Password, "PGDATABASE="+c.Database)
	if u, err := url.Parse(database); err == nil && u.Query().Has("sslmode") {
		environ = append(environ, "PGSSLMODE="+u.Query().Get("sslmode"))
	}
	return environ, nil
}

// findPgbench looks along the PATH, then where distributions put it.
func findPgbench() string {
	if path, err := exec.LookPath("pgbench"); err == nil {
		return path
	}
	var found []string
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin/pgbench", "/usr/pgsql-*/bin/pgbench", "/opt/homebrew/opt/postgresql*/bin/pgbench"} {
		paths, err := filepath.Glob(pattern)
		if err == nil {
			found = append(found, paths...)
		}
	}
	if len(found) == 0 {
		return ""
	}
	return slices.Max(found)
}
