package uistream

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"processor/internal/chat"
	"processor/internal/chat/chattest"
)

// world is a chat whose second turn is answered with all that can come between, and everything that is published of it.
type world struct {
	*rapid.T
	store     *chattest.Memory
	published []chat.Event
	lease     chat.Lease
	partial   chat.Partial
	voids     int
	// same makes the model say the same in every attempt, as far as that comes.
	same bool
}

const turn = 2

func newWorld(t *rapid.T, same bool) *world {
	w := &world{T: t, store: chattest.NewMemory(), same: same}
	w.must(w.store.Register(t.Context(), chat.Worker{ID: "w"}))
	sent, err := w.store.Create(t.Context(), chat.NewChat{ID: "c", Message: &chat.NewMessage{Chat: "c", Parts: text("one"), ClientID: "u1"}})
	w.tell(sent.Outcome, err)
	w.claim()
	queued := rapid.Bool().Draw(t, "opened from the queue")
	if queued {
		w.send()
	}
	w.tell(w.store.Finish(t.Context(), w.lease, []chat.Message{{Role: chat.Assistant, Parts: text("first"), Finish: chat.Stop}}))
	if !queued {
		w.send()
	}
	w.published = nil
	return w
}

func text(s string) []chat.Part { return []chat.Part{{Type: chat.TextPart, Text: s}} }

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) send() {
	sent, err := w.store.Send(w.Context(), chat.NewMessage{Chat: "c", Parts: text("two"), ClientID: "u2", Busy: chat.BusyQueue}, nil)
	w.tell(sent.Outcome, err)
}

// tell publishes, and follows the row as its owner.
func (w *world) tell(o chat.Outcome, err error) {
	w.Helper()
	w.must(err)
	w.published = append(w.published, o.Events("test")...)
	c := o.Chat
	if c.Epoch != w.lease.Epoch && len(w.partial.Chunks) > 0 {
		w.voids++
	}
	if c.Epoch != w.lease.Epoch || c.Turn != w.lease.Turn || c.Step != w.lease.Step {
		seq := w.partial.Seq
		if c.Epoch != w.lease.Epoch {
			seq = 0
		}
		w.partial = chat.Partial{Chat: "c", Number: c.Number, Turn: c.Turn, Step: c.Step, Epoch: c.Epoch, Seq: seq}
	}
	w.lease = chat.Lease{Chat: "c", Number: c.Number, Worker: "w", Epoch: c.Epoch, Turn: c.Turn, Step: c.Step}
}

func (w *world) row() chat.Chat {
	c, err := w.store.Get(w.Context(), "c")
	w.must(err)
	return c
}

func (w *world) claim() {
	c, err := w.store.Claim(w.Context(), "c", "w", true, chat.Budget{Messages: 9, Bytes: 1 << 20})
	w.tell(chat.Outcome{Changed: true, Chat: c.Chat}, err)
}

func (w *world) delta() {
	p, kind := &w.partial, chat.TextDelta
	n := len(p.Chunks)
	piece := fmt.Sprintf("%d.%d ", p.Step, n)
	if !w.same {
		piece = fmt.Sprintf("%d.%d.%d ", p.Epoch, p.Step, n)
		kind = rapid.SampledFrom([]chat.DeltaKind{chat.TextDelta, chat.ReasoningDelta}).Draw(w.T, "kind")
	} else if n < 2 {
		kind = chat.ReasoningDelta
	}
	p.Parts = slices.Clone(p.Parts)
	if k := len(p.Parts); k == 0 || p.Parts[k-1].Type != chat.PartType(kind) {
		p.Parts = append(p.Parts, chat.Part{Type: chat.PartType(kind)})
	}
	p.Parts[len(p.Parts)-1].Text += piece
	p.Chunks = append(slices.Clone(p.Chunks), int32(len(piece)))
	p.Seq++
	w.published = append(w.published, chat.Event{
		Type: chat.DeltaEvent, Chat: "c", Number: p.Number, Turn: p.Turn, Step: p.Step, Epoch: p.Epoch, Seq: p.Seq, Version: w.row().Version,
		Delta: &chat.Delta{Kind: kind, Text: piece},
	})
}

