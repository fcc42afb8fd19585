package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"processor/internal/chat"
)

var (
	_ chat.Runs     = (*Store)(nil)
	_ chat.Opens    = (*Store)(nil)
	_ chat.Commands = (*Store)(nil)
	_ chat.Queries  = (*Store)(nil)
	_ chat.Beats    = (*Store)(nil)
	_ chat.Sweeps   = (*Store)(nil)
)

// Config has the store's settings. URL is required.
type Config struct {
	// URL is a connection string of PostgreSQL. Behind PgBouncer in transaction mode it says default_query_exec_mode=cache_describe.
	URL string
	// Pool is how many connections carry work, 20 by default. Beats and sweeps have their own, one each and up to ownConnections for a while.
	Pool int
	// Timing is chat.DefaultTiming by default.
	Timing chat.Timing
	// Name is what pg_stat_activity shows, processor by default.
	Name   string
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Pool == 0 {
		c.Pool = 20
	}
	if c.Timing == (chat.Timing{}) {
		c.Timing = chat.DefaultTiming()
	}
	if c.Name == "" {
		c.Name = "processor"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate refuses settings that cannot work.
func (c Config) Validate() error {
	if c.URL == "" {
		return errors.New("the database's URL is missing")
	}
	if c.Pool < 0 {
		return fmt.Errorf("the database's pool must not be negative, is %d", c.Pool)
	}
	parsed, err := pgxpool.ParseConfig(c.URL)
	if err != nil {
		return fmt.Errorf("read the database's URL: %w", err)
	}
	switch mode := parsed.ConnConfig.DefaultQueryExecMode; mode {
	case pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe:
		return nil
	default:
		return fmt.Errorf("the database's URL says default_query_exec_mode %s: behind a pooler use cache_describe, else leave it out", mode)
	}
}

// Store is the truth: chats, messages and workers in PostgreSQL. Its methods may be called from any goroutine; each has a deadline
// of its own, Timing.Statement, below that of its context.
type Store struct {
	config Config
	pool   *pgxpool.Pool
	// work is the pool. Beats and sweeps must not wait behind work: each has a connection of its own.
	work          sender
	beats, sweeps *pgxpool.Pool

	statements *statements
	recent     *recent
	// The calls of every turn share transactions when there are many.
	opens    group[*openCall]
	sends    group[*sendCall]
	claims   group[*claimCall]
	finishes group[*finishCall]
}

// maxFlights is how many transactions of one kind are under way at once. More would be smaller ones; one alone would make all wait for a
// row that somebody holds.
const maxFlights = 2

// ownConnections is how many connections beats, or sweeps, may have at most. One is used at a time. But of one that no longer answers pgx takes leave for
// up to 15 s, and until then the pool counts it: with no other, the worker would be lost meanwhile.
const ownConnections = 3

// Open makes a store without connecting: every pool connects when it is used, and again after a failure. Close it.
func Open(ctx context.Context, config Config) (*Store, error) {
	config = config.withDefaults()
	if err := config.Validate(); err != nil {
		return nil, err
	}
	s := &Store{config: config, statements: &statements{}, recent: newRecent(recentBytes)}
	for _, p := range []struct {
		to   **pgxpool.Pool
		name string
		size int
	}{{&s.pool, "", config.Pool}, {&s.beats, " beat", ownConnections}, {&s.sweeps, " sweep", ownConnections}} {
		pool, err := config.pool(ctx, config.Name+p.name, p.size)
		if err != nil {
			s.Close()
			return nil, err
		}
		*p.to = pool
	}
	s.workOn(s.pool)
	return s, nil
}

func (s *Store) workOn(work sender) {
	s.work = work
	flights, limit := max(1, min(s.config.Pool/4, maxFlights)), s.config.Timing.Statement
	s.opens = group[*openCall]{carry: s.openAll, flights: flights, limit: limit}
	s.sends = group[*sendCall]{carry: s.sendAll, flights: flights, limit: limit}
	s.claims = group[*claimCall]{carry: s.claimAll, flights: flights, limit: limit}
	s.finishes = group[*finishCall]{carry: s.restAll, flights: flights, limit: limit}
}

// Close waits for what is being done and closes all connections. Of a server that does not answer pgx takes leave for 15 s, which is more than a
// shutdown has: such connections are left to the process's end after closeLimit.
func (s *Store) Close() {
	var closing sync.WaitGroup
	for _, pool := range []*pgxpool.Pool{s.pool, s.beats, s.sweeps} {
		if pool != nil {
			closing.Go(pool.Close)
		}
	}
	closed := make(chan struct{})
	go func() { closing.Wait(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(closeLimit):
		s.config.Logger.Warn("connections to the database not closed in time", "elapsed", closeLimit)
	}
}

const closeLimit = 500 * time.Millisecond

// Ping says whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	return wrap("ping the database", s.pool.Ping(ctx))
}

func (s *Store) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.config.Timing.Statement)
}

