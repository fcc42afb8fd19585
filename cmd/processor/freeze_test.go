package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"processor/internal/chat"
	"processor/internal/chat/llm/llmtest"
)

// TestAFrozenReplicaThatWakesIsRefusedAndRegistersAnew freezes the owner of a chat past its lease. When it wakes it finds the rest of its answer
// in the socket, streams it and commits it, before it can learn that it was declared lost: no beat can read the
// table until then.
func TestAFrozenReplicaThatWakesIsRefusedAndRegistersAnew(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.provider.Answer = func(c llmtest.Call) []llmtest.Step {
		gate := "frozen"
		if c.N > 1 {
			gate = "successor"
		}
		return []llmtest.Step{llmtest.Text("a ", "b ", gate), llmtest.Hold(d.provider.Gate(gate)), llmtest.Text(" said by ", gate)}
	}
	quick := []string{"--heartbeat", "200ms", "--suspect-after", "500ms", "--lost-after", "3s"}
	d.start("a", quick...)
	d.start("b", quick...)
	w := d.watch(d.create("c").ID)
	d.send("c", "say something")
	d.held("frozen")
	frozen := d.owner("c")
	lost := frozen.worker().ID
	epoch := d.get("c").Epoch
	w.until("some of the first answer", func(seen []chat.Event) bool { return has(seen, chat.DeltaEvent) })

	frozen.pause()
	paused := time.Now()
	d.held("successor")
	taken := time.Since(paused)
	release := d.lock("lock table processor.workers in access exclusive mode")
	late := d.lateDeltas("c", epoch)
	d.provider.Gate("frozen").Open()
	frozen.resume()
	select {
	case <-late:
	case <-time.After(patience):
		t.Fatal("the frozen replica streamed nothing after it woke, so the test proves nothing")
	}
	frozen.says("refused: the chat has moved on", "transition=finish", "chat=c")
	release()
	frozen.says("declared lost, registering again", "worker="+string(lost))
	d.await("the frozen replica registers again", func() bool { return frozen.worker() != nil && frozen.worker().ID != lost })
	d.provider.Gate("successor").Open()

	messages := d.answered("c")
	if diff := cmp.Diff([]string{"user: say something", "assistant stop: a b successor said by successor"}, says(messages)); diff != "" {
		t.Fatal(diff)
	}
	w.ends(says(messages)...)
	if line := lineWith(d.logs(), "msg=recovered", "chat=c"); !strings.Contains(line, "cause=age") {
		t.Errorf("a frozen process holds its connection, so only its age can give it away, but: %q", line)
	}
	t.Logf("called again %s after the freeze", taken)
}

// lateDeltas is closed when a delta of an epoch is published from now on.
func (d *deployment) lateDeltas(id chat.ID, epoch int64) <-chan struct{} {
	d.t.Helper()
	events, stop, err := d.client.Subscribe(d.ctx, id)
	d.must(err)
	d.t.Cleanup(stop)
	seen := make(chan struct{})
	go func() {
		for e := range events {
			if e.Type == chat.DeltaEvent && e.Epoch == epoch {
				close(seen)
				return
			}
		}
	}()
	return seen
}

// TestAFrozenSweeperDoesNotKeepOthersFromRecovering freezes a replica in the middle of its sweep's transaction: it waits for the row of a dead
// worker that the test has locked.
func TestAFrozenSweeperDoesNotKeepOthersFromRecovering(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	replicas := map[string]*process{"processor a sweep": d.startHTTP("a"), "processor b sweep": d.startHTTP("b")}
	ghost := d.ghost("ghost")
	release := d.lock("select from processor.workers where id = $1 for update", string(ghost))
	d.orphan("c", ghost, "anybody there?")

	conn := d.connect()
	var name string
	d.await("a sweeper waits for the row", func() bool { name = d.stuckSweeper(conn); return name != "" })
	frozen := replicas[name]
	delete(replicas, name)
	frozen.pause()
	paused := time.Now()
	release()

	want := []string{"user: anybody there?", "assistant stop: anybody there?"}
	if diff := cmp.Diff(want, says(d.answered("c"))); diff != "" {
		t.Fatal(diff)
	}
	took := time.Since(paused)
	for _, other := range replicas {
		other.says("msg=recovered", "chat=c", "worker=ghost")
	}
	before := frozen.log.String()
	frozen.resume()
	frozen.says("sweep failed")
	if strings.Contains(before, "msg=recovered") {
		t.Errorf("the frozen replica recovered the chat itself:\n%s", before)
	}
	swept := frozen.sweeps()
	for _, other := range replicas {
		other.kill()
	}
	d.await("the replica that was frozen sweeps again", func() bool { return frozen.sweeps() > swept })
	t.Logf("answered %s after the sweeper was frozen", took)
}

// stuckSweeper is the name of the session that holds the sweep's lock while it waits for another one.
func (d *deployment) stuckSweeper(conn *pgx.Conn) (name string) {
	d.t.Helper()
	const stuck = `
select coalesce(max(a.application_name), '') from pg_locks l join pg_stat_activity a on a.pid = l.pid
where a.datname = current_database() and l.locktype = 'advisory' and l.granted and a.wait_event_type = 'Lock'`
	d.must(conn.QueryRow(d.ctx, stuck).Scan(&name))
	return name
}
