package main

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"processor/internal/chat"
)

// During a rollout a replica meets schemas that it was not built with.
func TestAReplicaRefusesASchemaThatItCannotServe(t *testing.T) {
	t.Parallel()
	for name, one := range map[string]struct{ change, says string }{
		"none":         {`drop schema processor cascade`, "run processor migrate"},
		"behind":       {`delete from processor.goose_db_version where version_id > 0`, "run processor migrate"},
		"incompatible": {`insert into processor.goose_db_version (version_id, is_applied) values (999, true); update processor.compatibility set minimum = 999`, "run a newer processor"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := deploy(t)
			d.exec(one.change)
			p := d.launch("a", nil)
			if code := p.exited(); code != 1 {
				t.Errorf("exit code %d", code)
			}
			if said := p.log.String(); strings.Count(said, "\n") != 1 || !strings.HasPrefix(said, "processor: ") || !strings.Contains(said, one.says) {
				t.Errorf("it said:\n%s", said)
			}
		})
	}
}

func TestAReplicaServesANewerCompatibleSchema(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.exec(`insert into processor.goose_db_version (version_id, is_applied) values (999, true); alter table processor.chats add column later text`)
	d.start("a")
	d.send("c", "one")
	if n := finals(d.atRest(), chat.Stop); n != 1 {
		t.Errorf("%d answers", n)
	}
}

// exec changes the database behind everybody's back.
func (d *deployment) exec(sql string) {
	d.t.Helper()
	conn, err := pgx.Connect(d.ctx, d.database)
	d.must(err)
	defer conn.Close(d.ctx)
	_, err = conn.Exec(d.ctx, sql)
	d.must(err)
}

func TestFourProcessesMigrateAtOnce(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.exec(`drop schema processor cascade`)
	var all []*program
	for range 4 {
		all = append(all, start(t, t.TempDir(), "migrate", "--database-url", d.database))
	}
	for _, p := range all {
		if code := p.exit(); code != 0 {
			t.Errorf("exit code %d: %s", code, p.err)
		}
	}
	d.start("a")
	d.send("c", "one")
	d.answered("c")
	d.atRest()
}
