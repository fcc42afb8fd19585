package localtest_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"

	"processor/internal/local/localtest"
)

var suite = localtest.New(migrate)

func TestMain(m *testing.M) { suite.Main(m) }

func migrate(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, `create table notes (body text)`)
	return err
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func TestEachTestHasAMigratedDatabaseOfItsOwn(t *testing.T) {
	t.Parallel()
	for i := range 4 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			conn := connect(t, suite.Postgres(t))
			if _, err := conn.Exec(t.Context(), `insert into notes values ('mine')`); err != nil {
				t.Fatal(err)
			}
			var count int
			if err := conn.QueryRow(t.Context(), `select count(*) from notes`).Scan(&count); err != nil {
				t.Fatal(err)
			}
			if count != 1 {
				t.Errorf("%d notes, want the test's own one", count)
			}
		})
	}
}

//nolint:tparallel // the parent looks at what its subtest left, when it has ended
func TestADatabaseIsDroppedWithItsTestEvenWhenInUse(t *testing.T) {
	t.Parallel()
	var url string
	t.Run("user", func(t *testing.T) {
		url = suite.Postgres(t)
		if _, err := pgx.Connect(t.Context(), url); err != nil { // never closed
			t.Fatal(err)
		}
	})
	if _, err := pgx.Connect(t.Context(), url); err == nil {
		t.Error("the database is still there")
	}
}

func TestOwnPostgresSurvivesACrash(t *testing.T) {
	t.Parallel()
	pg := suite.OwnPostgres(t)
	if _, err := connect(t, pg.URL()).Exec(t.Context(), `insert into notes values ('kept')`); err != nil {
		t.Fatal(err)
	}
	if err := pg.Restart(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	var count int
	if err := connect(t, pg.URL()).QueryRow(t.Context(), `select count(*) from notes`).Scan(&count); err != nil {
		t.Fatal(err)
	}
	if count != 1 {
		t.Errorf("%d notes after the crash, want the committed one", count)
	}
}

func TestNATSServersAreSeparate(t *testing.T) {
	t.Parallel()
	one, two := localtest.NATS(t), localtest.NATS(t)
	if one.URL() == two.URL() {
		t.Fatalf("both listen on %s", one.URL())
	}
	for _, server := range []string{one.URL(), two.URL()} {
		conn, err := nats.Connect(server)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
}
