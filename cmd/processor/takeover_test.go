package main

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"processor/internal/chat"
	"processor/internal/chat/llm/llmtest"
)

func TestAMessageIsAnswered(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.start("a")
	d.send("c", "one two three")
	want := []string{"user: one two three", "assistant stop: one two three"}
	if diff := cmp.Diff(want, says(d.answered("c"))); diff != "" {
		t.Fatal(diff)
	}
}

func TestAKilledReplicasChatIsAnsweredOnceByAnother(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.start("a")
	d.start("b")
	w := d.watch(d.create("c").ID)
	d.send("c", "#tokens=40 #hold=20")
	first := d.held("c")
	w.until("some of the answer", func(seen []chat.Event) bool { return has(seen, chat.DeltaEvent) })
	victim := d.owner("c")
	victim.kill()
	second := d.held("c")
	d.provider.Gate("c").Open()

	messages := d.answered("c")
	if len(messages) != 2 || messages[1].Finish != chat.Stop || len(strings.Fields(messages[1].Text())) != 40 {
		t.Fatalf("the history is %v", says(messages))
	}
	if first.ID == second.ID {
		t.Errorf("both calls were made as %s", first.ID)
	}
	if row := d.get("c"); row.Recoveries != 0 || row.Takeovers != 0 {
		t.Errorf("a finished turn has recoveries=%d takeovers=%d", row.Recoveries, row.Takeovers)
	}
	seen := w.until("the whole answer", func(seen []chat.Event) bool { return len(answers(seen)) == 1 && rests(seen) })
	if !has(seen, chat.VoidEvent) {
		t.Errorf("the watcher was not told that the partial is void: %s", describeEvents(seen))
	}
	d.sameTranscript(seen)
	if log := d.logs(); !strings.Contains(log, "cause=gone") {
		t.Errorf("the owner was not found by the probe:\n%s", log)
	}
	t.Logf("called again %s after the kill", second.At.Sub(first.At))
}

// TestRecoverStaleChatsPeriodically orphans a chat long after the only replica has started, in each of the ways in which an owner is
// found lost. A recovery that ran at start alone would leave it running for ever.
func TestRecoverStaleChatsPeriodically(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		cause chat.LostCause
		// lose makes the owner look dead; nothing is needed for one that no process serves.
		lose func(d *deployment, owner chat.WorkerID)
	}{
		{cause: chat.LostGone, lose: func(*deployment, chat.WorkerID) {}},
		{cause: chat.LostAge, lose: answering},
		{cause: chat.LostRow, lose: func(d *deployment, owner chat.WorkerID) { d.must(d.store.Unregister(d.ctx, owner)) }},
	} {
		t.Run(string(test.cause), func(t *testing.T) {
			t.Parallel()
			d := deploy(t)
			p := d.startHTTP("a", "--lost-after", "5s")
			start := p.sweeps()
			d.await("a few sweeps", func() bool { return p.sweeps() > start+3 })
			owner := d.ghost("ghost")
			claimed := d.orphan("c", owner, "still there?")
			test.lose(d, owner)

			want := []string{"user: still there?", "assistant stop: still there?"}
			if diff := cmp.Diff(want, says(d.answered("c"))); diff != "" {
				t.Fatal(diff)
			}
			p.says("msg=recovered", "chat=c", "worker=ghost", "cause="+string(test.cause))
			if n := p.metric(`processor_takeovers_total{cause="` + string(test.cause) + `"}`); n != 1 {
				t.Errorf("%v takeovers for the cause %s", n, test.cause)
			}
			call := d.calls("c")[0]
			t.Logf("called %s after the claim that was orphaned", call.At.Sub(*claimed.Chat.ClaimedAt))
		})
	}
}

// answering serves a worker's control subject, as a frozen process does that still holds its connection: probes prove nothing.
func answering(d *deployment, owner chat.WorkerID) {
	ctx, cancel := context.WithCancel(d.ctx)
	done := make(chan error, 1)
	go func() { done <- d.client.Serve(ctx, owner, nobody{}, nil) }()
	d.t.Cleanup(func() { cancel(); <-done })
}

// nobody runs nothing.
type nobody struct{}

func (nobody) Look(context.Context, chat.ID) {}

func (nobody) PartialOf(chat.ID) (chat.Partial, bool) { return chat.Partial{}, false }

func TestNewReplicaRecoversStaleChatFromDeadReplica(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	old := d.start("old")
	d.send("c", "#tokens=10 #hold=5")
	first := d.held("c")
	old.kill()
	if c := d.get("c"); c.Status != chat.Running {
		t.Fatalf("nobody was there, and yet the chat is %s", c.Status)
	}

	started := time.Now()
	fresh := d.start("fresh")
	second := d.held("c")
	d.provider.Gate("c").Open()
	messages := d.answered("c")
	if len(messages) != 2 || messages[1].Finish != chat.Stop {
		t.Fatalf("the history is %v", says(messages))
	}
	if first.ID == second.ID {
		t.Errorf("both calls were made as %s", first.ID)
	}
	fresh.says("msg=recovered", "chat=c", "cause=gone")
	t.Logf("called again %s after the start of the new replica", second.At.Sub(started))
}

