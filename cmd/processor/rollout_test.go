package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"processor/internal/chat"
)

// TestARollingRestartUnderLoadIsNoFailure replaces three replicas one after another while senders send all the time. Some turns are longer than
// the drain time, so they have to be handed off; nothing may be recovered, for a deploy is not a failure (I8).
func TestARollingRestartUnderLoadIsNoFailure(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	var replicas []*process
	for _, name := range []string{"a", "b", "c"} {
		replicas = append(replicas, d.startHTTP(name, "--drain-timeout", "1s"))
	}
	long := numbered("long", 6)
	d.sendAll(same(long, "#tokens=50 #delay=100ms"))
	stop := d.keepSending(numbered("load", 8))

	began := time.Now()
	for i, old := range replicas {
		old.drain()
		if code := old.exited(); code != 0 {
			t.Errorf("replica %s ended with %d", old.name, code)
		}
		replicas[i] = d.startHTTP(old.name+"2", "--drain-timeout", "1s")
	}
	took := time.Since(began)
	sent := stop()
	d.finished()

	count := 0
	for id, texts := range sent {
		count += len(texts)
		var want []string
		for _, text := range texts {
			want = append(want, "user: "+text, "assistant stop: "+text)
		}
		if diff := cmp.Diff(want, says(d.history(id))); diff != "" {
			t.Errorf("chat %s: %s", id, diff)
		}
	}
	for _, id := range long {
		if messages := d.history(id); len(messages) != 2 || len(strings.Fields(messages[1].Text())) != 50 {
			t.Errorf("chat %s has %v", id, says(messages))
		}
	}
	d.uncharged()
	yields := strings.Count(d.logs(), "transition=yield")
	if yields == 0 {
		t.Error("no turn was handed off, so the test proves little")
	}
	t.Logf("three replicas replaced in %s; %d messages in %d chats answered, %d turns handed off", took, count, len(sent), yields)
}

// uncharged fails the test if any replica was ever found lost, or any chat recovered.
func (d *deployment) uncharged() {
	d.t.Helper()
	for _, words := range []string{"msg=recovered", "worker lost", "declared lost", "level=ERROR"} {
		if line := lineWith(d.logs(), words); line != "" {
			d.t.Errorf("a replica logged: %s", line)
		}
	}
	for _, c := range d.chats("") {
		if c.Takeovers != 0 || c.Recoveries != 0 {
			d.t.Errorf("chat %s has takeovers=%d recoveries=%d", c.ID, c.Takeovers, c.Recoveries)
		}
	}
}

// keepSending sends to each chat all the time, two messages at once of which the second waits in the queue, until stop. That returns all
// texts that were accepted, in order. Any refusal fails the test.
func (d *deployment) keepSending(ids []chat.ID) (stop func() map[chat.ID][]string) {
	d.t.Helper()
	var group sync.WaitGroup
	var mu sync.Mutex
	over, sent := make(chan struct{}), map[chat.ID][]string{}
	for _, id := range ids {
		d.create(id)
		group.Go(func() {
			texts, err := d.sendUntil(over, id)
			if err != nil {
				d.t.Errorf("sending to %s: %v", id, err)
			}
			mu.Lock()
			defer mu.Unlock()
			sent[id] = texts
		})
	}
	end := sync.OnceFunc(func() { close(over); group.Wait() })
	d.t.Cleanup(end)
	return func() map[chat.ID][]string { end(); return sent }
}

func (d *deployment) sendUntil(over <-chan struct{}, id chat.ID) (texts []string, err error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-over:
			return texts, nil
		case <-tick.C:
		}
		var reply chat.ChatReply
		if err := d.client.Call(d.ctx, "chats.get", chat.ChatRequest{Chat: id}, &reply); err != nil {
			return texts, err
		}
		if reply.Chat.Status != chat.Waiting {
			continue
		}
		for range 2 {
			text := fmt.Sprintf("message %d of %s, said slowly #delay=50ms", len(texts), id)
			if err := d.client.Call(d.ctx, "chats.send", chat.SendRequest{Chat: id, Text: &text}, nil); err != nil {
				return texts, err
			}
			texts = append(texts, text)
		}
	}
}

