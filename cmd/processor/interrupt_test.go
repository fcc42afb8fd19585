package main

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"processor/internal/chat"
	"processor/internal/chat/llm/llmtest"
	"processor/internal/local/faultproxy"
)

// noBeat parks the heartbeat, so that only the control subject can tell an owner of an interrupt.
func noBeat() []string {
	return []string{"--heartbeat=5m", "--suspect-after=15m", "--lost-after=60m"}
}

// TestAnInterruptInMidStreamKeepsWhatWasSaid names the control subject as the path: no beat comes in time to tell the owner.
func TestAnInterruptInMidStreamKeepsWhatWasSaid(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.start("a", noBeat()...)
	w := d.watch(d.create("c").ID)
	d.send("c", "#tokens=40 #hold=20")
	d.held("c")
	w.until("what the model said", func(seen []chat.Event) bool { return shown(seen) == counted(20) })
	if row := d.interrupt("c", 1); !row.InterruptRequested() {
		t.Errorf("the reply does not say that turn 1 was asked to stop: %+v", row)
	}
	w.ends("user: #tokens=40 #hold=20", "assistant interrupted: "+counted(20))
	if calls := d.ended("c"); len(calls) != 1 || calls[0].Outcome != llmtest.Left {
		t.Errorf("the model was not told to stop: %v", calls)
	}
}

// TestABeatTellsTheOwnerOfAnInterruptWhoseLookWasLost writes the request and publishes nothing.
func TestABeatTellsTheOwnerOfAnInterruptWhoseLookWasLost(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.start("a")
	w := d.watch(d.create("c").ID)
	d.send("c", "#tokens=40 #hold=20")
	d.held("c")
	w.until("what the model said", func(seen []chat.Event) bool { return shown(seen) == counted(20) })
	_, err := d.store.Interrupt(d.ctx, "c", 0, nil)
	d.must(err)
	w.ends("user: #tokens=40 #hold=20", "assistant interrupted: "+counted(20))
}

func TestAnInterruptBeforeTheFirstTokenEndsTheTurnEmpty(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.start("a", noBeat()...)
	for _, text := range []string{"#silence no header", "#hold=0 a header and no word"} {
		id := chat.ID("c" + text[1:3])
		w := d.watch(d.create(id).ID)
		d.send(id, text)
		d.called(id, 1)
		d.interrupt(id, 0)
		w.ends("user: "+text, "assistant interrupted: ")
		if calls := d.ended(id); len(calls) != 1 || calls[0].Outcome != llmtest.Left {
			t.Errorf("%s: the model was not told to stop: %v", text, calls)
		}
	}
}

func TestAnInterruptLetsQueuedMessagesGoOn(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.start("a")
	w := d.watch(d.create("c").ID)
	d.send("c", "#tokens=40 #hold=5")
	d.held("c")
	w.until("what the model said", func(seen []chat.Event) bool { return shown(seen) == counted(5) })
	for _, text := range []string{"two", "three"} {
		if reply := d.send("c", text); !reply.Queued {
			t.Fatalf("%q was not queued behind the running turn: %+v", text, reply)
		}
	}
	d.interrupt("c", 0)
	w.ends("user: #tokens=40 #hold=5", "assistant interrupted: "+counted(5),
		"user: two", "assistant stop: two", "user: three", "assistant stop: three")
	if epoch := d.get("c").Epoch; epoch != 1 {
		t.Errorf("the turns ran up to epoch %d, the owner should have gone on in epoch 1", epoch)
	}
}

func TestASendThatInterruptsIsAnsweredAfterThoseThatWaited(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.start("a")
	w := d.watch(d.create("c").ID)
	d.send("c", "#tokens=40 #hold=5")
	d.held("c")
	w.until("what the model said", func(seen []chat.Event) bool { return shown(seen) == counted(5) })
	d.send("c", "two")
	now := "now"
	stop := chat.SendRequest{Chat: "c", Text: &now, ClientID: "stop", Busy: chat.BusyInterrupt}
	if reply := call[chat.SendReply](d, "chats.send", stop); !reply.Queued || !reply.Chat.InterruptRequested() {
		t.Errorf("not queued, or the turn was not asked to stop: %+v", reply)
	}
	want := []string{"user: #tokens=40 #hold=5", "assistant interrupted: " + counted(5), "user: two", "assistant stop: two", "user: now", "assistant stop: now"}
	w.ends(want...)

	// The same send again is a repeat: it interrupts nothing.
	d.send("c", "#tokens=8 #hold=4 #gate=later")
	d.held("later")
	if reply := call[chat.SendReply](d, "chats.send", stop); reply.Message.Turn != 3 || reply.Chat.InterruptRequested() {
		t.Errorf("a repeated send did something: %+v", reply)
	}
	d.provider.Gate("later").Open()
	w.ends(append(want, "user: #tokens=8 #hold=4 #gate=later", "assistant stop: "+counted(8))...)
}

