package store

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"processor/internal/chat"
)

// ReadChunks is for tests that read rows themselves.
var ReadChunks = readChunks

// Begin opens a transaction, and returns a store whose work is done in it, uncommitted.
func (s *Store) Begin(ctx context.Context) (*Store, pgx.Tx, error) {
	tx, err := s.pool.Begin(ctx)
	if err != nil {
		return nil, nil, err
	}
	within := &Store{config: s.config, beats: s.beats, sweeps: s.sweeps, statements: s.statements, recent: s.recent}
	within.workOn(tx)
	return within, tx, nil
}

// Ungroup lets every call leave at once and alone.
func (s *Store) Ungroup() {
	s.opens.flights, s.sends.flights, s.claims.flights, s.finishes.flights = 1<<20, 1<<20, 1<<20, 1<<20
}

// Gathered is how many ends of turns wait for a flight.
func (s *Store) Gathered() int {
	s.finishes.mu.Lock()
	defer s.finishes.mu.Unlock()
	return len(s.finishes.waiting)
}

// HoldSweep takes the sweep's lock as a sweep does, and then does nothing.
func (s *Store) HoldSweep(ctx context.Context) (*pgxpool.Conn, error) {
	conn, err := s.sweeps.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, "begin"); err != nil {
		return nil, err
	}
	_, err = conn.Exec(ctx, sweepLockSQL, int64(sweepLock), strconv.FormatInt(s.config.Timing.IdleTx.Milliseconds(), 10))
	return conn, err
}

// Statements are all SQL of the package by the name of the constant.
func Statements() map[string]string {
	all := map[string]string{
		"agesSQL": agesSQL, "appendSQL": appendSQL, "beforeSQL": beforeSQL, "forkSQL": forkSQL, "forkedSQL": forkedSQL, "forgetSQL": forgetSQL, "rememberedSQL": rememberedSQL, "turnSQL": turnSQL,
		"anewSQL": anewSQL, "askSQL": askSQL, "backoffSQL": backoffSQL, "beatSQL": beatSQL, "claimSQL": claimSQL,
		"commitSQL": commitSQL, "createSQL": createSQL, "createdSQL": createdSQL, "deleteSQL": deleteSQL, "dispatchedSQL": dispatchedSQL,
		"endSQL": endSQL, "failSQL": failSQL, "finishSQL": finishSQL, "forgetWorkersSQL": forgetWorkersSQL, "findSQL": findSQL, "queueSQL": queueSQL, "getSQL": getSQL,
		"historySQL": historySQL, "interruptedSQL": interruptedSQL, "landedSQL": landedSQL, "openSQL": openSQL, "pendingSQL": pendingSQL, "restSQL": restSQL, "unclaimedSQL": unclaimedSQL,
		"lockRowSQL": lockRowSQL, "lockSQL": lockSQL,
		"loseSQL": loseSQL, "ownedSQL": ownedSQL, "parkSQL": parkSQL, "pruneSQL": pruneSQL, "recoverSQL": recoverSQL,
		"registerSQL": registerSQL, "releaseSQL": releaseSQL, "retrySQL": retrySQL, "schemaSQL": schemaSQL, "sendSQL": sendSQL,
		"snapshotSQL": snapshotSQL, "staleSQL": staleSQL, "agedSQL": agedSQL, "sweptSQL": sweptSQL, "sweepLockSQL": sweepLockSQL,
		"targetSQL": targetSQL, "truncateSQL": truncateSQL, "updateSQL": updateSQL, "undispatchedSQL": undispatchedSQL, "unownedListSQL": unownedListSQL, "unownedSQL": unownedSQL, "unregisterSQL": unregisterSQL,
		"workersSQL": workersSQL, "yieldSQL": yieldSQL,
	}
	for name, sql := range all {
		all[name] = number(sql).sql
	}
	for _, status := range append(chat.Statuses(), "") {
		for _, tenant := range []string{"", "t"} {
			f := chat.Filter{Status: status, Tenant: tenant, Before: 5}
			all["listSQL "+string(status)+" "+tenant] = number(listSQL(f)).sql
		}
	}
	return all
}

// Group is a group of calls for tests.
type Group struct{ group[*Call] }

// Call is a call that a test groups.
type Call struct{ Chat chat.ID }

func (c *Call) chat() chat.ID { return c.Chat }

// NewGroup makes a group with one flight.
func NewGroup(carry func(ctx context.Context, calls []*Call) error) *Group {
	return &Group{group[*Call]{carry: carry, flights: 1, limit: time.Minute}}
}

// Do carries out a call.
func (g *Group) Do(ctx context.Context, c *Call) error { return g.do(ctx, c) }

// SessionSettings are those of a store's connections.
func SessionSettings() map[string]string {
	settings := map[string]string{}
	Config{}.withDefaults().session("test", settings)
	for name := range settings {
		if strings.HasPrefix(name, "tcp") {
			delete(settings, name)
		}
	}
	return settings
}

// SetFlights says how many flights there are.
func (g *Group) SetFlights(n int) { g.flights = n }

// Recent is what a store remembers of histories.
type Recent struct{ *recent }

// NewRecent makes one that remembers nothing yet.
func NewRecent(limit int) *Recent { return &Recent{newRecent(limit)} }

// Keep remembers messages without content; each counts size.
func (r *Recent) Keep(id chat.ID, messages []int32, size int) {
	for i := range messages {
		messages[i] = int32(size)
	}
	r.keep(past{chat: id, messages: make([]chat.Message, len(messages)), sizes: messages})
}

// Size is how much is kept, of how many chats.
func (r *Recent) Size() (bytes, chats int) { return r.bytes, r.order.Len() }
