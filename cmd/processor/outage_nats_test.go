package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"processor/internal/bus"
	"processor/internal/chat"
)

// load is clients that talk to many chats for as long as the test likes. A request without a reply is repeated with the same client_id.
type load struct {
	d       *deployment
	stop    chan struct{}
	clients sync.WaitGroup

	mu       sync.Mutex
	accepted map[chat.ID][]string // client_ids in the order of their acceptance
	repeated atomic.Int64
}

// load starts clients and returns when each has had an answer.
func (d *deployment) load(clients int) *load {
	d.t.Helper()
	l := &load{d: d, stop: make(chan struct{}), accepted: map[chat.ID][]string{}}
	for i := range clients {
		l.clients.Go(func() { l.talk(chat.ID(fmt.Sprint("load", i))) })
	}
	l.goesOn("every client's first answer", 2)
	return l
}

// talk sends two messages at a time, the second of which is queued, and waits for both to be answered.
func (l *load) talk(id chat.ID) {
	l.ask("chats.create", chat.CreateRequest{ID: id})
	for n := 0; ; n += 2 {
		for _, client := range []string{fmt.Sprint(n), fmt.Sprint(n + 1)} {
			text := "#tokens=10 #delay=20ms"
			l.ask("chats.send", chat.SendRequest{Chat: id, Text: &text, ClientID: client})
			l.mu.Lock()
			l.accepted[id] = append(l.accepted[id], client)
			l.mu.Unlock()
		}
		for rests := false; !rests; {
			c, err := l.d.store.Get(l.d.ctx, id)
			rests = err == nil && (c.Status == chat.Waiting || c.Status == chat.Parked)
			select {
			case <-l.stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
}

// ask repeats a request until it has a reply.
func (l *load) ask(subject string, in any) {
	for {
		err := l.d.client.Call(l.d.ctx, subject, in, nil)
		var refusal *chat.Error
		switch {
		case err == nil:
			return
		case l.d.ctx.Err() != nil, errors.As(err, &refusal) && refusal.Code != chat.Unavailable:
			l.d.t.Errorf("%s: %v", subject, err)
			return
		}
		l.repeated.Add(1)
		select {
		case <-l.d.ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// goesOn waits until every client has had so many more messages accepted.
func (l *load) goesOn(what string, more int) {
	l.d.t.Helper()
	before := l.count()
	l.d.await(what, func() bool {
		now := l.count()
		for i := range now {
			if now[i] < before[i]+more {
				return false
			}
		}
		return len(now) > 0
	})
}

func (l *load) count() map[chat.ID]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	count := map[chat.ID]int{}
	for i := range l.accepted {
		count[i] = len(l.accepted[i])
	}
	return count
}

// ends ends the load, and checks that every message that was accepted has its one answer, in order, and that nothing half-written is there.
func (l *load) ends() {
	l.d.t.Helper()
	close(l.stop)
	l.clients.Wait()
	rows, sent := l.d.atRest(), 0
	for id, accepted := range l.accepted {
		row, _ := rows.Chat(id)
		var clients, outcomes []string
		for _, m := range rows.History(row.Chat.Number) {
			switch {
			case m.Role == chat.User:
				clients = append(clients, m.ClientID)
			case m.Finish == chat.Stop && len(strings.Fields(m.Text())) == 10:
				outcomes = append(outcomes, clients[len(clients)-1])
			}
		}
		sent += len(accepted)
		if diff := cmp.Diff(accepted, clients); diff != "" {
			l.d.t.Errorf("chat %s (-accepted +stored): %s", id, diff)
		}
		if diff := cmp.Diff(accepted, outcomes); diff != "" {
			l.d.t.Errorf("chat %s (-accepted +answered): %s", id, diff)
		}
	}
	l.d.t.Logf("%d messages in %d chats are answered, with %d calls of the model; %d requests were repeated", sent, len(l.accepted), l.d.provider.Count(), l.repeated.Load())
}

// alive remembers who is registered, and checks later that they still are and that nothing was taken from anybody.
func (d *deployment) alive() (check func()) {
	d.t.Helper()
	names := func() map[chat.WorkerID]chat.WorkerStatus {
		now := map[chat.WorkerID]chat.WorkerStatus{}
		for _, w := range d.workers() {
			if w.Status == chat.WorkerSuspect { // a late beat
				w.Status = chat.WorkerLive
			}
			now[w.ID] = w.Status
		}
		return now
	}
	before := names()
	return func() {
		d.t.Helper()
		if diff := cmp.Diff(before, names()); diff != "" {
			d.t.Errorf("the workers before and after: %s", diff)
		}
		for _, never := range []string{"worker lost", "declared lost", "msg=recovered", "yielding a chat"} {
			if strings.Contains(d.logs(), never) {
				d.t.Errorf("the log says %q", never)
			}
		}
	}
}

func TestNoFaultOfNATSLosesAMessage(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(d *deployment) error{
		"the stream is deleted": func(d *deployment) error {
			return d.jetstream().DeleteStream(d.ctx, bus.ChatsStream)
		},
		"the server restarts": func(d *deployment) error { return d.nats.Restart(d.ctx) },
		"the server is wiped": func(d *deployment) error { return d.nats.Wipe(d.ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := deploy(t)
			// Fewer slots than clients, so that the stream always holds dispatches.
			d.start("a", "--slots", "3")
			d.start("b", "--slots", "3")
			l := d.load(10)
			check := d.alive()
			start := time.Now()
			d.must(fault(d))
			l.goesOn("every client is served again", 3)
			t.Logf("every client had answers %s after the fault began", time.Since(start))
			l.ends()
			check()
			if renewed := strings.Contains(d.logs(), "the stream is new"); renewed != (name != "the server restarts") {
				t.Errorf("that the stream is new was seen: %t", renewed)
			}
		})
	}
}

// What runs goes on and is committed. What is accepted is answered by replicas with a free slot, which look for it; what finds none waits, and is
// dispatched when NATS is back: by the client's buffer if the process that accepted it still lives, else by the sweeper.
func TestWithoutNATSWorkGoesOn(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	a := d.inside("a", inside{slots: 1})
	d.post(a.service, "running", "one two #hold=1", "")
	d.held("running")
	doomed, err := bus.Connect(d.ctx, bus.Config{URL: d.natsURL, Name: "doomed"})
	d.must(err)
	others := chat.ServiceConfig{DefaultModel: "openai/test", Logger: quiet()}
	d.nats.Halt()
	d.await("the connections are gone", func() bool { return !a.bus.Connected() && !doomed.Connected() })

	d.provider.Gate("running").Open()
	if diff := cmp.Diff([]string{"user: one two #hold=1", "assistant stop: one two #hold=1"}, says(d.answered("running"))); diff != "" {
		t.Error(diff)
	}
	start := time.Now()
	d.post(a.service, "here", "what a replica with a free slot accepts needs no NATS", "")
	t.Logf("a send took %s without NATS", time.Since(start))
	d.answered("here")
	d.post(chat.NewService(d.store, doomed, others), "elsewhere", "what others accept does not either", "")
	d.answered("elsewhere")
	if !a.logged("no dispatches are heard, looking for pending chats") || a.metric("looks_total", "") < 1 {
		t.Errorf("a did not look:\n%s", a.log)
	}

	d.post(a.service, "full", "#hold=0", "")
	d.held("full")
	d.post(chat.NewService(d.store, a.bus, others), "kept", "three", "")
	d.post(chat.NewService(d.store, doomed, others), "orphan", "four", "")
	doomed.Close() // with what it had to say
	d.must(d.nats.Start(d.ctx))
	d.await("the sweeper dispatches what nobody rings for", func() bool { return a.metric("redispatches_total", "") >= 1 && a.logged("dispatched again") })
	for _, id := range []chat.ID{"kept", "orphan"} {
		if row := d.get(id); row.Status != chat.Pending {
			t.Errorf("chat %s is %s", id, row.Status)
		}
	}
	d.provider.Gate("full").Open()
	d.answered("kept")
	d.answered("orphan")
	d.atRest()
	if n := len(d.calls("running")); n != 1 {
		t.Errorf("the turn that ran was called %d times", n)
	}
	if a.metric("transition_errors_total", "failed") != 0 {
		t.Error("a write failed without NATS")
	}
}

// A replica that dies, and one that is replaced by a new one: neither needs NATS.
func TestWithoutNATSChatsAreTakenOver(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	flags := []string{"--lost-after", "3s", "--drain-timeout", "0s"}
	a := d.start("a", append(flags, "--slots", "6")...) // the rest is b's
	ids := numbered("chat", 12)
	d.sendAll(same(ids[:6], "one two #hold=1 #gate=killed"))
	b := d.start("b", flags...)
	d.sendAll(same(ids[6:], "one two #hold=1 #gate=replaced"))
	calls := func(chats []chat.ID, n int) {
		t.Helper()
		for _, id := range chats {
			d.called(id, n)
		}
	}
	calls(ids, 1)
	d.nats.Halt()
	start := time.Now()
	a.kill()
	calls(ids[:6], 2)
	t.Logf("what a killed replica had was called again %s later", time.Since(start))
	d.provider.Gate("killed").Open()

	d.launch("c", nil, flags...).says("msg=registered")
	start = time.Now()
	b.drain()
	calls(ids[6:], 2)
	t.Logf("what a replaced replica had was called again %s later", time.Since(start))
	d.provider.Gate("replaced").Open()
	for _, id := range ids {
		if got := says(d.answered(id)); len(got) != 2 || !strings.HasPrefix(got[1], "assistant stop: one two") {
			t.Errorf("chat %s has %q", id, got)
		}
		if n := len(d.calls(id)); n != 2 {
			t.Errorf("chat %s was called %d times", id, n)
		}
	}
	d.must(d.nats.Start(d.ctx))
	d.atRest()
}

// Who is told that a replica is ready can call it at once: no answer comes from a replica that NATS does not know yet.
func TestAReplicaIsReadyWhenItsAPIAnswers(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.nats.Halt()
	d.await("the connection is gone", func() bool { return !d.client.Connected() })
	address := d.freeAddress()
	p := d.launch("a", nil, "--http", address)
	p.http = address
	p.says("msg=registered")
	if status, body := p.get("/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "waiting for NATS") {
		t.Errorf("registered, and without NATS: %d %s", status, body)
	}
	d.must(d.nats.Start(d.ctx))
	d.await("the test has a connection", d.client.Connected)
	d.await("the replica is ready", func() bool { status, _ := p.get("/readyz"); return status == http.StatusOK })
	call[chat.WorkersReply](d, "chats.workers", chat.WorkersRequest{})
	d.send("c", "one")
	d.answered("c")
	d.atRest()
}
