package chattest

import (
	"time"

	"processor/internal/chat"
)

// tolerance is what real time may add to the waits and ages of a test; those are multiples of a minute.
const tolerance = 20 * time.Second

// roomy is a budget that leaves nothing out.
func roomy() chat.Budget { return chat.Budget{Messages: 1000, Bytes: 1 << 20} }

func say(text string) []chat.Part { return []chat.Part{{Type: chat.TextPart, Text: text}} }

func message(id chat.ID, text string) chat.NewMessage {
	return chat.NewMessage{Chat: id, Parts: say(text), ClientID: "id of " + text, Busy: chat.BusyQueue}
}

func answer(text string) []chat.Message {
	return []chat.Message{{Role: chat.Assistant, Parts: say(text), Model: "demo/echo"}}
}

func final(text string) []chat.Message {
	all := answer(text)
	all[0].Finish = chat.Stop
	return all
}

func failure() []chat.Message {
	return []chat.Message{{Role: chat.Assistant, Parts: []chat.Part{}, Finish: chat.Failed, Error: &chat.TurnError{Code: "auth", Message: "it went wrong"}}}
}

// calling is a step that leaves a tool call unanswered.
func calling(call string) []chat.Message {
	return []chat.Message{{Role: chat.Assistant, Parts: []chat.Part{{Type: chat.ToolCallPart, CallID: call, Name: "clock"}}}}
}

// start makes a chat with its first message.
func (k *kit) start(id chat.ID) {
	k.t.Helper()
	m := message(id, "hello")
	_, err := k.s.Create(k.ctx, chat.NewChat{ID: id, Message: &m})
	k.ok(err)
}

func (k *kit) send(id chat.ID, text string) chat.Sent {
	k.t.Helper()
	sent, err := k.s.Send(k.ctx, message(id, text), nil)
	k.ok(err)
	return sent
}

// sendAs sends to chat a.
func (k *kit) sendAs(busy chat.Busy, text string) (chat.Sent, error) {
	m := message("a", text)
	m.Busy = busy
	return k.s.Send(k.ctx, m, nil)
}

func (k *kit) register(ids ...chat.WorkerID) {
	k.t.Helper()
	for _, id := range ids {
		k.ok(k.s.Register(k.ctx, chat.Worker{ID: id, Name: "replica", Host: "host", PID: 1, Build: "test", Slots: 10}))
	}
}

func (k *kit) beat(id chat.WorkerID) chat.Beat {
	k.t.Helper()
	b, err := k.s.Beat(k.ctx, id, 0, false)
	k.ok(err)
	return b
}

// drain makes a worker's row say that it takes no more.
func (k *kit) drain(id chat.WorkerID) {
	k.t.Helper()
	_, err := k.s.Beat(k.ctx, id, 0, true)
	k.ok(err)
}

func (k *kit) claim(id chat.ID, w chat.WorkerID) chat.Lease {
	k.t.Helper()
	c, err := k.s.Claim(k.ctx, id, w, true, roomy())
	k.ok(err)
	return leaseOf(c.Chat, w)
}

// leaseOf is the lease of a chat as its row says, held by w.
func leaseOf(c chat.Chat, w chat.WorkerID) chat.Lease {
	return chat.Lease{Chat: c.ID, Number: c.Number, Worker: w, Epoch: c.Epoch, Turn: c.Turn, Step: c.Step}
}

// own makes a chat that w runs.
func (k *kit) own(id chat.ID, w chat.WorkerID) chat.Lease {
	k.t.Helper()
	k.start(id)
	return k.claim(id, w)
}

func (k *kit) commit(l chat.Lease, messages []chat.Message) chat.Lease {
	k.t.Helper()
	out, err := k.s.Commit(k.ctx, l, messages)
	k.ok(err)
	return leaseOf(out.Chat, l.Worker)
}

func (k *kit) backoff(l chat.Lease) chat.Lease {
	k.t.Helper()
	out, err := k.s.Backoff(k.ctx, l, time.Minute, chat.TurnError{Code: "rate_limited", Message: "slow down"})
	k.ok(err)
	return leaseOf(out.Chat, l.Worker)
}

func (k *kit) finish(l chat.Lease, text string) chat.Outcome {
	k.t.Helper()
	out, err := k.s.Finish(k.ctx, l, final(text))
	k.ok(err)
	return out
}

func (k *kit) fail(l chat.Lease) chat.Outcome {
	k.t.Helper()
	out, err := k.s.Fail(k.ctx, l, failure())
	k.ok(err)
	return out
}

func (k *kit) yield(l chat.Lease) {
	k.t.Helper()
	_, err := k.s.Yield(k.ctx, l)
	k.ok(err)
}

func (k *kit) interrupt(id chat.ID) chat.Outcome {
	k.t.Helper()
	out, err := k.s.Interrupt(k.ctx, id, 0, nil)
	k.ok(err)
	return out
}

func (k *kit) elapse(d time.Duration) {
	k.t.Helper()
	k.ok(k.s.Elapse(k.ctx, d))
}

func pass() chat.Pass {
	return chat.Pass{SuspectAfter: SuspectAfter, RedispatchAfter: RedispatchAfter, Batch: 100}
}

func (k *kit) sweep(p chat.Pass) chat.Report {
	k.t.Helper()
	r, err := k.s.Sweep(k.ctx, p)
	k.ok(err)
	if !r.Held {
		k.t.Fatal("the sweep's lock is held by somebody else")
	}
	return r
}

// kill lets a worker's process be found gone, while everybody else beats.
func (k *kit) kill(id chat.WorkerID) chat.Report {
	k.t.Helper()
	k.elapse(2 * SuspectAfter)
	for _, w := range k.rows().Workers {
		if w.ID != id {
			k.beat(w.ID)
		}
	}
	p := pass()
	p.Gone = []chat.WorkerID{id}
	return k.sweep(p)
}

// freeze lets a worker be lost by the age of its heartbeat, while everybody else beats.
func (k *kit) freeze(id chat.WorkerID) chat.Report {
	k.t.Helper()
	k.elapse(2 * lostAfter)
	for _, w := range k.rows().Workers {
		if w.ID != id {
			k.beat(w.ID)
		}
	}
	p := pass()
	p.LostAfter = lostAfter
	return k.sweep(p)
}
