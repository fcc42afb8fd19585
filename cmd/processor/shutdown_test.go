package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"processor/internal/chat"
)

// impatient drains for no time at all: a turn that runs is yielded at once.
func impatient() chat.Timing {
	t := chat.DefaultTiming()
	t.Drain = 0
	return t
}

func TestAShutdownInMidStreamHandsTheChatOn(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	a := d.inside("a", inside{timing: impatient()})
	d.post(a.service, "c", "one two #hold=1", "")
	first := d.held("c")
	start := time.Now()
	a.end()
	t.Logf("ended %s after everything was cancelled", time.Since(start))
	row := d.get("c")
	if row.Status != chat.Pending || row.Recoveries != 0 || row.Takeovers != 0 {
		t.Errorf("the chat is %s with recoveries=%d takeovers=%d", row.Status, row.Recoveries, row.Takeovers)
	}
	if !d.dispatched("c") {
		t.Error("the stream has no dispatch of the chat")
	}
	if a.metric("yields_total", "shutdown") != 1 || a.logged("msg=released") {
		t.Errorf("the run did not yield by itself:\n%s", a.log)
	}
	if n := len(d.workers()); n != 0 {
		t.Errorf("%d workers are still registered", n)
	}
	d.inside("b", inside{})
	second := d.held("c")
	d.provider.Gate("c").Open()
	if diff := cmp.Diff([]string{"user: one two #hold=1", "assistant stop: one two #hold=1"}, says(d.answered("c"))); diff != "" {
		t.Error(diff)
	}
	if first.ID == second.ID {
		t.Errorf("both calls were made as %s", first.ID)
	}
	d.atRest()
}

func TestAShutdownLetsARunningTurnFinish(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	a := d.inside("a", inside{})
	d.post(a.service, "c", "one two #hold=1", "")
	d.post(a.service, "c", "three", "")
	d.held("c")
	a.cancel()
	d.await("the replica says that it drains", func() bool { w := d.workers(); return len(w) == 1 && w[0].Draining })
	d.provider.Gate("c").Open()
	a.ended()
	row := d.get("c")
	if row.Status != chat.Pending || row.Turn != 2 || row.Recoveries != 0 {
		t.Errorf("the chat is %s in turn %d with recoveries=%d", row.Status, row.Turn, row.Recoveries)
	}
	want := []string{"user: one two #hold=1", "assistant stop: one two #hold=1", "user: three"}
	if diff := cmp.Diff(want, says(d.history("c"))); diff != "" {
		t.Error(diff)
	}
	if !d.dispatched("c") {
		t.Error("the stream has no dispatch of the chat")
	}
	d.inside("b", inside{})
	d.answered("c")
	d.atRest()
	if calls := d.calls("c"); len(calls) != 2 {
		t.Errorf("two turns were called %d times", len(calls))
	}
}

// Whatever the moment, the row is waiting with its answer, or pending with a dispatch.
func TestAShutdownAtTheLastWordLeavesNothingRunning(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	a := d.inside("a", inside{timing: impatient()})
	chats := []chat.ID{"a", "b", "c", "d", "e", "f", "g", "h"}
	for _, id := range chats {
		d.post(a.service, id, "one two #hold=1 #gate=all", "")
		d.held("all")
	}
	go d.provider.Gate("all").Open()
	a.end()
	count := map[chat.Status]int{}
	for _, id := range chats {
		row, said := d.get(id), says(d.history(id))
		count[row.Status]++
		switch {
		case row.Status == chat.Waiting && len(said) == 2:
		case row.Status == chat.Pending && len(said) == 1 && d.dispatched(id):
		default:
			t.Errorf("chat %s is %s and says %v", id, row.Status, said)
		}
	}
	t.Logf("%v", count)
	d.inside("b", inside{})
	if n := finals(d.atRest(), chat.Stop); n != len(chats) {
		t.Errorf("%d of %d chats are answered", n, len(chats))
	}
}

func TestAShutdownHandsOnThroughASlowPostgres(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	proxy, through := d.proxy(d.database)
	a := d.inside("a", inside{timing: impatient(), database: through})
	d.post(d.service(), "c", "one two #hold=1", "")
	d.held("c")
	proxy.Delay(150 * time.Millisecond)
	start := time.Now()
	a.end()
	t.Logf("ended %s after everything was cancelled", time.Since(start))
	if row := d.get("c"); row.Status != chat.Pending || row.Recoveries != 0 {
		t.Errorf("the chat is %s with recoveries=%d", row.Status, row.Recoveries)
	}
	if !d.dispatched("c") {
		t.Error("the stream has no dispatch of the chat")
	}
	d.inside("b", inside{})
	d.held("c")
	d.provider.Gate("c").Open()
	d.answered("c")
	d.atRest()
}