func (w *world) said(f chat.Finish) []chat.Message {
	m := chat.Message{Role: chat.Assistant, Parts: append([]chat.Part{}, w.partial.Parts...), Chunks: w.partial.Chunks, Finish: f}
	if f == chat.Failed {
		m.Error = &chat.TurnError{Code: "auth", Message: "no"}
	}
	return []chat.Message{m}
}

// act goes on with the turn by one move.
func (w *world) act() {
	ctx := w.Context()
	if w.row().Status == chat.Pending {
		w.claim()
		return
	}
	switch rapid.SampledFrom([]string{"delta", "delta", "delta", "delta", "delta", "delta", "commit", "backoff", "yield", "end"}).Draw(w.T, "act") {
	case "delta":
		w.delta()
	case "commit":
		w.tell(w.store.Commit(ctx, w.lease, w.said("")))
	case "backoff":
		w.tell(w.store.Backoff(ctx, w.lease, 0, chat.TurnError{Code: "test"}))
	case "yield":
		w.tell(w.store.Yield(ctx, w.lease))
	case "end":
		if rapid.Bool().Draw(w.T, "really") {
			w.end()
		}
	}
}

func (w *world) end() {
	switch f := rapid.SampledFrom([]chat.Finish{chat.Stop, chat.Length, chat.Interrupted, chat.Failed}).Draw(w.T, "outcome"); f {
	case chat.Failed:
		w.tell(w.store.Fail(w.Context(), w.lease, w.said(f)))
	default:
		w.tell(w.store.Finish(w.Context(), w.lease, w.said(f)))
	}
}

func (w *world) over() bool { s := w.row().Status; return s == chat.Waiting || s == chat.Parked }

// answer is what the store holds of the turn, as the client shows it.
func (w *world) answer() (parts []string, last chat.Message) {
	s, err := w.store.Snapshot(w.Context(), "c", 0, 1000)
	w.must(err)
	for _, m := range s.Messages {
		if m.Turn != turn || m.Role != chat.Assistant {
			continue
		}
		for _, p := range m.Parts {
			parts = append(parts, string(p.Type)+":"+p.Text)
		}
		last = m
	}
	return parts, last
}

// link is one connection of a client: a relay on some replica and what it knows by its watch.
type link struct {
	w     *world
	relay *relay
	know  *chat.Transcript
	done  bool
}

func (w *world) connect(c *client, skip int, steady bool) *link {
	at, err := w.store.Before(w.Context(), "c", turn)
	w.must(err)
	l := &link{w: w, know: chat.TranscriptAfter(at.After), relay: &relay{to: c, row: at.Chat, turn: turn, skip: skip}}
	l.relay.made.steady = steady
	l.resync()
	return l
}

func (l *link) take(events []chat.Event) {
	for _, e := range events {
		if l.done {
			return
		}
		if err := l.relay.take(e); errors.Is(err, errOver) {
			l.done = true
		} else {
			l.w.must(err)
		}
	}
}

func (l *link) resync() {
	s, err := l.w.store.Snapshot(l.w.Context(), "c", l.know.After(), 1000)
	l.w.must(err)
	if s.Chat.Worker != nil && rapid.IntRange(0, 3).Draw(l.w.T, "owner answers") > 0 {
		s.Partial = &l.w.partial
	}
	l.take(l.know.Reset(s))
}

func (l *link) hear(e chat.Event, loses bool) {
	if loses && rapid.IntRange(0, 9).Draw(l.w.T, "bus") == 0 {
		return
	}
	out, gap := l.know.Apply(e)
	if l.take(out); gap {
		l.resync()
	}
}

