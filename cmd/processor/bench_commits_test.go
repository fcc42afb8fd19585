package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"processor/internal/chat"
	"processor/internal/local/localtest"
)

// TestBenchMeasuresADeploymentFromItsCommits turns on what a database needs for that, as the first report says.
func TestBenchMeasuresADeploymentFromItsCommits(t *testing.T) {
	t.Parallel()
	pg, nats := suite.OwnPostgres(t), localtest.NATS(t)
	dispatch := []string{"dispatch", "--rate", "20", "--duration", "1s", "--warmup", "200ms", "--tokens", "2", "--nats-url", nats.URL(), "--database-url", pg.URL()}
	before := reported(t, dispatch...)
	if l := before.named(t, "reply → model call"); l.N < 20 || !strings.Contains(l.About, "`alter system set track_commit_timestamp = on`") {
		t.Errorf("without the times of commits: %+v", l)
	}
	before.has(t, "start → model call", 20)
	connected(t, pg.URL(), "alter system set track_commit_timestamp = on")
	if err := pg.Restart(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	after := reported(t, dispatch...)
	after.has(t, "commit → model call", 20)
	after.has(t, "start → model call", 20)
	if commit, start := after.named(t, "commit → model call"), after.named(t, "start → model call"); commit.P50 >= start.P50 {
		t.Errorf("committed at the start: %+v, %+v", commit, start)
	}

	connected(t, pg.URL(), "create role reader login; grant usage on schema processor to reader; grant select on processor.chats to reader")
	reader := connected(t, pg.URL(), "set role reader")
	if _, untold, err := reader.committed(t.Context(), []chat.ID{"c"}); err != nil || !strings.Contains(untold, "select on processor.chats and processor.messages") {
		t.Errorf("whoever may not read is told %q, %v", untold, err)
	}
	connected(t, pg.URL(), "grant select on processor.messages to reader")
	if at, untold, err := reader.committed(t.Context(), []chat.ID{"c"}); err != nil || untold != "" || len(at) != 0 {
		t.Errorf("whoever may read is told %v, %q, %v", at, untold, err)
	}
}

// connected is a rig with nothing but a connection to somebody else's database, on which a statement was executed.
func connected(t *testing.T, database, statement string) *rig {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	if _, err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
	return &rig{conn: conn}
}

func TestBenchTakesAnotherMachinesClockIntoAccount(t *testing.T) {
	t.Parallel()
	r := connected(t, suite.Postgres(t), "select")
	if c, err := r.databaseClock(t.Context()); err != nil || c != (databaseClock{}) {
		t.Errorf("the clock of this machine is %+v, %v", c, err)
	}
	at := time.Unix(1000, 0)
	c := databaseClock{ahead: 3 * time.Millisecond, within: 200 * time.Microsecond}
	if got := c.here(at); at.Sub(got) != c.ahead || !strings.Contains(c.about(), "by 3ms, within 200µs") {
		t.Errorf("%s is %s here %s", at, got, c.about())
	}
}
