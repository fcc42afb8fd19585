package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	migrationLock = 0x6d696772617465 // "migrate"
	// migrateLimit bounds all migrations together, lockLimit the wait of one for a table in use: all others wait behind it.
	migrateLimit = 30 * time.Minute
	lockLimit    = "10s"
)

// Migrate applies the migrations that the database lacks. Several at once are harmless: one works, the others wait for it under a
// session lock and find nothing to do. The URL must lead to the server itself, not to a pooler that multiplexes connections.
func Migrate(ctx context.Context, url string, logger *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, migrateLimit)
	defer cancel()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return fmt.Errorf("read the database's URL: %w", err)
	}
	config.RuntimeParams["application_name"] = "processor migrate"
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("connect to the database: %w", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, `select pg_advisory_lock($1)`, int64(migrationLock)); err != nil {
		return fmt.Errorf("lock the schema: %w", err)
	}
	if _, err := conn.Exec(ctx, `create schema if not exists processor`); err != nil {
		return fmt.Errorf("create the schema: %w", err)
	}
	return migrate(ctx, config.Copy(), logger)
}

// migrate works on a connection of its own, under the lock of another.
func migrate(ctx context.Context, config *pgx.ConnConfig, logger *slog.Logger) error {
	config.RuntimeParams["lock_timeout"] = lockLimit
	db := stdlib.OpenDB(*config)
	defer db.Close()
	provider, err := newProvider(db)
	if err != nil {
		return err
	}
	results, err := provider.Up(ctx)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	for _, r := range results {
		logger.Info("migration applied", "migration", r.Source.Path, "elapsed", r.Duration)
	}
	return nil
}

func newProvider(db *sql.DB) (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("read the migrations: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithTableName("processor.goose_db_version"))
	if err != nil {
		return nil, fmt.Errorf("read the migrations: %w", err)
	}
	return provider, nil
}