// live plays a turn to its end before clients. The first one is undisturbed; for the others events are lost, and they are cut off now and then and
// come back with the number of chunks that they have.
func live(w *world, clients []*client, steady bool) {
	links := make([]*link, len(clients))
	for i, c := range clients {
		links[i] = w.connect(c, 0, steady)
	}
	heard := 0
	for acts := 0; !w.over(); acts++ {
		if acts < 60 {
			w.act()
		} else if w.row().Status == chat.Pending {
			w.claim()
		} else {
			w.end()
		}
		for ; heard < len(w.published); heard++ {
			for i, l := range links {
				l.hear(w.published[heard], i > 0)
				if i > 0 && !l.done && rapid.IntRange(0, 5).Draw(w.T, "cut") == 0 {
					links[i] = w.connect(clients[i], len(clients[i].seen), steady)
				}
			}
		}
	}
	for i, l := range links {
		if !l.done {
			l.resync()
		}
		if !l.done || !clients[i].done || len(clients[i].wrong) > 0 {
			w.Fatalf("client %d: over %t, done %t, %q\n%v", i, l.done, clients[i].done, clients[i].wrong, clients[i].seen)
		}
	}
}

// TestClientsThatAreCutOffAnywhereEndWithTheAnswer: whatever was void meanwhile and wherever a client was cut off, its message is what the store holds,
// once. If nothing was void, what it was sent in pieces is exactly what a client was sent that was never cut off.
func TestClientsThatAreCutOffAnywhereEndWithTheAnswer(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, false)
		clients := []*client{{}, {}, {}}
		live(w, clients, false)
		late := &client{}
		w.connect(late, 0, false)
		want, last := w.answer()
		reason := map[chat.Finish]string{chat.Stop: "stop", chat.Length: "length", chat.Interrupted: "other", chat.Failed: "error"}[last.Finish]
		for i, c := range append(clients, late) {
			if diff := cmp.Diff(append([]string{}, want...), append([]string{}, c.parts...)); diff != "" {
				t.Fatalf("client %d (-stored +shown):\n%s\n%v", i, diff, c.seen)
			}
			if c.id != "msg_c_2" || c.reason != reason || (c.failed == "auth: no") != (last.Finish == chat.Failed) {
				t.Fatalf("client %d: message %q ended as %q, error %q", i, c.id, c.reason, c.failed)
			}
			if diff := cmp.Diff(late.seen, c.seen); diff != "" && w.voids == 0 && c.resends == 0 {
				t.Fatalf("nothing was void, and client %d was sent (-replay +live):\n%s", i, diff)
			}
		}
		if clients[0].resends > 0 && w.voids == 0 {
			t.Fatalf("nothing was void, and an undisturbed client was told so: %v", clients[0].seen)
		}
	})
}

// TestClientsThatTakeNothingBackKeepWhatTheyShow: without reset-step the message is the answer when the model repeats itself, and otherwise ends with an error
// that says so. It is never the answer twice.
func TestClientsThatTakeNothingBackKeepWhatTheyShow(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, rapid.Bool().Draw(t, "the model repeats itself"))
		c := &client{}
		live(w, []*client{c}, true)
		want, last := w.answer()
		cut := last.Finish == chat.Interrupted || last.Finish == chat.Failed
		switch same := cmp.Equal(want, c.parts) || len(want)+len(c.parts) == 0; {
		case c.resends > 0:
			t.Fatal("it was told to take something back")
		case same || c.failed != "" && c.failed != "auth: no":
		case cut && w.voids > 0: // the last attempt was cut off before it had said what is shown
		default:
			t.Fatalf("shown %q, stored %q, error %q\n%v", c.parts, want, c.failed, c.seen)
		}
		if c.failed == "" && w.voids == 0 && !cmp.Equal(want, c.parts) && len(want) > 0 {
			t.Fatalf("shown %q, stored %q", c.parts, want)
		}
	})
}
