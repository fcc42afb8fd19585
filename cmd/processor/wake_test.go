package main

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"processor/internal/chat"
	"processor/internal/chat/chattest"
	"processor/internal/store"
	"processor/internal/sweeper"
)

// Each way in which a chat becomes runnable, or has to stop, is found without anybody looking again: every poll is an hour away.
func TestEveryChangeWakesWhoHasToAct(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	a := d.inside("a", inside{timing: parked()})
	held := func(id chat.ID, text string) {
		t.Helper()
		d.post(a.service, id, text+" #hold=1", "")
		d.held(string(id))
		d.await("the replica has the first word", func() bool { p, _ := a.processor.PartialOf(id); return p.Seq > 0 })
	}
	for _, one := range []struct {
		id   chat.ID
		do   func(id chat.ID)
		want []string
	}{
		{"send", func(id chat.ID) { d.post(a.service, id, "a b", "") }, []string{"user: a b", "assistant stop: a b"}},
		{"queue", func(id chat.ID) {
			held(id, "one")
			d.post(a.service, id, "two", "")
			d.provider.Gate(string(id)).Open()
		}, []string{"user: one #hold=1", "assistant stop: one #hold=1", "user: two", "assistant stop: two"}},
		{"interrupt", func(id chat.ID) {
			held(id, "one")
			if _, err := a.service.Interrupt(d.ctx, chat.InterruptRequest{Chat: id}); err != nil {
				t.Fatal(err)
			}
		}, []string{"user: one #hold=1", "assistant interrupted: one"}},
		{"interrupting-send", func(id chat.ID) {
			held(id, "one")
			text := "two"
			if _, err := a.service.Send(d.ctx, chat.SendRequest{Chat: id, Text: &text, Busy: chat.BusyInterrupt}); err != nil {
				t.Fatal(err)
			}
		}, []string{"user: one #hold=1", "assistant interrupted: one", "user: two", "assistant stop: two"}},
		{"retry", func(id chat.ID) {
			d.post(a.service, id, "#status=401 #times=1 on", "")
			d.answered(id)
			if _, err := a.service.Retry(d.ctx, chat.ChatRequest{Chat: id}); err != nil {
				t.Fatal(err)
			}
		}, []string{"user: #status=401 #times=1 on", "assistant stop: #status=401 #times=1 on"}},
	} {
		start := time.Now()
		one.do(one.id)
		if diff := cmp.Diff(one.want, says(d.answered(one.id))); diff != "" {
			t.Errorf("%s: %s", one.id, diff)
		}
		t.Logf("%s: done after %s", one.id, time.Since(start))
	}
	d.atRest()
	if n := a.metric("redispatches_total", ""); n != 0 {
		t.Errorf("the sweeper dispatched %g chats", n)
	}
}

func TestADeleteStopsTheModelAtOnce(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	a := d.inside("a", inside{timing: parked()})
	d.post(a.service, "c", "one two #hold=1", "")
	d.held("c")
	start := time.Now()
	if _, err := a.service.Delete(d.ctx, chat.ChatRequest{Chat: "c"}); err != nil {
		t.Fatal(err)
	}
	d.await("the model's stream ends", func() bool { return d.provider.Open() == 0 })
	d.await("the run ends", func() bool { running, _, _ := a.processor.Load(); return running == 0 })
	t.Logf("the model was stopped after %s", time.Since(start))
	if !a.logged("run dropped") || !a.logged("chat deleted") {
		t.Error("the run was not dropped because its chat was deleted")
	}
}

func TestAYieldWakesAnotherReplica(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	timing := parked()
	timing.Drain = 0
	a := d.inside("a", inside{timing: timing})
	d.post(a.service, "c", "one two #hold=1", "")
	d.held("c")
	b := d.inside("b", inside{timing: timing})
	start := time.Now()
	a.stop()
	d.held("c")
	t.Logf("called again %s after the signal", time.Since(start))
	d.provider.Gate("c").Open()
	d.answered("c")
	d.atRest()
	if n := a.metric("yields_total", "shutdown"); n != 1 {
		t.Errorf("%g chats were yielded", n)
	}
	if n := b.metric("redispatches_total", ""); n != 0 {
		t.Errorf("the sweeper dispatched %g chats", n)
	}
}