// TestAnInterruptThatOvertakesTheCommitStopsTheTurn lets the answer end while the database can't be reached.
func TestAnInterruptThatOvertakesTheCommitStopsTheTurn(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	proxy, database := d.proxy(d.database)
	d.start("a", "--database-url="+database)
	w := d.watch(d.create("c").ID)
	d.send("c", "#tokens=10 #hold=5")
	d.send("c", "two")
	d.held("c")
	proxy.Stall()
	d.provider.Gate("c").Open()
	d.ended("c")
	_, err := d.service().Interrupt(d.ctx, chat.InterruptRequest{Chat: "c", Turn: 1})
	d.must(err)
	d.must(proxy.Heal())
	// The model had said all of it, unless the owner heard of the interrupt before the end.
	said := w.rested("two")
	if len(said) != 4 || !strings.HasPrefix(said[1], "assistant interrupted: "+counted(5)) || said[3] != "assistant stop: two" {
		t.Errorf("the transcript is %q", said)
	}
}

// TestAnInterruptOfATurnWhoseCommitLandedUnheardChangesNothing cuts the reply to the commit, which had opened the next turn.
func TestAnInterruptOfATurnWhoseCommitLandedUnheardChangesNothing(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	proxy, database := d.proxy(d.database)
	d.start("a", "--database-url="+database)
	w := d.watch(d.create("c").ID)
	d.send("c", "#tokens=10 #hold=5")
	d.held("c")
	d.send("c", "#tokens=6 #hold=3 #gate=second")
	// The statement for chats without a queue finds nothing. The batch after it does it, by two statements.
	finishes := func(request []byte) bool {
		return bytes.Contains(request, []byte("w8 w9")) && bytes.Count(request, []byte("stmtcache_")) > 1
	}
	cut := proxy.CutReply(finishes, faultproxy.PostgresDone)
	d.provider.Gate("c").Open()
	<-cut
	before := d.get("c")
	reply, err := d.service().Interrupt(d.ctx, chat.InterruptRequest{Chat: "c", Turn: 1})
	d.must(err)
	if diff := cmp.Diff(before, reply.Chat); diff != "" || before.Turn != 2 {
		t.Errorf("an interrupt of turn 1 changed turn %d: %s", before.Turn, diff)
	}
	d.held("second")
	d.provider.Gate("second").Open()
	w.ends("user: #tokens=10 #hold=5", "assistant stop: "+counted(10), "user: #tokens=6 #hold=3 #gate=second", "assistant stop: "+counted(6))
}

func TestAnInterruptOfATurnThatIsOverChangesNothing(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.start("a")
	w := d.watch(d.create("c").ID)
	unchanged := func(id chat.ID, turn int) {
		t.Helper()
		before := d.get(id)
		if diff := cmp.Diff(before, d.interrupt(id, turn)); diff != "" {
			t.Errorf("an interrupt of turn %d of the %s chat changed it: %s", turn, before.Status, diff)
		}
	}
	unchanged("c", 0)
	d.send("c", "one")
	d.answered("c")
	unchanged("c", 0)
	unchanged("c", 1)
	d.send("c", "#tokens=6 #hold=3")
	d.held("c")
	unchanged("c", 1)
	unchanged("c", 3)
	d.provider.Gate("c").Open()
	w.ends("user: one", "assistant stop: one", "user: #tokens=6 #hold=3", "assistant stop: "+counted(6))

	d.send("c", "#status=401")
	d.answered("c")
	unchanged("c", 0)
	unchanged("c", 3)
}

