package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// SchemaState compares the database's schema with the one that this program knows.
type SchemaState struct {
	// Applied is the version of the last migration in the database, zero for none; Known that of the last one in this program.
	Applied int64 `json:"applied"`
	Known   int64 `json:"known"`
	// Minimum is the oldest version whose programs the database's schema still serves.
	Minimum int64 `json:"minimum"`
}

// The two schemas that a replica refuses.
var (
	ErrSchemaBehind = errors.New("the database's schema is behind this program: run processor migrate")
	ErrSchemaTooNew = errors.New("the database's schema no longer serves a program this old: run a newer processor")
)

// Err is nil when this program may run against the schema: it is the same one, or a newer one that still serves it.
func (s SchemaState) Err() error {
	switch {
	case s.Applied < s.Known:
		return fmt.Errorf("%w (it is at version %d of %d)", ErrSchemaBehind, s.Applied, s.Known)
	case s.Minimum > s.Known:
		return fmt.Errorf("%w (it serves versions from %d on, this one is %d)", ErrSchemaTooNew, s.Minimum, s.Known)
	}
	return nil
}

// Current says that there is nothing to migrate.
func (s SchemaState) Current() bool { return s.Applied >= s.Known }

const schemaSQL = `
select coalesce((select max(g.version_id) from processor.goose_db_version g where g.is_applied), 0),
  coalesce((select max(c.minimum) from processor.compatibility c), 0)`

// Check reads the state of the schema. Its error says that it could not be read; whether it will do is SchemaState.Err.
func (s *Store) Check(ctx context.Context) (SchemaState, error) {
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	return readState(ctx, s.pool)
}

// CheckURL is Check for a command that has no store.
func CheckURL(ctx context.Context, url string) (SchemaState, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return SchemaState{}, fmt.Errorf("connect to the database: %w", err)
	}
	defer conn.Close(ctx)
	return readState(ctx, conn)
}

type queryer interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func readState(ctx context.Context, db queryer) (SchemaState, error) {
	state := SchemaState{Known: known()}
	err := db.QueryRow(ctx, schemaSQL).Scan(&state.Applied, &state.Minimum)
	if err != nil && meaning(err) != noSchema {
		return SchemaState{}, wrap("read the schema's version", err)
	}
	return state, nil
}

// known is the version of the newest embedded migration: the number that its file's name starts with.
func known() int64 {
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		panic("the pattern of the migrations: " + err.Error())
	}
	var newest int64
	for _, file := range files {
		number, _, _ := strings.Cut(path.Base(file), "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			panic("a migration without a number: " + file)
		}
		newest = max(newest, version)
	}
	return newest
}
