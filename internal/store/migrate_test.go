package store_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"

	"processor/internal/store"
)

func (s *testStore) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := s.pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

func TestSeveralMigrationsAtOnceAreHarmless(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.exec(t, `drop schema processor cascade`)
	if state, err := s.Check(t.Context()); err != nil || !errors.Is(state.Err(), store.ErrSchemaBehind) {
		t.Errorf("an empty database is %+v, %v", state, err)
	}
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if err := store.Migrate(context.WithoutCancel(t.Context()), s.url, slog.New(slog.DiscardHandler)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	state, err := store.CheckURL(t.Context(), s.url)
	if err != nil || state.Err() != nil || !state.Current() {
		t.Errorf("a migrated database is %+v, %v", state, err)
	}
}

func TestASchemaThatDoesNotServeThisProgramIsRefused(t *testing.T) {
	t.Parallel()
	s := open(t)
	state := func() store.SchemaState {
		state, err := s.Check(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return state
	}
	if err := state().Err(); err != nil {
		t.Errorf("the current schema is refused: %v", err)
	}
	s.exec(t, `insert into processor.goose_db_version (version_id, is_applied) values ($1, true)`, state().Known+7)
	if err := state().Err(); err != nil {
		t.Errorf("a newer compatible schema is refused: %v", err)
	}
	s.exec(t, `update processor.compatibility set minimum = $1`, state().Known+1)
	if err := state().Err(); !errors.Is(err, store.ErrSchemaTooNew) {
		t.Errorf("a schema that is too new: %v", err)
	}
	s.exec(t, `delete from processor.goose_db_version where version_id > 0`)
	if err := state().Err(); !errors.Is(err, store.ErrSchemaBehind) {
		t.Errorf("a schema that is behind: %v", err)
	}
}

func TestAMigrationLeavesANewerSchemaAlone(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.exec(t, `insert into processor.goose_db_version (version_id, is_applied) values (99999, true)`)
	if err := store.Migrate(t.Context(), s.url, slog.New(slog.DiscardHandler)); err != nil {
		t.Errorf("migrate: %v", err)
	}
}
