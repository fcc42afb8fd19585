package responses

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"pgregory.net/rapid"

	"processor/internal/chat"
	"processor/internal/chat/chattest"
)

// world is a chat that lives through random transitions, and everything that was published of it.
type world struct {
	t         *rapid.T
	store     *chattest.Memory
	published []chat.Event
	lease     chat.Lease
	owned     bool
	partial   chat.Partial
	count     int
}

const subject = chat.ID("a_1") // ids may look like parts of ours

func newWorld(t *rapid.T) *world {
	w := &world{t: t, store: chattest.NewMemory()}
	w.must(w.store.Register(t.Context(), chat.Worker{ID: "w"}))
	sent, err := w.store.Create(t.Context(), chat.NewChat{ID: subject, Model: "demo/echo", Message: w.message()})
	w.tell(sent.Outcome, err)
	return w
}

func (w *world) message() *chat.NewMessage {
	w.count++
	return &chat.NewMessage{Chat: subject, Parts: []chat.Part{{Type: chat.TextPart, Text: "hello"}}, ClientID: fmt.Sprint(w.count), Params: []byte(`{"client": {"model": "m"}}`)}
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
	if errors.As(err, &refusal) || errors.Is(err, chat.ErrNothingToDo) || errors.Is(err, chat.ErrInterrupted) {
		return
	}
	w.must(err)
	w.published = append(w.published, o.Events("test")...)
	c := o.Chat
	if !w.owned || (c.Status == chat.Running && c.Epoch == w.lease.Epoch && c.Turn == w.lease.Turn && c.Step == w.lease.Step) {
		return
	}
	w.own(c)
}

func (w *world) own(c chat.Chat) {
	w.owned = c.Status == chat.Running
	seq := w.partial.Seq
	if c.Epoch != w.lease.Epoch {
		seq = 0
	}
	w.lease = chat.Lease{Chat: c.ID, Number: c.Number, Worker: "w", Epoch: c.Epoch, Turn: c.Turn, Step: c.Step}
	w.partial = chat.Partial{Chat: c.ID, Number: c.Number, Turn: c.Turn, Step: c.Step, Epoch: c.Epoch, Seq: seq}
}

func (w *world) delta(kind chat.PartType) {
	p := &w.partial
	w.count++
	text := fmt.Sprintf("%d ", w.count)
	p.Parts = slices.Clone(p.Parts)
	if n := len(p.Parts); n == 0 || p.Parts[n-1].Type != kind {
		p.Parts = append(p.Parts, chat.Part{Type: kind})
	}
	p.Parts[len(p.Parts)-1].Text += text
	p.Chunks = append(slices.Clone(p.Chunks), int32(len(text)))
	p.Seq++
	c, err := w.store.Get(w.t.Context(), subject)
	w.must(err)
	w.published = append(w.published, chat.Event{
		Type: chat.DeltaEvent, Chat: subject, Number: p.Number, Turn: p.Turn, Step: p.Step, Epoch: p.Epoch, Seq: p.Seq,
		Version: c.Version, Delta: &chat.Delta{Kind: chat.DeltaKind(kind), Text: text},
	})
}

func (w *world) says(f chat.Finish) []chat.Message {
	return []chat.Message{{Role: chat.Assistant, Parts: append([]chat.Part{}, w.partial.Parts...), Chunks: w.partial.Chunks, Finish: f, Usage: &chat.Usage{InputTokens: 2, OutputTokens: 3}}}
}

// step does one random thing that is possible now.
func (w *world) step() {
	ctx := w.t.Context()
	acts := []string{"claim", "claim", "interrupt", "retry", "send"}
	if w.owned {
		acts = []string{"text", "text", "text", "text", "reasoning", "reasoning", "finish", "length", "fail", "backoff", "yield", "call", "interrupt", "send"}
	}
	switch act := rapid.SampledFrom(acts).Draw(w.t, "act"); act {
	case "text", "reasoning":
		w.delta(chat.PartType(act))
	case "claim":
		w.claim()
	case "interrupt":
		w.tell(w.store.Interrupt(ctx, subject, 0, &w.partial))
	case "retry":
		w.tell(w.store.Retry(ctx, subject))
	case "send":
		sent, err := w.store.Send(ctx, *w.message(), &w.partial)
		w.tell(sent.Outcome, err)
	case "finish":
		w.tell(w.store.Finish(ctx, w.lease, w.says(chat.Stop)))
	case "length":
		w.tell(w.store.Finish(ctx, w.lease, w.says(chat.Length)))
	case "fail":
		last := w.says(chat.Failed)
		last[0].Error = &chat.TurnError{Code: "auth", Message: "it failed"}
		w.tell(w.store.Fail(ctx, w.lease, last))
	case "backoff":
		w.tell(w.store.Backoff(ctx, w.lease, 0, chat.TurnError{Code: "test"}))
	case "yield":
		w.tell(w.store.Yield(ctx, w.lease))
	case "call":
		w.call()
	}
}

func (w *world) claim() {
	c, err := w.store.Claim(w.t.Context(), subject, "w", true, chat.Budget{Messages: 9, Bytes: 1 << 20})
	if err == nil {
		w.own(c.Chat)
	}
	w.tell(chat.Outcome{Changed: err == nil, Chat: c.Chat}, err)
}

// call commits a step that calls a tool, and the tool's answer as another.
func (w *world) call() {
	w.count++
	id := fmt.Sprint("call-", w.count)
	step := w.says("")
	step[0].Parts = append(step[0].Parts, chat.Part{Type: chat.ToolCallPart, CallID: id, Name: "clock", Input: json.RawMessage(`{"zone":"UTC"}`)})
	w.tell(w.store.Commit(w.t.Context(), w.lease, step))
	if w.owned {
		w.tell(w.store.Commit(w.t.Context(), w.lease, []chat.Message{{Role: chat.Tool, Parts: []chat.Part{{Type: chat.ToolResultPart, CallID: id, Text: "noon"}}}}))
	}
}

// settle brings the chat a step nearer to being idle, and says whether it is.
func (w *world) settle() bool {
	c, err := w.store.Get(w.t.Context(), subject)
	w.must(err)
	switch c.Status {
	case chat.Pending:
		w.claim()
	case chat.Running:
		w.delta(chat.TextPart)
		w.tell(w.store.Finish(w.t.Context(), w.lease, w.says(chat.Stop)))
	case chat.Waiting, chat.Parked:
		return true
	}
	return false
}

// viewer follows one response.
type viewer struct {
	w      *world
	t      chat.Transcript
	p      *projector
	events []event
	silent bool
}

func (w *world) follow(turn int, after int64) *viewer {
	return &viewer{w: w, p: newProjector(ref{subject, turn}, "demo/echo", after)}
}

func (v *viewer) see(events []chat.Event) {
	for _, e := range events {
		if !v.p.over {
			v.events = append(v.events, v.p.apply(e)...)
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

func (v *viewer) resync() {
	for {
		s, err := v.w.store.Snapshot(v.w.t.Context(), subject, v.t.After(), 3)
		v.w.must(err)
		if v.w.owned && s.Next == 0 && !v.silent && rapid.Bool().Draw(v.w.t, "owner answers") {
			p := v.w.partial
			s.Partial = &p
		}
		v.see(v.t.Reset(s))
		if s.Next == 0 {
			return
		}
	}
}