// The publish that follows a commit is lost every time.
func TestTheSweeperAnswersForEveryLostDispatch(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	a := d.inside("a", inside{timing: brisk(), change: silence})
	const chats = 20
	start := time.Now()
	for i := range chats {
		d.post(a.service, chat.ID(fmt.Sprint("c", i)), "one", "")
	}
	d.finished()
	t.Logf("answered after %s", time.Since(start))
	if rows := d.atRest(); finals(rows, chat.Stop) != chats {
		t.Errorf("%d of %d chats are answered", finals(rows, chat.Stop), chats)
	}
	if n := a.metric("redispatches_total", ""); n < chats {
		t.Errorf("the sweeper dispatched %g of %d chats", n, chats)
	}
}

func TestTheSweeperAnswersForALostDispatchOfAYield(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	proxy, through := d.proxy(d.natsURL)
	timing := brisk()
	timing.Drain = 0
	a := d.inside("a", inside{timing: timing, nats: through})
	d.post(a.service, "c", "one two #hold=1", "")
	d.held("c")
	b := d.inside("b", inside{timing: timing})
	lost := proxy.CutRequest(func(request []byte) bool { return strings.Contains(string(request), "PUB chats.resume.c ") })
	start := time.Now()
	a.stop()
	d.fired(lost)
	d.held("c")
	t.Logf("called again %s after the signal", time.Since(start))
	d.provider.Gate("c").Open()
	d.answered("c")
	d.atRest()
	// It may be dispatched for nothing once more, when it is claimed between the sweep that found it due and the look into the stream.
	if n := b.metric("redispatches_total", ""); n < 1 || len(d.calls("c")) != 2 {
		t.Errorf("the sweeper dispatched %g chats, and the model was called %d times", n, len(d.calls("c")))
	}
}

func TestALongHealthyBacklogIsNotPublishedAgain(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	const chats = 100
	timing := brisk()
	timing.RedispatchAfter, timing.RedispatchMax = time.Second, 2*time.Second
	a := d.inside("a", inside{timing: timing, slots: 1})
	sweeps := func() float64 { return a.metric("sweeps_total", "done") }
	d.post(a.service, "first", "one #hold=1", "")
	d.held("first")
	// On a slow machine the first one may have been due before it was claimed. A pass that saw it so has ended when the second one after it has begun.
	swept := sweeps()
	d.await("two more sweeps", func() bool { return sweeps() >= swept+2 })
	start, published, redispatched := time.Now(), d.published(), a.metric("redispatches_total", "")
	for i := range chats {
		d.post(a.service, chat.ID(fmt.Sprint("c", i)), "one", "")
	}
	d.await("every send has rung", func() bool { return d.published() >= published+chats }) // a ring asks for no ack
	before := d.published()
	swept = sweeps()
	d.await("every dispatch was due and looked for, more than once", func() bool {
		f, err := d.store.Doctor(d.ctx)
		d.must(err)
		return f.OldestPending > 2*timing.RedispatchMax+timing.RedispatchAfter && sweeps() >= swept+20
	})
	t.Logf("the backlog is %s old after %g sweeps", time.Since(start), sweeps()-swept)
	if after := d.published(); before != published+chats || after != before {
		t.Errorf("the stream got %d dispatches for %d sends, and %d more later", before-published, chats, after-before)
	}
	if n := a.metric("redispatches_total", ""); n != redispatched {
		t.Errorf("the sweeper dispatched %g chats", n-redispatched)
	}
	// From here on a chat may be claimed between the sweep that found it due and the look into the stream; its dispatch is then published for nothing.
	d.provider.Gate("first").Open()
	if rows := d.atRest(); finals(rows, chat.Stop) != chats+1 {
		t.Errorf("%d of %d chats are answered", finals(rows, chat.Stop), chats+1)
	}
	if n := d.provider.Count(); n != chats+1 {
		t.Errorf("%d turns were called %d times", chats+1, n)
	}
}

// NATS lost its store while no replica was there. What had waited for long would not be looked for within the hour.
func TestWhatWaitedThroughAWipeWithoutAReplicaIsDispatched(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.unheard("c", "one")
	d.must(d.store.Dispatched(d.ctx, nil, []chat.Number{d.get("c").Number}, time.Hour, time.Hour))
	a := d.inside("a", inside{timing: brisk()})
	d.answered("c")
	d.atRest()
	if n := a.metric("redispatches_total", ""); n < 1 || len(d.calls("c")) != 1 { // more than once when it is claimed late
		t.Errorf("the sweeper dispatched %g chats, and the model was called %d times", n, len(d.calls("c")))
	}
}