// TestWaitingChatsAreNotRecoveredAsStale keeps I7: their last owner was killed, and still no sweep touches them.
func TestWaitingChatsAreNotRecoveredAsStale(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	old := d.start("old")
	d.create("empty")
	d.sendAll(map[chat.ID]string{"waiting": "hello", "parked": "#status=400", "interrupted": "#tokens=9 #hold=3"})
	d.held("interrupted")
	d.interrupt("interrupted", 0)
	d.finished()
	want := map[chat.ID]chat.Status{"empty": chat.Waiting, "waiting": chat.Waiting, "parked": chat.Parked, "interrupted": chat.Waiting}
	for id, status := range want {
		if c := d.get(id); c.Status != status {
			t.Fatalf("chat %s is %s, not %s", id, c.Status, status)
		}
	}
	before := d.rows()

	fresh := d.startHTTP("fresh")
	d.orphan("beacon", d.ghost("ghost"), "proves that recovery works")
	old.kill()
	fresh.says("worker lost", "cause=gone")
	d.answered("beacon")
	start := fresh.sweeps()
	d.await("many sweeps", func() bool { return fresh.sweeps() >= start+10 })
	after := d.rows()
	for id := range want {
		if diff := cmp.Diff(before[id], after[id]); diff != "" {
			t.Errorf("chat %s was changed: %s", id, diff)
		}
	}
	t.Logf("%v sweeps left them alone", fresh.sweeps())
}

// rows are all chats as the database has them, with their messages.
func (d *deployment) rows() map[chat.ID]string {
	d.t.Helper()
	const everything = `
select c.id, to_jsonb(c)::text || coalesce((select jsonb_agg(to_jsonb(m) order by m.id)::text from processor.messages m where m.chat = c.number), '')
from processor.chats c`
	rows, err := d.connect().Query(d.ctx, everything)
	d.must(err)
	all := map[chat.ID]string{}
	var id chat.ID
	var row string
	_, err = pgx.ForEachRow(rows, []any{&id, &row}, func() error { all[id] = row; return nil })
	d.must(err)
	return all
}

// TestTheChatsOfAKilledReplicaComeBeforeABacklog kills the owner of 50 chats while 1,000 new ones wait.
func TestTheChatsOfAKilledReplicaComeBeforeABacklog(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	victim := d.start("victim", "--slots", "50")
	begun, fresh := numbered("begun", 50), numbered("fresh", 1000)
	d.sendAll(same(begun, "#tokens=4 #hold=2 #gate=begun"))
	for range begun {
		d.held("begun")
	}
	d.start("other", "--slots", "10")
	d.sendAll(same(numbered("filler", 10), "#tokens=4 #hold=2 #gate=filler"))
	for range 10 {
		d.held("filler")
	}
	d.sendAll(same(fresh, "new"))
	before := d.provider.Count()
	if before != 60 {
		t.Fatalf("there were %d calls, and should be no room for more than 60", before)
	}

	victim.kill()
	killed := time.Now()
	d.await("all chats of the killed replica are taken back", func() bool { return len(d.chats(chat.Running)) == 10 })
	taken := time.Since(killed)
	d.await("all of them are dispatched", func() bool { return d.dispatchedAll(begun) }) // which comes after the commit
	d.provider.Gate("begun").Open()
	d.provider.Gate("filler").Open()
	d.finished()

	calls := d.provider.Calls()[before:]
	last := lastCall(calls, "begun-")
	// Whoever runs ten at a time makes the calls of ten claims in any order.
	if last >= len(begun)+10 {
		t.Errorf("a chat of the killed replica was called after %d new ones", last+1-len(begun))
	}
	if len(calls) != len(begun)+len(fresh) {
		t.Errorf("there were %d calls after the kill, for %d chats", len(calls), len(begun)+len(fresh))
	}
	for _, id := range begun {
		if messages := d.history(id); len(messages) != 2 || messages[1].Text() != "w0 w1 w2 w3 " {
			t.Errorf("chat %s has %v", id, says(messages))
		}
	}
	if waiting := len(d.chats(chat.Waiting)); waiting != 1060 {
		t.Errorf("%d of 1060 chats are answered", waiting)
	}
	t.Logf("taken back %s after the kill; the last of the 50 called %s after it", taken, calls[last].At.Sub(killed))
}

// lastCall is the place of the last call for a chat of that name.
func lastCall(calls []llmtest.Call, name string) int {
	for i, c := range slices.Backward(calls) {
		if strings.HasPrefix(c.Chat(), name) {
			return i
		}
	}
	return -1
}

// TestAStormOfDispatchesIsOneClaim rings for one chat from twenty sides while three replicas listen.
func TestAStormOfDispatchesIsOneClaim(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	replicas := []*process{d.startHTTP("a"), d.startHTTP("b"), d.startHTTP("c")}
	d.unheard("c", "#tokens=6 #hold=3")
	storm := func() {
		var group sync.WaitGroup
		for i := range 20 {
			group.Go(func() {
				for range 20 {
					d.client.Ring("c", i%2 == 0)
				}
			})
		}
		group.Wait()
		d.silent()
	}
	storm()
	d.held("c")
	storm()
	d.provider.Gate("c").Open()
	d.answered("c")
	storm()

	if calls := d.calls("c"); len(calls) != 1 {
		t.Errorf("the model was called %d times", len(calls))
	}
	if c := d.get("c"); c.Epoch != 1 || c.Status != chat.Waiting {
		t.Errorf("the chat is %s in epoch %d", c.Status, c.Epoch)
	}
	var claims, refused float64
	for _, p := range replicas {
		claims += p.metric(`processor_transitions_total{transition="claim"}`)
		refused += p.metric(`processor_transition_errors_total{kind="refused",transition="claim"}`)
	}
	if claims != 1 || refused == 0 {
		t.Errorf("%v claims, %v refused", claims, refused)
	}
	t.Logf("one claim, %v refused", refused)
}

// silent waits until no dispatch is left on the bus.
func (d *deployment) silent() {
	d.t.Helper()
	d.await("no dispatch is left", func() bool {
		s, err := d.client.Stream(d.ctx)
		return err == nil && s.Empty
	})
}
