package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"processor/internal/bus"
	"processor/internal/chat"
)

// sent is a message whose outcome is told by hand.
type sent struct {
	t        *testing.T
	out, err bytes.Buffer
	s        *sending
}

func newSent(t *testing.T) *sent {
	t.Helper()
	x := &sent{t: t}
	x.s = newSending(nil, &Streams{Out: &x.out, Err: &x.err}, false)
	x.s.client = "ours"
	return x
}

func (x *sent) take(e chat.Event) error {
	x.t.Helper()
	return x.s.take(x.t.Context(), e)
}

func (x *sent) says(turn int, text string) {
	x.t.Helper()
	if err := x.take(chat.Event{Type: chat.DeltaEvent, Turn: turn, Delta: &chat.Delta{Kind: chat.TextDelta, Text: text}}); err != nil {
		x.t.Fatal(err)
	}
}

func message(id int64, turn int, role chat.Role, text string, finish chat.Finish) chat.Event {
	m := &chat.Message{ID: &id, Turn: turn, Role: role, Parts: []chat.Part{{Type: chat.TextPart, Text: text}}, Finish: finish}
	return chat.Event{Type: chat.MessageEvent, Turn: turn, Message: m, MessageID: id}
}

func (x *sent) expect(out string) {
	x.t.Helper()
	if got := x.out.String(); got != out {
		x.t.Errorf("standard output is %q, want %q", got, out)
	}
	if got := x.err.String(); got != "" {
		x.t.Errorf("standard error of a script is %q, want nothing", got)
	}
}

func TestSendPrintsItsOwnTurnOnly(t *testing.T) {
	t.Parallel()
	x := newSent(t)
	id := int64(7)
	x.s.accepted("c", chat.Message{ID: &id, Turn: 2})
	x.says(1, "not this")
	x.says(2, "this ")
	x.says(3, "nor this")
	if err := x.take(message(8, 2, chat.Assistant, "this one", chat.Stop)); !errors.Is(err, chat.ErrStopWatching) {
		t.Fatalf("the end of the turn is %v, want ErrStopWatching", err)
	}
	x.expect("this one\n")
	if err := x.s.outcome(); err != nil {
		t.Errorf("outcome: %v", err)
	}
}

func TestSendWaitsForItsMessageToLeaveTheQueue(t *testing.T) {
	t.Parallel()
	x := newSent(t)
	x.s.accepted("c", chat.Message{})
	x.says(1, "of another")
	if err := x.take(message(5, 1, chat.Assistant, "of another", chat.Stop)); err != nil {
		t.Fatalf("the end of another turn: %v", err)
	}
	ours := message(6, 2, chat.User, "hello", "")
	ours.Message.ClientID = "ours"
	if err := x.take(ours); err != nil {
		t.Fatal(err)
	}
	x.says(2, "ours")
	x.expect("ours")
}

func TestSendShowsOneAnswerWhenAReplicaDies(t *testing.T) {
	t.Parallel()
	x := newSent(t)
	id := int64(1)
	x.s.accepted("c", chat.Message{ID: &id, Turn: 1})
	x.says(1, "one two ")
	for _, e := range []chat.Event{
		{Type: chat.VoidEvent, Turn: 1},
		{Type: chat.StatusEvent, Turn: 1, Status: chat.Pending, Reason: "recovered"},
		{Type: chat.StatusEvent, Turn: 1, Status: chat.Running, Reason: "claimed"},
	} {
		if err := x.take(e); err != nil {
			t.Fatal(err)
		}
	}
	x.says(1, "one two three")
	x.expect("one two three")
}

func TestSendFailsWithTheTurnsOutcome(t *testing.T) {
	t.Parallel()
	failed := chat.Message{Finish: chat.Failed, Error: &chat.TurnError{Code: "auth", Message: "the key\nwas refused", At: time.Now()}}
	for _, row := range []struct {
		last chat.Message
		want string
	}{
		{failed, "the turn failed, auth: the key was refused; try again with `processor retry c`"},
		{chat.Message{Finish: chat.Interrupted}, "the turn was stopped before its answer was complete"},
	} {
		x := newSent(t)
		x.s.chat, x.s.last = "c", &row.last
		if err := x.s.outcome(); err == nil || err.Error() != row.want {
			t.Errorf("outcome is %v, want %q", err, row.want)
		}
	}
}

func TestSendFollowsItsMessageThroughAnEdit(t *testing.T) {
	t.Parallel()
	x := newSent(t)
	id := int64(7)
	x.s.accepted("c", chat.Message{ID: &id, Turn: 2})
	x.says(2, "this ")
	again := message(9, 3, chat.User, "edited", "")
	again.Message.ClientID = "ours"
	for _, e := range []chat.Event{
		{Type: chat.RemovedEvent, Turn: 3, RemovedFrom: 5, MessageID: 8}, again, {Type: chat.VoidEvent, Turn: 3}, {Type: chat.StatusEvent, Turn: 3},
	} {
		if err := x.take(e); err != nil {
			t.Fatal(err)
		}
	}
	x.says(3, "this too")
	x.expect("this too")
}

func TestSendEndsWhenItsMessageIsRemoved(t *testing.T) {
	t.Parallel()
	x := newSent(t)
	id := int64(7)
	x.s.accepted("c", chat.Message{ID: &id, Turn: 2})
	before := chat.Event{Type: chat.RemovedEvent, Turn: 2, RemovedFrom: 3, MessageID: 6}
	removed, other := chat.Event{Type: chat.RemovedEvent, Turn: 3, RemovedFrom: 5, MessageID: 8}, message(9, 3, chat.User, "another", "")
	for _, e := range []chat.Event{before, {Type: chat.StatusEvent, Turn: 2}, removed, other} {
		if err := x.take(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.take(chat.Event{Type: chat.StatusEvent, Turn: 3}); !errors.Is(err, chat.ErrStopWatching) || !x.s.gone {
		t.Errorf("after the removal: %v, gone %t", err, x.s.gone)
	}
}

func TestSendRefusesStandardInputThatIsNotUTF8(t *testing.T) {
	t.Parallel()
	for input, want := range map[string]string{"caf\xe9\n": "the text is not UTF-8", strings.Repeat("x", chat.MaxText+1): "longer than 262144 bytes"} {
		_, err := (&SendCmd{}).read(&Streams{In: strings.NewReader(input)})
		var usage usageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %s", input, err, want)
		}
	}
	if text, err := (&SendCmd{}).read(&Streams{In: strings.NewReader("café\n")}); text != "café" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
}

// TestASecondCtrlCLeavesThoughNATSIsSilent: the first one is a request that nobody answers for many seconds.
func TestASecondCtrlCLeavesThoughNATSIsSilent(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	proxy, through := d.proxy(d.nats.URL())
	b, err := bus.Connect(t.Context(), bus.Config{URL: through, Name: "test", Logger: quiet()})
	d.must(err)
	t.Cleanup(b.Close)
	proxy.Stall()
	s := newSending(b, &Streams{Out: io.Discard, Err: io.Discard}, false)
	id := int64(1)
	s.accepted("c", chat.Message{ID: &id, Turn: 1})
	ctx, leave := context.WithCancelCause(t.Context())
	defer leave(nil)
	keys := make(chan os.Signal, 2)
	keys <- os.Interrupt
	keys <- os.Interrupt
	began := time.Now()
	s.listen(ctx, keys, leave)
	if took := time.Since(began); !errors.Is(context.Cause(ctx), errLeft) || took > 5*time.Second {
		t.Errorf("after %s: %v", took, context.Cause(ctx))
	}
}