// TestARepeatedInterruptCannotHitTheNextTurn races many interrupts of the turn against its end.
func TestARepeatedInterruptCannotHitTheNextTurn(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.start("a")
	d.start("b")
	w := d.watch(d.create("c").ID)
	d.send("c", "#tokens=40 #hold=5")
	d.held("c")
	w.until("what the model said", func(seen []chat.Event) bool { return shown(seen) == counted(5) })
	d.send("c", "#tokens=30 #delay=20ms")
	d.send("c", "three")
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range 5 {
				if err := d.client.Call(d.ctx, "chats.interrupt", chat.InterruptRequest{Chat: "c", Turn: 1}, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	w.ends("user: #tokens=40 #hold=5", "assistant interrupted: "+counted(5),
		"user: #tokens=30 #delay=20ms", "assistant stop: "+counted(30), "user: three", "assistant stop: three")
}

func TestAnInterruptEndsABackOffAtOnce(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.start("a", noBeat()...)
	w := d.watch(d.create("c").ID)
	d.send("c", "#status=429 #retry-after=3600")
	w.until("the back-off", func(seen []chat.Event) bool { return has(seen, chat.RetryEvent) })
	d.interrupt("c", 0)
	w.ends("user: #status=429 #retry-after=3600", "assistant interrupted: ")
	if n := len(d.calls("c")); n != 1 {
		t.Errorf("the model was called %d times", n)
	}
}

// TestAnInterruptWhoseOwnerIsDeadIsCompletedByTheNextOwner asks between the kill and the recovery.
func TestAnInterruptWhoseOwnerIsDeadIsCompletedByTheNextOwner(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.start("a")
	w := d.watch(d.create("c").ID)
	saved := d.streamsUntilSaved("c")
	d.start("b")
	d.send("c", "two")
	d.owner("c").kill()
	reply, err := d.service().Interrupt(d.ctx, chat.InterruptRequest{Chat: "c", Turn: 1})
	d.must(err)
	if reply.Chat.Status != chat.Running || !reply.Chat.InterruptRequested() {
		t.Fatalf("the dead owner's chat was recovered before the interrupt: %+v", reply.Chat)
	}
	said := w.rested("two")
	d.keeps(said[1], saved)
	if n := len(d.calls("c")); n != 2 || said[3] != "assistant stop: two" {
		t.Errorf("%d calls, and the transcript is %q", n, said)
	}
	if !strings.Contains(d.logs(), "cause=gone") {
		t.Error("the owner was not found by its probe")
	}
}

// TestAnInterruptOfATakenOverTurnEndsItWithoutAnOwner asks after the recovery, while nobody has a slot for the chat.
func TestAnInterruptOfATakenOverTurnEndsItWithoutAnOwner(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.start("a", "--slots=1")
	w := d.watch(d.create("c").ID)
	saved := d.streamsUntilSaved("c")
	d.start("b", "--slots=1")
	d.send("busy", "#tokens=2 #hold=1")
	d.held("busy")
	d.send("c", "two")
	d.owner("c").kill()
	d.await("chat c is pending again", func() bool { return d.get("c").Status == chat.Pending })
	before := d.get("c")
	after := d.interrupt("c", 1)
	if after.Status != chat.Pending || after.Turn != 2 || after.Epoch != before.Epoch+1 || after.Recoveries != 0 {
		t.Errorf("the turn did not end in an epoch of its own: before %+v, after %+v", before, after)
	}
	said := says(d.history("c"))
	d.keeps(said[1], saved)
	if n := len(d.calls("c")); n != 1 {
		t.Errorf("the model was called %d times for a turn that was over", n)
	}
	d.provider.Gate("busy").Open()
	w.ends(append(said[:3], "assistant stop: two")...)
}

func TestAnInterruptOfAMessageThatNobodyTookEndsItsTurnEmpty(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.start("a", "--slots=1")
	d.send("busy", "#tokens=2 #hold=1")
	d.held("busy")
	w := d.watch(d.create("c").ID)
	d.send("c", "one")
	d.send("c", "#tokens=3")
	if row := d.interrupt("c", 1); row.Status != chat.Pending || row.Turn != 2 || row.Queued != 0 {
		t.Errorf("the queue's head did not open the next turn: %+v", row)
	}
	d.interrupt("c", 1)
	d.provider.Gate("busy").Open()
	w.ends("user: one", "assistant interrupted: ", "user: #tokens=3", "assistant stop: "+counted(3))
	if calls := d.calls("c"); len(calls) != 1 || calls[0].Turn() != "c/2" {
		t.Errorf("the model was asked %v", calls)
	}
}
