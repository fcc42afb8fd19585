package store_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"processor/internal/chat"
	"processor/internal/store"
)

// idle is how many idle chats must not matter.
const idle = 1_000_000

func TestAMillionIdleChatsCostRecoveryNothing(t *testing.T) {
	t.Parallel()
	s := open(t)
	if err := s.Register(t.Context(), chat.Worker{ID: "w"}); err != nil {
		t.Fatal(err)
	}
	s.exec(t, `insert into processor.chats (id, digest, status, idle_at, tenant)
		select 'idle-' || n, '\x0000000000000000000000000000000000000000000000000000000000000000', 'waiting', now() - n * interval '1 second', ''
		from generate_series(1, $1) n`, idle)
	for i := range 100 {
		place(t, s.Store, chat.ID(fmt.Sprint("pending-", i)), chat.Pending)
		place(t, s.Store, chat.ID(fmt.Sprint("running-", i)), chat.Running)
		place(t, s.Store, chat.ID(fmt.Sprint("parked-", i)), chat.Parked)
	}
	s.exec(t, `analyze processor.chats`)
	for name, want := range map[string]struct {
		index string
		args  []any
	}{
		"staleSQL":         {"chats_pending", []any{10}},
		"recoverSQL":       {"chats_running", []any{10, 3, 25, time.Second}},
		"unownedSQL":       {"chats_running", nil},
		"beatSQL":          {"chats_running", []any{1, false, "w"}},
		"interruptedSQL":   {"chats_running", []any{"w"}},
		"ownedSQL":         {"chats_running", []any{"w"}},
		"releaseSQL":       {"chats_running", []any{"w", []string{"running"}, time.Second}},
		"anewSQL":          {"chats_pending", nil},
		"pendingSQL":       {"chats_pending", []any{32}},
		"pruneSQL":         {"chats_idle", []any{time.Hour, 10}},
		"lockSQL":          {"chats_id_key", []any{[]string{"pending-1"}, []string{"t"}}},
		"getSQL":           {"chats_id_key", []any{"pending-1", "t"}},
		"listSQL running ": {"chats_running", []any{1 << 40, 10, 1 << 20}},
		"listSQL error ":   {"chats_parked", []any{1 << 40, 10, 1 << 20}},
	} {
		plan := s.plan(t, store.Statements()[name], want.args)
		if !strings.Contains(plan, want.index) || strings.Contains(plan, "Seq Scan on chats") {
			t.Errorf("%s does not use %s:\n%s", name, want.index, plan)
		}
	}
	s.quick(t)
}