func (c Config) pool(ctx context.Context, name string, size int) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(c.URL)
	if err != nil {
		return nil, fmt.Errorf("read the database's URL: %w", err)
	}
	config.MaxConns = int32(min(size, 10000))
	config.AfterConnect = useUTC
	connection := config.ConnConfig
	connection.ConnectTimeout = c.Timing.Statement
	connection.DialFunc = dialer(c.Timing).DialContext
	if connection.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		c.session(name, connection.RuntimeParams)
	}
	return pgxpool.NewWithConfig(ctx, config)
}

// session sets what holds for a whole connection. A pooler that multiplexes connections refuses such parameters, or hands them to strangers:
// there the role has them (operations.md), and a sweep sets its own in its transaction.
func (c Config) session(name string, parameters map[string]string) {
	milliseconds := func(d time.Duration) string { return strconv.FormatInt(max(1, d.Milliseconds()), 10) }
	for key, value := range map[string]string{
		"application_name":                    name,
		"statement_timeout":                   milliseconds(c.Timing.Statement),
		"idle_in_transaction_session_timeout": milliseconds(c.Timing.IdleTx),
		// A host that vanished holds its locks until its connection is known to be dead.
		"tcp_user_timeout":        milliseconds(c.Timing.LostAfter / 2),
		"tcp_keepalives_idle":     strconv.Itoa(max(1, int((c.Timing.LostAfter / 2).Seconds()))),
		"tcp_keepalives_interval": "1",
		// Every statement finds its rows by key, or by a partial index that its text names, so it is planned once. A plan made while the tables are
		// new and empty must not be one that reads them whole: it would be kept until the first analyze, and be slow when they grow.
		"plan_cache_mode": "force_generic_plan", "jit": "off",
		"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off",
	} {
		if _, ok := parameters[key]; !ok {
			parameters[key] = value
		}
	}
}

func dialer(t chat.Timing) *net.Dialer {
	silence := t.LostAfter / 2
	return &net.Dialer{
		Timeout:         t.Statement,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: silence, Interval: time.Second, Count: 3},
		Control:         userTimeout(silence),
	}
}

// useUTC makes times comparable: the same moment is the same value, whatever the host's zone.
func useUTC(_ context.Context, conn *pgx.Conn) error {
	conn.TypeMap().RegisterType(&pgtype.Type{
		Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
	})
	return nil
}

// call queues the statements of a transition, or of a group of them, and leaves readers for their rows. A reader starts from nothing, because a
// call may be sent more than once; and it refuses nothing, because the transaction is decided without it.
type call func(b *batch)

// do carries out a call in one transaction and one round trip: the server takes all statements up to the batch's end for one.
func (s *Store) do(ctx context.Context, doing string, c call) error {
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	return wrap(doing, s.send(ctx, s.work, c))
}

// sender is a pool or a transaction.
type sender interface {
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// send repeats what the server undid because of others; the attempts are few because each has waited for somebody who was faster.
func (s *Store) send(ctx context.Context, to sender, c call) error {
	const attempts = 5
	for attempt := 1; ; attempt++ {
		err := s.once(ctx, to, c)
		if attempt == attempts || meaning(err) != undone {
			return err
		}
	}
}

func (s *Store) once(ctx context.Context, to sender, c call) error {
	b := &batch{statements: s.statements, tenant: chat.TenantOf(ctx)}
	c(b)
	return to.SendBatch(ctx, &b.Batch).Close()
}
