package store_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"processor/internal/chat"
	"processor/internal/chat/chattest"
	"processor/internal/local/localtest"
	"processor/internal/store"
)

var suite = localtest.New(func(ctx context.Context, url string) error {
	return store.Migrate(ctx, url, slog.New(slog.DiscardHandler))
})

func TestMain(m *testing.M) { suite.Main(m) }

// timing is what the contract's suite expects. Tests hold transactions open, on machines that may be slow.
func timing() chat.Timing {
	t := chat.DefaultTiming()
	t.Statement, t.IdleTx = time.Minute, time.Minute
	t.RedispatchAfter, t.SuspectAfter = chattest.RedispatchAfter, chattest.SuspectAfter
	return t
}

// open makes a store on an empty database of the test's own.
func open(t testing.TB) *testStore {
	t.Helper()
	return openURL(t, suite.Postgres(t))
}

func openURL(t testing.TB, url string) *testStore {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{URL: url, Pool: 8, Timing: timing()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return &testStore{Store: s, url: url, pool: pool}
}

// testStore is a store, and what only tests need.
type testStore struct {
	*store.Store
	url  string
	pool *pgxpool.Pool
}

var _ chattest.Store = (*testStore)(nil)

// Elapse implements chattest.Store: everything that is stored gets older.
func (s *testStore) Elapse(ctx context.Context, d time.Duration) error {
	b := &pgx.Batch{}
	b.Queue(`update processor.chats set created_at = created_at - $1::interval, updated_at = updated_at - $1::interval,
		claimed_at = claimed_at - $1::interval, retry_at = retry_at - $1::interval, dispatch_at = dispatch_at - $1::interval,
		idle_at = idle_at - $1::interval`, d)
	b.Queue(`update processor.workers set started_at = started_at - $1::interval, heartbeat_at = heartbeat_at - $1::interval,
		lost_at = lost_at - $1::interval`, d)
	b.Queue(`update processor.messages set created_at = created_at - $1::interval`, d)
	b.Queue(`update processor.queued_messages set created_at = created_at - $1::interval`, d)
	return s.pool.SendBatch(ctx, b).Close()
}

// Rows implements chattest.Store.
func (s *testStore) Rows(ctx context.Context) (rows chattest.Rows, err error) {
	err = pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, `select now()`).Scan(&rows.Now); err != nil {
			return err
		}
		for _, read := range []func(context.Context, pgx.Tx, *chattest.Rows) error{readChats, readMessages, readQueue, readWorkers} {
			if err := read(ctx, tx, &rows); err != nil {
				return err
			}
		}
		return nil
	})
	rows.Now = rows.Now.UTC()
	return rows, err
}

func readChats(ctx context.Context, tx pgx.Tx, to *chattest.Rows) error {
	q, _ := tx.Query(ctx, `select number, id, tenant, title, model, system, metadata, status, version, turn, step, epoch, void_epoch,
		worker_id, claimed_at at time zone 'UTC', attempts, retry_at at time zone 'UTC', takeovers, recoveries, interrupt_turn, queued, last_error,
		created_at at time zone 'UTC', updated_at at time zone 'UTC', dispatches, dispatch_at at time zone 'UTC' from processor.chats order by number`)
	all, err := pgx.CollectRows(q, func(row pgx.CollectableRow) (r chattest.ChatRow, err error) {
		c := &r.Chat
		return r, row.Scan(&c.Number, &c.ID, &c.Tenant, &c.Title, &c.Model, &c.System, (*[]byte)(&c.Metadata), &c.Status, &c.Version, &c.Turn,
			&c.Step, &c.Epoch, &c.Void, &c.Worker, &c.ClaimedAt, &c.Attempts, &c.RetryAt, &c.Takeovers, &c.Recoveries, &c.InterruptTurn, &c.Queued,
			&c.LastError, &c.CreatedAt, &c.UpdatedAt, &r.Dispatch.Count, &r.Dispatch.At)
	})
	to.Chats = all
	return err
}

func readMessages(ctx context.Context, tx pgx.Tx, to *chattest.Rows) error {
	q, _ := tx.Query(ctx, `select m.chat, m.id, c.id, m.turn, m.step, m.epoch, m.role, m.parts, m.chunks, m.model, m.params, m.usage, m.finish,
		m.error, coalesce(m.client_id, ''), m.created_at at time zone 'UTC'
		from processor.messages m join processor.chats c on c.number = m.chat order by m.id`)
	all, err := pgx.CollectRows(q, func(row pgx.CollectableRow) (r chattest.MessageRow, err error) {
		m := &r.Message
		var chunks []byte
		err = row.Scan(&r.Number, &m.ID, &m.Chat, &m.Turn, &m.Step, &m.Epoch, &m.Role, &m.Parts, &chunks, &m.Model, (*[]byte)(&m.Params), &m.Usage,
			&m.Finish, &m.Error, &m.ClientID, &m.CreatedAt)
		if err == nil {
			m.Chunks, err = store.ReadChunks(chunks)
		}
		return r, err
	})
	to.Messages = all
	return err
}

func readQueue(ctx context.Context, tx pgx.Tx, to *chattest.Rows) error {
	q, _ := tx.Query(ctx, `select m.chat, c.id, m.parts, m.model, m.params, m.client_id, m.created_at at time zone 'UTC'
		from processor.queued_messages m join processor.chats c on c.number = m.chat order by m.chat, m.id`)
	all, err := pgx.CollectRows(q, func(row pgx.CollectableRow) (r chattest.MessageRow, err error) {
		m := &r.Message
		m.Role = chat.User
		return r, row.Scan(&r.Number, &m.Chat, &m.Parts, &m.Model, (*[]byte)(&m.Params), &m.ClientID, &m.CreatedAt)
	})
	to.Queue = all
	return err
}

func readWorkers(ctx context.Context, tx pgx.Tx, to *chattest.Rows) error {
	q, _ := tx.Query(ctx, `select id, name, host, pid, build, slots, running, draining, started_at at time zone 'UTC',
		heartbeat_at at time zone 'UTC', lost_at at time zone 'UTC', coalesce(lost_cause, '') from processor.workers order by id`)
	all, err := pgx.CollectRows(q, func(row pgx.CollectableRow) (w chattest.WorkerRow, err error) {
		return w, row.Scan(&w.ID, &w.Name, &w.Host, &w.PID, &w.Build, &w.Slots, &w.Running, &w.Draining, &w.StartedAt, &w.HeartbeatAt, &w.LostAt, &w.LostCause)
	})
	to.Workers = all
	return err
}