// plan is what the server does by its own choice, without the settings of the store's connections.
func (s *testStore) plan(t *testing.T, sql string, args []any) string {
	t.Helper()
	rows, err := s.pool.Query(t.Context(), "explain "+sql, append([]any{pgx.QueryExecModeExec}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("explain %s: %v", sql, err)
	}
	return strings.Join(lines, "\n")
}

// quick makes each call of recovery once: a scan of the whole table would take far longer than the limit.
func (s *testStore) quick(t *testing.T) {
	t.Helper()
	const limit = 5 * time.Second
	for name, call := range map[string]func() error{
		"sweep": func() error {
			r, err := s.Sweep(t.Context(), chat.Pass{SuspectAfter: time.Hour, RedispatchAfter: time.Second, Batch: 100})
			if len(r.Recovered) != 0 {
				t.Errorf("recovered %d chats of a live worker", len(r.Recovered))
			}
			return err
		},
		"beat":  func() error { _, err := s.Beat(t.Context(), "w", 100, false); return err },
		"look":  func() error { _, err := s.Pending(t.Context(), 32); return err },
		"claim": func() error { _, err := s.Claim(t.Context(), "pending-1", "w", false, history); return err },
		"list":  func() error { _, err := s.List(t.Context(), chat.Filter{Status: chat.Pending, Limit: 50}); return err },
	} {
		started := time.Now()
		if err := call(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(started); took > limit {
			t.Errorf("%s took %s beside a million idle chats", name, took)
		}
	}
}

func TestTheDoctorFindsWhatTheInvariantsForbid(t *testing.T) {
	t.Parallel()
	s := open(t)
	for _, w := range []chat.WorkerID{"w", "x"} {
		if err := s.Register(t.Context(), chat.Worker{ID: w}); err != nil {
			t.Fatal(err)
		}
	}
	place(t, s.Store, "running", chat.Running)
	place(t, s.Store, "pending", chat.Pending)
	place(t, s.Store, "parked", chat.Parked)
	healthy, err := s.Doctor(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(healthy.Unowned)+len(healthy.Undispatched) != 0 || healthy.Schema.Err() != nil || healthy.LiveWorkers != 2 {
		t.Errorf("findings of a healthy database: %+v", healthy)
	}
	if err := s.Unregister(t.Context(), "w"); err != nil {
		t.Fatal(err)
	}
	if err := s.Elapse(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
	f, err := s.Doctor(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Unowned) != 1 || f.Unowned[0].Chat != "running" || len(f.Undispatched) != 1 || f.Undispatched[0].Chat != "pending" {
		t.Errorf("findings: unowned %+v, undispatched %+v", f.Unowned, f.Undispatched)
	}
	if f.OldestPending < time.Hour || f.OldestRunning < time.Hour || f.Counts[chat.Parked] != 1 || f.LiveWorkers != 0 {
		t.Errorf("findings: %+v", f)
	}
	if f.ClockSkew.Abs() > time.Minute {
		t.Errorf("clock skew on one machine: %s", f.ClockSkew)
	}
}

// TestTheStatementsOfATurnFindTheirRowsByKey judges the plans that connections keep: those made while the tables were empty, when every plan seems as cheap as
// any other. One that reads a whole index, for want of its first column, would be slow when there are many chats.
func TestTheStatementsOfATurnFindTheirRowsByKey(t *testing.T) {
	t.Parallel()
	s := open(t)
	conn, err := pgx.Connect(t.Context(), s.url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	for name, value := range store.SessionSettings() {
		if _, err := conn.Exec(t.Context(), `select set_config($1, $2, false)`, name, value); err != nil {
			t.Fatal(err)
		}
	}
	first := map[string]string{
		"chats_id_key": "id =", "chats_pkey": "number =", "messages_pkey": "chat =", "messages_client_id": "chat =", "queued_messages_pkey": "chat =",
		"queued_messages_client_id": "chat =", "workers_pkey": "id =",
	}
	for _, name := range []string{"openSQL", "historySQL", "claimSQL", "unclaimedSQL", "restSQL", "lockSQL", "sendSQL", "finishSQL", "commitSQL", "landedSQL", "endSQL",
		"askSQL", "retrySQL", "deleteSQL", "createdSQL", "snapshotSQL", "getSQL", "yieldSQL", "backoffSQL", "failSQL", "lockRowSQL"} {
		for _, scan := range scans(t, conn, name) {
			if want := first[scan.index]; want == "" || !strings.Contains(scan.condition, want) {
				t.Errorf("%s reads %s by %q", name, scan.index, scan.condition)
			}
		}
	}
}

type scan struct{ index, condition string }

// scans are those of the plan that a prepared statement keeps.
func scans(t *testing.T, conn *pgx.Conn, name string) (all []scan) {
	t.Helper()
	prepared, err := conn.Prepare(t.Context(), name, store.Statements()[name])
	if err != nil {
		t.Fatal(err)
	}
	nulls := strings.TrimSuffix(strings.Repeat("null,", len(prepared.ParamOIDs)), ",")
	rows, err := conn.Query(t.Context(), `explain execute "`+name+`"(`+nulls+`)`, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		if strings.Contains(line, "Seq Scan") {
			t.Errorf("%s: %s", name, line)
		}
		if _, rest, ok := strings.Cut(line, "Scan using "); ok {
			all = append(all, scan{index: strings.Fields(rest)[0]})
		}
		if _, rest, ok := strings.Cut(line, "Index Scan Backward using "); ok {
			all = append(all, scan{index: strings.Fields(rest)[0]})
		}
		if _, condition, ok := strings.Cut(line, "Index Cond: "); ok && len(all) > 0 && all[len(all)-1].condition == "" {
			all[len(all)-1].condition = condition
		}
	}
	if len(all) == 0 {
		t.Errorf("%s has no index scan:\n%s", name, strings.Join(lines, "\n"))
	}
	return all
}
