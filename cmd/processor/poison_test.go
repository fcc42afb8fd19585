package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"processor/internal/chat"
)

// TestAChatThatKillsItsWorkerIsParkedAndItsNeighboursFinish has two replicas that are started again whenever they die.
func TestAChatThatKillsItsWorkerIsParkedAndItsNeighboursFinish(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.start("a")
	d.start("b")
	neighbours := numbered("neighbour", 200)
	d.sendAll(same(neighbours, "#tokens=20 #delay=50ms #hold=10 #gate=neighbours"))
	for range neighbours {
		d.held("neighbours")
	}
	d.post(d.service(), "poison", poison, "") // a replica that accepts it may run it before it replies
	sent := time.Now()

	deaths := 0
	d.await("the first replica dies", func() bool { deaths += d.respawn(); return deaths > 0 })
	d.provider.Gate("neighbours").Open()
	d.await("the chat is parked", func() bool {
		deaths += d.respawn()
		return d.get("poison").Status == chat.Parked
	})
	parked := time.Since(sent)
	d.await("all neighbours rest", func() bool {
		deaths += d.respawn()
		return len(d.chats(chat.Pending))+len(d.chats(chat.Running)) == 0
	})

	if deaths != chat.ParkAt {
		t.Errorf("the chat killed %d replicas, and should be parked after %d", deaths, chat.ParkAt)
	}
	c := d.get("poison")
	if c.Takeovers != chat.ParkAt || c.LastError == nil || c.LastError.Code != "poison" || c.LastError.At.IsZero() {
		t.Errorf("the parked chat has takeovers=%d and last error %+v", c.Takeovers, c.LastError)
	}
	if got := says(d.history("poison")); !slices.Equal(got, []string{"user: " + poison, "assistant error: "}) {
		t.Errorf("the parked chat has %v", got)
	}
	if line := lineWith(d.logs(), "msg=recovered", "chat=poison", "status=error"); !strings.Contains(line, "cause=gone") {
		t.Errorf("it was not parked by a sweep that found its owner gone: %q", line)
	}
	harmed := 0
	for _, id := range neighbours {
		messages := d.history(id)
		switch last := messages[len(messages)-1]; {
		case last.Finish == chat.Failed:
			harmed++
		case len(messages) != 2 || last.Finish != chat.Stop || len(strings.Fields(last.Text())) != 20:
			t.Errorf("neighbour %s has %v", id, says(messages))
		}
	}
	if harmed > chat.SuspectSlots {
		t.Errorf("%d neighbours were parked with it, more than the %d suspects of one worker", harmed, chat.SuspectSlots)
	}
	if calls := d.calls("poison"); len(calls) != 0 {
		t.Errorf("the model was called %d times, so the chat did not kill its owner", len(calls))
	}
	t.Logf("parked %s after it was sent; %d of %d neighbours parked with it; %d calls of the model for them",
		parked, harmed, len(neighbours), d.provider.Count())
}

// respawn starts a successor for every replica that died, and counts them.
func (d *deployment) respawn() (deaths int) {
	d.t.Helper()
	for _, p := range slices.Clone(d.replicas) {
		select {
		case <-p.done:
			if !p.replaced {
				p.replaced = true
				d.launch(p.name, nil)
				deaths++
			}
		default:
		}
	}
	return deaths
}
