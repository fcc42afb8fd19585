package chat_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"processor/internal/chat"
	"processor/internal/chat/chattest"
)

// world is one chat that lives through random transitions, and everything that was published of it.
type world struct {
	t         *rapid.T
	store     *chattest.Memory
	published []chat.Event
	lease     chat.Lease
	owned     bool
	partial   chat.Partial
	sends     int
	calls     int
	// keep spares the chat from deletion; silent owners answer nobody.
	keep   bool
	silent bool
}

const watched = chat.ID("watched")

func newWorld(t *rapid.T) *world {
	w := &world{t: t, store: chattest.NewMemory()}
	w.must(w.store.Register(t.Context(), chat.Worker{ID: "w"}))
	w.create()
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) tell(o chat.Outcome, err error) {
	w.t.Helper()
	var refusal *chat.Error
	if errors.As(err, &refusal) || errors.Is(err, chat.ErrNothingToDo) {
		return
	}
	w.must(err)
	w.published = append(w.published, o.Events("test")...)
	if c := o.Chat; w.owned && (c.Status != chat.Running || c.Epoch != w.lease.Epoch || c.Turn != w.lease.Turn || c.Step != w.lease.Step) {
		w.own(c)
	}
}

// own follows the row: another epoch or step has a partial of its own.
func (w *world) own(c chat.Chat) {
	w.owned = c.Status == chat.Running
	seq := w.partial.Seq
	if c.Epoch != w.lease.Epoch {
		seq = 0
	}
	w.lease = chat.Lease{Chat: c.ID, Number: c.Number, Worker: "w", Epoch: c.Epoch, Turn: c.Turn, Step: c.Step}
	w.partial = chat.Partial{Chat: c.ID, Number: c.Number, Turn: c.Turn, Step: c.Step, Epoch: c.Epoch, Seq: seq}
}

func (w *world) create() {
	sent, err := w.store.Create(w.t.Context(), chat.NewChat{ID: watched})
	w.must(err)
	w.tell(sent.Outcome, nil)
}

func (w *world) delta() {
	if !w.owned {
		return
	}
	p := &w.partial
	text := fmt.Sprintf("%d ", len(w.published))
	kind := rapid.SampledFrom([]chat.PartType{chat.TextPart, chat.TextPart, chat.ReasoningPart}).Draw(w.t, "kind")
	p.Parts = slices.Clone(p.Parts)
	if n := len(p.Parts); n == 0 || p.Parts[n-1].Type != kind {
		p.Parts = append(p.Parts, chat.Part{Type: kind})
	}
	p.Parts[len(p.Parts)-1].Text += text
	p.Chunks = append(slices.Clone(p.Chunks), int32(len(text)))
	p.Seq++
	c, err := w.store.Get(w.t.Context(), watched)
	w.must(err)
	w.published = append(w.published, chat.Event{
		Type: chat.DeltaEvent, Chat: watched, Number: p.Number, Turn: p.Turn, Step: p.Step, Epoch: p.Epoch, Seq: p.Seq,
		Version: c.Version, Delta: &chat.Delta{Kind: chat.DeltaKind(kind), Text: text},
	})
}

func (w *world) said(f chat.Finish) []chat.Message {
	return []chat.Message{{Role: chat.Assistant, Parts: append([]chat.Part{}, w.partial.Parts...), Chunks: w.partial.Chunks, Finish: f}}
}

// act does one random thing.
func (w *world) act() {
	w.do(rapid.SampledFrom([]string{"delta", "delta", "delta", "delta", "send", "claim", "claim", "finish", "fail", "retry", "backoff", "yield", "interrupt", "commit", "commit", "delete", "truncate"}).Draw(w.t, "act"))
}

func (w *world) do(act string) {
	ctx := w.t.Context()
	switch act {
	case "delta":
		w.delta()
	case "send":
		w.sends++
		busy := rapid.SampledFrom([]chat.Busy{chat.BusyQueue, chat.BusyInterrupt}).Draw(w.t, "busy")
		sent, err := w.store.Send(ctx, chat.NewMessage{Chat: watched, Parts: []chat.Part{{Type: chat.TextPart, Text: "hello"}}, ClientID: fmt.Sprint(w.sends), Busy: busy}, &w.partial)
		w.tell(sent.Outcome, err)
	case "claim":
		c, err := w.store.Claim(ctx, watched, "w", true, chat.Budget{Messages: 9, Bytes: 1 << 20})
		if err == nil {
			w.own(c.Chat)
		}
		w.tell(chat.Outcome{Changed: err == nil, Chat: c.Chat}, err)
	case "retry":
		w.tell(w.store.Retry(ctx, watched))
	case "interrupt":
		w.tell(w.store.Interrupt(ctx, watched, 0, &w.partial))
	case "truncate":
		w.truncate(ctx)
	case "delete":
		w.recreate(ctx)
	default:
		w.write(ctx, act)
	}
}

// write is one of the owner's writes.
func (w *world) write(ctx context.Context, act string) {
	if !w.owned {
		return
	}
	var o chat.Outcome
	var err error
	switch act {
	case "finish":
		o, err = w.store.Finish(ctx, w.lease, w.said(chat.Stop))
	case "fail":
		last := w.said(chat.Failed)
		last[0].Error = &chat.TurnError{Code: "test", Message: "failed"}
		o, err = w.store.Fail(ctx, w.lease, last)
	case "backoff":
		o, err = w.store.Backoff(ctx, w.lease, 0, chat.TurnError{Code: "test"})
	case "yield":
		o, err = w.store.Yield(ctx, w.lease)
	case "commit":
		step := w.said("")
		if rapid.Bool().Draw(w.t, "calls a tool") {
			w.calls++
			step[0].Parts = append(step[0].Parts, chat.Part{Type: chat.ToolCallPart, CallID: fmt.Sprint(w.calls), Name: "tool"})
		}
		o, err = w.store.Commit(ctx, w.lease, step)
	}
	if errors.Is(err, chat.ErrInterrupted) {
		return
	}
	w.tell(o, err)
}