// A pending chat whose message was not found is one thing; not to know is another.
func TestAnUnknownAnswerOfNATSPublishesNothing(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	proxy, through := d.proxy(d.natsURL)
	a := d.inside("a", inside{timing: parked(), slots: 1, nats: through, change: silence})
	s, log := d.sweeper(a)
	d.post(a.service, "c", "one", "")
	d.due()
	lost := proxy.CutReply(func(request []byte) bool {
		return strings.Contains(string(request), "$JS.API.STREAM.MSG.GET.CHATS")
	}, nil)
	d.await("a sweep fails to find out", func() bool { // while the replica's own one holds the lock a sweep does nothing
		d.must(s.RunOnce(d.ctx))
		return strings.Contains(log.String(), "look for dispatches")
	})
	d.fired(lost)
	if n := d.published(); n != 0 {
		t.Errorf("%d dispatches were published", n)
	}
	d.await("the connection is back", a.bus.Connected)
	d.await("a sweep dispatches", func() bool { d.must(s.RunOnce(d.ctx)); return strings.Contains(log.String(), "dispatched again") })
	d.answered("c")
	d.atRest()
	if n := d.published(); n != 1 {
		t.Errorf("%d dispatches were published", n)
	}
}

// Four sweepers that never wait for one another, over dead workers' chats and over lost dispatches.
func TestSweepersAtOnceRecoverEachChatOnce(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	const chats = 10
	victim := d.start("victim")
	for i := range chats {
		d.post(d.service(), chat.ID(fmt.Sprint("c", i)), "one two #hold=1 #gate=all", "")
		d.held("all")
	}
	a := d.inside("a", inside{timing: parked()})
	victim.kill()
	d.provider.Gate("all").Open()
	start := time.Now()
	logs := make([]*logBuffer, 4)
	var all sync.WaitGroup
	for i := range logs {
		var s *sweeper.Sweeper
		s, logs[i] = d.sweeper(a)
		all.Go(func() {
			for !settled(d) {
				if err := s.RunOnce(d.ctx); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	t.Logf("all answered %s after the kill", time.Since(start))
	rows := d.atRest()
	if n := finals(rows, chat.Stop); n != chats {
		t.Errorf("%d of %d chats are answered", n, chats)
	}
	var joined strings.Builder
	for _, l := range logs {
		joined.WriteString(l.String())
	}
	if n := strings.Count(joined.String(), "msg=recovered "); n != chats {
		t.Errorf("%d chats were recovered %d times:\n%s", chats, n, joined.String())
	}
	if n := strings.Count(joined.String(), `msg="worker lost"`); n != 1 {
		t.Errorf("one worker was declared lost %d times", n)
	}
	for _, c := range rows.Chats {
		if calls := d.calls(c.Chat.ID); len(calls) != 2 {
			t.Errorf("chat %s was called %d times", c.Chat.ID, len(calls))
		}
	}
}

// settled says whether no chat is pending or running.
func settled(d *deployment) bool {
	f, err := d.store.Doctor(d.ctx)
	return err == nil && f.Counts[chat.Pending]+f.Counts[chat.Running] == 0
}

// sweeper is one more sweeper beside the replica's own, which the test runs when it likes. It has taken note of the stream.
func (d *deployment) sweeper(i *insider) (*sweeper.Sweeper, *logBuffer) {
	d.t.Helper()
	log := &logBuffer{}
	st, err := store.Open(d.ctx, store.Config{URL: d.database, Name: "sweeper"})
	d.must(err)
	d.t.Cleanup(st.Close)
	s := sweeper.New(st, sweeperBus{i.bus}, sweeper.Config{
		Timing: chat.DefaultTiming(), Logger: logTo(log), MayJudge: func() bool { return false }, Self: func() chat.WorkerID { return "" }, Release: st.Release,
	})
	d.must(s.RunOnce(d.ctx))
	return s, log
}

// finals counts the messages that ended a turn in one way.
func finals(rows chattest.Rows, finish chat.Finish) (n int) {
	for _, m := range rows.Messages {
		if m.Message.Finish == finish {
			n++
		}
	}
	return n
}

// due makes every pending chat's dispatch due to be looked for.
func (d *deployment) due() {
	d.t.Helper()
	d.must(d.store.Anew(d.ctx))
}
