package main

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

const (
	cooldown  = river.FetchCooldownMin
	stopLimit = 10 * time.Second
	// historyLimit is processor's default.
	historyLimit = 1000
)

const schema = `
create table chats (id text primary key, created_at timestamptz not null default now());
create table messages (
	id bigint generated always as identity primary key,
	chat text not null references chats,
	turn integer not null,
	role text not null,
	body text not null,
	created_at timestamptz not null default now(),
	unique (chat, turn, role)
);
create index on messages (chat, id);`

// turnArgs name the turn to answer.
type turnArgs struct {
	Chat string `json:"chat"`
	Turn int    `json:"turn"`
}

// Kind implements river.JobArgs.
func (turnArgs) Kind() string { return "turn" }

// app is the chat service built on River.
type app struct {
	river.WorkerDefaults[turnArgs]

	pool     *pgxpool.Pool
	client   *river.Client[pgx.Tx]
	provider *provider
	instant  int // tokens of an answer that is made here, 0 for asking the provider

	mu      sync.Mutex
	waiting map[turnArgs]chan struct{} // senders who wait for an answer
}

func open(ctx context.Context, o options) (*app, error) {
	config, err := pgxpool.ParseConfig(o.database)
	if err != nil {
		return nil, err
	}
	config.MaxConns, config.MinConns = int32(o.pool), int32(o.pool)
	a := &app{provider: newProvider(o.provider), waiting: map[turnArgs]chan struct{}{}}
	if o.instant {
		a.instant = o.tokens
	}
	if a.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, err
	}
	if err := a.start(ctx, o); err != nil {
		a.pool.Close()
		return nil, err
	}
	return a, nil
}

func (a *app) start(ctx context.Context, o options) error {
	driver := riverpgxv5.New(a.pool)
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("migrate River: %w", err)
	}
	if _, err := a.pool.Exec(ctx, `drop table if exists messages, chats; truncate river_job;`+schema); err != nil {
		return fmt.Errorf("make tables: %w", err)
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, a)
	a.client, err = river.NewClient(driver, &river.Config{
		Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: o.workers}},
		Workers:           workers,
		FetchCooldown:     cooldown,
		FetchPollInterval: o.poll,
		JobTimeout:        -1,
		Logger:            slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	return a.client.Start(ctx)
}

func (a *app) close() {
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	_ = a.client.StopAndCancel(ctx) // what is left is nobody's
	a.pool.Close()
}

// create makes an idle chat.
func (a *app) create(ctx context.Context, chat string) error {
	_, err := a.pool.Exec(ctx, `insert into chats (id) values ($1)`, chat)
	return err
}

// prepare makes chats 0 to n-1, as processor's benchmark does before it measures.
func (a *app) prepare(ctx context.Context, n int) error {
	_, err := a.pool.Exec(ctx, `insert into chats (id) select i::text from generate_series(0, $1::int - 1) i`, n)
	return err
}

// send stores the message and its job together, and returns when the transaction began.
func (a *app) send(ctx context.Context, t turnArgs, text string) (created time.Time, err error) {
	err = pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) error {
		const insert = `insert into messages (chat, turn, role, body) values ($1, $2, 'user', $3) returning created_at`
		if err := tx.QueryRow(ctx, insert, t.Chat, t.Turn, text).Scan(&created); err != nil {
			return err
		}
		_, err := a.client.InsertTx(ctx, tx, t, nil)
		return err
	})
	return created, err
}

// Work implements river.Worker: it answers one turn.
func (a *app) Work(ctx context.Context, job *river.Job[turnArgs]) error {
	history, err := a.history(ctx, job.Args)
	if err != nil {
		return err
	}
	answer, err := a.answer(ctx, history)
	if err != nil {
		return err
	}
	const insert = `insert into messages (chat, turn, role, body) values ($1, $2, 'assistant', $3) on conflict do nothing`
	if _, err := a.pool.Exec(ctx, insert, job.Args.Chat, job.Args.Turn, answer); err != nil {
		return err
	}
	a.answered(job.Args)
	return nil
}

func (a *app) answer(ctx context.Context, history []message) (string, error) {
	if a.instant == 0 {
		return a.provider.stream(ctx, history)
	}
	var b strings.Builder
	for i := range a.instant {
		b.WriteString("w" + strconv.Itoa(i) + " ")
	}
	return b.String(), nil
}

// history is the chat up to the turn, oldest message first.
func (a *app) history(ctx context.Context, t turnArgs) ([]message, error) {
	const query = `select role, body from (
	select id, role, body from messages where chat = $1 and turn <= $2 order by id desc limit $3) newest order by id`
	rows, err := a.pool.Query(ctx, query, t.Chat, t.Turn, historyLimit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[message])
}

// committed is when the message of each turn was, by the record of its commit: nothing updates a message.
func (a *app) committed(ctx context.Context) (map[turnArgs]time.Time, error) {
	const query = `select chat, turn, pg_xact_commit_timestamp(xmin) from messages where role = 'user'`
	rows, err := a.pool.Query(ctx, query)
	if err != nil {
		return nil, err
	}
	at := map[turnArgs]time.Time{}
	var t turnArgs
	var committed time.Time
	_, err = pgx.ForEachRow(rows, []any{&t.Chat, &t.Turn, &committed}, func() error {
		at[t] = committed
		return nil
	})
	return at, err
}

// await is to be called before the message is sent.
func (a *app) await(t turnArgs) <-chan struct{} {
	answered := make(chan struct{})
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting[t] = answered
	return answered
}

func (a *app) answered(t turnArgs) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if waiting, ok := a.waiting[t]; ok {
		close(waiting)
		delete(a.waiting, t)
	}
}
