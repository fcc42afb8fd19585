package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"processor/internal/chat"
	"processor/internal/measure"
)

// databaseClock is how far the database's clock is ahead of this machine's, and how wrong that may be.
type databaseClock struct{ ahead, within time.Duration }

// clockTries is how often the clock is read. The reading that took least is the best one.
const clockTries = 20

// databaseClock compares the clocks. That of a database of the rig's own is this machine's; of another one it is taken for the same unless more
// than the time of a round trip lies between them.
func (r *rig) databaseClock(ctx context.Context) (databaseClock, error) {
	var best databaseClock
	if r.own {
		return best, nil
	}
	for i := range clockTries {
		var there time.Time
		begin := time.Now()
		if err := r.conn.QueryRow(ctx, `select clock_timestamp()`).Scan(&there); err != nil {
			return best, fmt.Errorf("ask PostgreSQL for the time: %w", err)
		}
		within := time.Since(begin) / 2
		if i == 0 || within < best.within {
			best = databaseClock{there.Sub(begin.Add(within)), within}
		}
	}
	if best.ahead.Abs() <= best.within {
		return databaseClock{}, nil
	}
	return best, nil
}

// here is a time of the database's clock by this machine's.
func (c databaseClock) here(at time.Time) time.Time { return at.Add(-c.ahead) }

// about is what a reader has to know of it.
func (c databaseClock) about() string {
	if c.within == 0 {
		return ""
	}
	return fmt.Sprintf("; PostgreSQL's clock is ahead of this machine's by %s, within %s, which is taken off", measure.Short(c.ahead), measure.Short(c.within))
}

// committed is when each user message of the chats was, by its id. Nothing updates a message, so its row is as the transaction that sent it left it.
// A database that does not tell says why in untold, and what there is to do.
func (r *rig) committed(ctx context.Context, chats []chat.ID) (at map[int64]time.Time, untold string, err error) {
	const allowed = `select current_setting('track_commit_timestamp')::boolean, case when has_schema_privilege('processor', 'usage') then
		has_table_privilege('processor.chats', 'select') and has_table_privilege('processor.messages', 'select') and
		has_function_privilege('pg_xact_commit_timestamp(xid)', 'execute') else false end`
	var tracked, may bool
	if err := r.conn.QueryRow(ctx, allowed).Scan(&tracked, &may); err != nil {
		return nil, "", fmt.Errorf("ask PostgreSQL whether it tells the times of commits: %w", err)
	}
	switch {
	case !tracked:
		return nil, "PostgreSQL keeps no times of commits; `alter system set track_commit_timestamp = on` and a restart of it turn that on", nil
	case !may:
		return nil, "the role of --database-url may not read the times of commits; it needs select on processor.chats and processor.messages, and execute on " +
			"pg_xact_commit_timestamp", nil
	}
	const query = `select m.id, pg_xact_commit_timestamp(m.xmin) from processor.chats c join processor.messages m on m.chat = c.number
		where c.id = any($1::text[]) and m.role = 'user'`
	rows, err := r.conn.Query(ctx, query, chats)
	if err != nil {
		return nil, "", fmt.Errorf("ask PostgreSQL for the times of commits: %w", err)
	}
	at = map[int64]time.Time{}
	var id int64
	var t time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &t}, func() error {
		at[id] = t
		return nil
	})
	if err != nil {
		return nil, "", fmt.Errorf("ask PostgreSQL for the times of commits: %w", err)
	}
	return at, "", nil
}