func TestAShutdownWithoutNATSHandsOn(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	timing := brisk()
	timing.Drain = 0
	a := d.inside("a", inside{timing: timing})
	b := d.inside("b", inside{timing: timing, slots: 1})
	owner, other := a, b
	d.post(d.service(), "c", "one two #hold=1", "")
	d.held("c")
	if *d.get("c").Worker == b.self() {
		owner, other = b, a
	}
	d.nats.Halt()
	start := time.Now()
	owner.end()
	t.Logf("ended %s after everything was cancelled", time.Since(start))
	if row := d.get("c"); row.Status != chat.Pending || row.Recoveries != 0 {
		t.Errorf("the chat is %s with recoveries=%d", row.Status, row.Recoveries)
	}
	back := time.Now()
	d.must(d.nats.Start(d.ctx))
	d.held("c")
	t.Logf("called again %s after NATS came back", time.Since(back))
	d.provider.Gate("c").Open()
	d.answered("c")
	d.atRest()
	if n := other.metric("redispatches_total", ""); n < 1 {
		t.Error("it was not the sweeper that dispatched the chat")
	}
}

// A replica that drains for longer than the lease keeps what it runs, because it still beats.
func TestHeartbeatsOutliveTheDrain(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	timing := chat.DefaultTiming()
	timing.Heartbeat, timing.SuspectAfter, timing.LostAfter = 200*time.Millisecond, 1250*time.Millisecond, 2500*time.Millisecond
	a := d.inside("a", inside{timing: timing})
	d.post(a.service, "c", "one two #hold=1", "")
	d.held("c")
	claimed := d.get("c")
	b := d.inside("b", inside{timing: timing})
	d.await("the other one may judge by age", b.heartbeat.MayJudge)
	a.stop()
	var since time.Time
	drained := func() (w chat.Worker) {
		for _, w := range d.workers() {
			if w.ID == *claimed.Worker {
				return w
			}
		}
		t.Fatal("the worker's row is gone while it drains")
		return w
	}
	d.await("the replica says that it drains", func() bool { w := drained(); since = w.HeartbeatAt; return w.Draining })
	sweeps := b.metric("sweeps_total", "done") + b.metric("sweeps_total", "elsewhere")
	d.await("it beats for longer than a lease lasts", func() bool { return drained().HeartbeatAt.Sub(since) > 2*timing.LostAfter })
	sweeps = b.metric("sweeps_total", "done") + b.metric("sweeps_total", "elsewhere") - sweeps
	t.Logf("held for %s and %g sweeps", drained().HeartbeatAt.Sub(since), sweeps)
	if now := d.get("c"); now.Epoch != claimed.Epoch || now.Version != claimed.Version || sweeps == 0 {
		t.Errorf("the chat moved from epoch %d to %d, version %d to %d, over %g sweeps", claimed.Epoch, now.Epoch, claimed.Version, now.Version, sweeps)
	}
	d.provider.Gate("c").Open()
	a.ended()
	d.answered("c")
	d.atRest()
	if calls := d.calls("c"); len(calls) != 1 {
		t.Errorf("the turn was called %d times", len(calls))
	}
	if log := a.log.String() + b.log.String(); strings.Contains(log, "worker lost") || strings.Contains(log, "msg=recovered") {
		t.Errorf("somebody was declared lost:\n%s", log)
	}
}

// Kubernetes grants 30 s, of which turns may take 20. Whatever does not answer, the rest of a shutdown fits in what is left. What a busy machine adds to
// it is not the product's, so the quickest of up to three counts.
func TestAShutdownFitsItsGraceThoughNothingAnswers(t *testing.T) {
	t.Parallel()
	const left = 10 * time.Second
	d := deploy(t)
	postgres, database := d.proxy(d.database)
	server, nats := d.proxy(d.natsURL)
	for _, id := range []chat.ID{"c", "again", "for-the-last-time"} {
		d.must(errors.Join(postgres.Heal(), server.Heal()))
		old := d.startWith("old-"+string(id), map[string]string{"PROCESSOR_DATABASE_URL": database, "PROCESSOR_NATS_URL": nats}, "--drain-timeout", "0s")
		d.send(id, "one two #hold=1")
		first := d.held(string(id))
		postgres.Stall()
		server.Stall()
		began := time.Now()
		old.drain()
		old.exited()
		took := time.Since(began)
		t.Logf("it took %s without a drain", took)
		fresh := d.start("new-" + string(id))
		second := d.held(string(id))
		d.provider.Gate(string(id)).Open()
		d.answered(id)
		if first.ID == second.ID {
			t.Errorf("both calls were made as %s", first.ID)
		}
		d.atRest()
		if took <= left {
			return
		}
		fresh.kill()
	}
	t.Errorf("each took longer than %s", left)
}