// truncate cuts at any message; only those of users are accepted.
func (w *world) truncate(ctx context.Context) {
	s, err := w.store.Snapshot(ctx, watched, 0, 10_000)
	w.must(err)
	if len(s.Messages) == 0 {
		return
	}
	cut := rapid.SampledFrom(s.Messages).Draw(w.t, "cut")
	w.tell(w.store.Truncate(ctx, chat.Truncation{Chat: watched, Message: *cut.ID}))
}

func (w *world) recreate(ctx context.Context) {
	if w.keep || rapid.IntRange(0, 5).Draw(w.t, "really") > 0 {
		return
	}
	c, err := w.store.Delete(ctx, watched)
	w.must(err)
	w.owned = false
	w.published = append(w.published, chat.Event{Type: chat.DeletedEvent, Chat: watched, Number: c.Number, Version: c.Version + 1})
	w.create()
}

// snapshot is what a replica answers now; sometimes the owner can't be asked.
func (w *world) snapshot(after int64, limit int) chat.Snapshot {
	s, err := w.store.Snapshot(w.t.Context(), watched, after, limit)
	w.must(err)
	if w.owned && s.Next == 0 && !w.silent && rapid.Bool().Draw(w.t, "owner answers") {
		p := w.partial
		s.Partial = &p
	}
	return s
}

// viewer is a client that keeps what a transcript tells it.
type viewer struct {
	w        *world
	t        chat.Transcript
	messages []string
	live     string
	at       [3]int64 // epoch, turn and last seq of what is live
	also     func(chat.Event)
}

func (v *viewer) see(events []chat.Event) {
	for _, e := range events {
		if v.also != nil {
			v.also(e)
		}
		switch e.Type {
		case chat.MessageEvent:
			v.messages = append(v.messages, describe(*e.Message))
			if e.Message.Role == chat.Assistant {
				if v.live != "" && !strings.HasPrefix(streamed(*e.Message), v.live) {
					v.w.t.Fatalf("shown live %q, committed %q, and not told that it was void", v.live, e.Message.Text())
				}
				v.live = ""
			}
		case chat.RemovedEvent:
			v.messages = slices.DeleteFunc(v.messages, func(m string) bool {
				var id int64
				if _, err := fmt.Sscan(m, &id); err != nil {
					v.w.t.Fatal(err)
				}
				return id >= e.RemovedFrom && id <= e.MessageID
			})
		case chat.DeletedEvent:
			v.messages, v.live = nil, ""
		case chat.VoidEvent:
			v.live = ""
		case chat.DeltaEvent:
			if at := [3]int64{e.Epoch, int64(e.Turn), e.Seq}; v.live != "" && (at[0] != v.at[0] || at[2] != v.at[2]+1) {
				v.w.t.Fatalf("after %v came %v", v.at, at)
			}
			v.at = [3]int64{e.Epoch, int64(e.Turn), e.Seq}
			v.live += e.Delta.Text
		}
	}
}

func (v *viewer) resync() {
	for {
		s := v.w.snapshot(v.t.After(), 3)
		if n := v.t.Chat().Number; n != 0 && n != s.Chat.Number {
			s = v.w.snapshot(0, 3)
		}
		v.see(v.t.Reset(s))
		if s.Next == 0 {
			return
		}
	}
}

func (v *viewer) take(e chat.Event) {
	out, gap := v.t.Apply(e)
	v.see(out)
	if gap {
		v.resync()
	}
}

// streamed is everything that a message says, reasoning included, as it was streamed.
func streamed(m chat.Message) string {
	var b strings.Builder
	for _, p := range m.Parts {
		b.WriteString(p.Text)
	}
	return b.String()
}

func describe(m chat.Message) string {
	return fmt.Sprintf("%d %s %s %s", *m.ID, m.Role, m.Finish, m.Text())
}

func TestWatchersEndWithTheTranscriptOfTheStore(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		v := &viewer{w: w}
		seen := 0
		var held []chat.Event
		joined := false
		for range rapid.IntRange(5, 60).Draw(t, "acts") {
			w.act()
			if !joined {
				if rapid.IntRange(0, 3).Draw(t, "join") > 0 {
					continue
				}
				joined, seen = true, len(w.published)
				v.resync()
			}
			for ; seen < len(w.published); seen++ {
				switch rapid.SampledFrom([]string{"deliver", "deliver", "deliver", "lose", "twice", "late"}).Draw(t, "bus") {
				case "deliver":
					v.take(w.published[seen])
				case "twice":
					v.take(w.published[seen])
					v.take(w.published[seen])
				case "late":
					held = append(held, w.published[seen])
				}
			}
			if len(held) > 0 && rapid.Bool().Draw(t, "release") {
				v.take(held[0])
				held = held[1:]
			}
		}
		v.resync()
		want := []string{}
		s, err := w.store.Snapshot(t.Context(), watched, 0, 10_000)
		w.must(err)
		for _, m := range s.Messages {
			want = append(want, describe(m))
		}
		if diff := cmp.Diff(want, append([]string{}, v.messages...)); diff != "" {
			t.Fatalf("the watcher's transcript differs (-store +watcher):\n%s", diff)
		}
	})
}