// TestADrainingReplicaFinishesItsTurn has time enough to drain: nobody takes the chat from it, and it takes no other.
func TestADrainingReplicaFinishesItsTurn(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	old := d.startHTTP("old", "--drain-timeout", "2m")
	d.send("c", "#tokens=6 #hold=3")
	d.held("c")
	other := d.startHTTP("other")
	id := old.worker().ID

	old.drain()
	d.await("draining is written", func() bool { w := old.worker(); return w != nil && w.Draining })
	if status, body := old.get("/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "shutting down") {
		t.Errorf("it is draining, and its readiness says %d %s", status, body)
	}
	if status, body := other.get("/readyz"); status != http.StatusOK {
		t.Errorf("the other one is not ready: %d %s", status, body)
	}
	workers := call[chat.WorkersReply](d, "chats.workers", chat.WorkersRequest{}).Workers
	if !slices.ContainsFunc(workers, func(w chat.Worker) bool { return w.ID == id && w.Draining && w.Running == 1 }) {
		t.Errorf("the API does not say that it drains: %+v", workers)
	}

	start, swept := old.worker().HeartbeatAt, other.sweeps()+old.sweeps()
	d.await("heartbeats go on for longer than makes a suspect", func() bool {
		w := old.worker()
		return w != nil && w.HeartbeatAt.Sub(start) > 2*chat.DefaultTiming().SuspectAfter
	})
	if now := other.sweeps() + old.sweeps(); now == swept {
		t.Error("nobody swept meanwhile")
	}
	d.send("new", "for the other one")
	if m := d.answered("new"); len(m) != 2 || other.metric(`processor_transitions_total{transition="claim"}`) != 1 {
		t.Errorf("the other replica did not answer the new chat: %v", says(m))
	}
	if c := d.get("c"); c.Status != chat.Running || c.Epoch != 1 || *c.Worker != id {
		t.Fatalf("the chat is %s in epoch %d, owned by %v", c.Status, c.Epoch, c.Worker)
	}

	d.provider.Gate("c").Open()
	opened := time.Now()
	if code := old.exited(); code != 0 {
		t.Errorf("it ended with %d", code)
	}
	if m := d.history("c"); len(m) != 2 || m[1].Finish != chat.Stop || m[1].Epoch != 1 || len(d.calls("c")) != 1 {
		t.Errorf("the chat has %v after %d calls", says(m), len(d.calls("c")))
	}
	if slices.ContainsFunc(d.workers(), func(w chat.Worker) bool { return w.ID == id }) {
		t.Error("it ended, and is still registered")
	}
	d.uncharged()
	t.Logf("ended %s after the last token was let through", time.Since(opened))
}

// TestAShutdownWithoutDrainTimeLeavesNothingRunning stops the only replica among answers that are held, that flow and that end.
func TestAShutdownWithoutDrainTimeLeavesNothingRunning(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	old := d.start("old", "--drain-timeout", "0s")
	held, flowing := numbered("held", 20), numbered("flowing", 20)
	d.sendAll(same(held, "#tokens=6 #hold=3 #gate=held"))
	for range held {
		d.held("held")
	}
	for i, id := range flowing {
		d.sendAll(map[chat.ID]string{id: fmt.Sprintf("#tokens=%d #delay=5ms", 5*i)})
	}
	old.drain()
	began := time.Now()
	if code := old.exited(); code != 0 {
		t.Errorf("it ended with %d", code)
	}
	ended := time.Since(began)

	var pending []chat.Stale
	for _, id := range slices.Concat(held, flowing) {
		switch c := d.get(id); c.Status {
		case chat.Pending:
			pending = append(pending, chat.Stale{Chat: id, Number: c.Number, Begun: c.Begun()})
		case chat.Waiting:
			if m := d.history(id); !m[len(m)-1].Ends() {
				t.Errorf("chat %s waits without an answer: %v", id, says(m))
			}
		default:
			t.Errorf("chat %s is %s", id, c.Status)
		}
	}
	missing, _, err := d.client.Missing(d.ctx, pending)
	d.must(err)
	if len(pending) < len(held) || len(missing) > 0 {
		t.Errorf("of %d chats given back, %v have no dispatch", len(pending), missing)
	}

	d.provider.Gate("held").Open()
	d.start("new")
	for _, id := range slices.Concat(held, flowing) {
		if m := d.answered(id); len(m) != 2 || m[1].Finish != chat.Stop {
			t.Errorf("chat %s has %v", id, says(m))
		}
	}
	d.uncharged()
	t.Logf("ended %s after the signal; %d turns given back, %d had finished", ended, len(pending), len(held)+len(flowing)-len(pending))
}

func TestASecondSignalHandsOffAtOnce(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	old := d.start("old", "--drain-timeout", "2m")
	d.send("c", "#tokens=6 #hold=3")
	first := d.held("c")
	d.start("other")

	old.drain()
	old.says("msg=draining")
	if c := d.get("c"); c.Status != chat.Running || c.Epoch != 1 {
		t.Fatalf("the first signal is enough: the chat is %s in epoch %d", c.Status, c.Epoch)
	}
	hurried := time.Now()
	old.drain()
	second := d.held("c")
	d.provider.Gate("c").Open()
	if code := old.exited(); code != 0 {
		t.Errorf("it ended with %d", code)
	}
	if m := d.answered("c"); len(m) != 2 || m[1].Finish != chat.Stop || first.ID == second.ID {
		t.Errorf("the chat has %v; the calls were %s and %s", says(m), first.ID, second.ID)
	}
	old.says("handing off at once")
	old.says("transition=yield", "chat=c")
	d.uncharged()
	t.Logf("called again %s after the second signal", second.At.Sub(hurried))
}
