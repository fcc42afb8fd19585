package bus_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"processor/internal/bus"
	"processor/internal/chat"
)

func delta(id chat.ID, seq int64, text string) chat.Event {
	return chat.Event{Type: chat.DeltaEvent, Chat: id, Seq: seq, Delta: &chat.Delta{Kind: chat.TextDelta, Text: text}}
}

func TestASubscriberSeesWhatIsAnnouncedAfterwards(t *testing.T) {
	t.Parallel()
	k := setup(t)
	one, stop, err := k.bus.Subscribe(t.Context(), "chat")
	if err != nil {
		t.Fatal(err)
	}
	all, stopAll, err := k.bus.SubscribeAll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	publisher := k.connect(t, bus.Config{})
	publisher.Announce(delta("other", 1, "x"), delta("chat", 1, "a"), delta("chat", 2, "<b>"))
	for _, want := range []chat.Event{delta("chat", 1, "a"), delta("chat", 2, "<b>")} {
		if d := cmp.Diff(want, receive(t, one)); d != "" {
			t.Error(d)
		}
	}
	if e := receive(t, all); e.Chat != "other" {
		t.Errorf("the first event of all is %+v", e)
	}
	stop()
	stop()
	closed(t, one)
	stopAll()
	closed(t, all)
}

func TestASubscriptionNeedsAnID(t *testing.T) {
	t.Parallel()
	k := setup(t)
	for _, id := range []chat.ID{"", ">", "a.b", "*"} {
		if _, _, err := k.bus.Subscribe(t.Context(), id); err == nil {
			t.Errorf("%q was accepted", id)
		}
	}
}

func message(text string) *chat.Message {
	id := int64(42)
	return &chat.Message{ID: &id, Chat: "chat", Role: chat.User, Parts: []chat.Part{{Type: chat.TextPart, Text: text}}}
}

func TestALargeMessageFitsUnescapedAndAnEvenLargerOneIsNamed(t *testing.T) {
	t.Parallel()
	k := setup(t)
	events, stop, err := k.bus.Subscribe(t.Context(), "chat")
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	fits := message(strings.Repeat("<", chat.MaxText)) // escaped for HTML it would be 1.5 MiB
	k.bus.Announce(
		chat.Event{Type: chat.MessageEvent, Chat: "chat", Message: fits},
		chat.Event{Type: chat.MessageEvent, Chat: "chat", Message: message(strings.Repeat("\x01", chat.MaxText))},
	)
	if e := receive(t, events); e.Message == nil || e.Message.Text() != fits.Text() {
		t.Error("the message that fits did not come whole")
	}
	if e := receive(t, events); e.Message != nil || e.MessageID != 42 {
		t.Errorf("got %+v", e)
	}
	if n := k.bus.Counts().Lost; n != 0 {
		t.Errorf("%d lost", n)
	}
}

func TestASlowReaderIsDroppedAndHoldsUpNobody(t *testing.T) {
	t.Parallel()
	k := setup(t)
	slow, stopSlow, err := k.bus.Subscribe(t.Context(), "chat")
	if err != nil {
		t.Fatal(err)
	}
	defer stopSlow()
	quick, stopQuick, err := k.bus.Subscribe(t.Context(), "chat")
	if err != nil {
		t.Fatal(err)
	}
	defer stopQuick()
	for seq := range int64(3000) { // more than a reader may be behind
		k.bus.Announce(delta("chat", seq+1, "word "))
		if e := receive(t, quick); e.Seq != seq+1 {
			t.Fatalf("got %d, want %d", e.Seq, seq+1)
		}
	}
	closed(t, slow)
	if c := k.bus.Counts(); c.Slow != 1 {
		t.Errorf("%d slow readers, want 1", c.Slow)
	}
}

func TestAFeedEndsAfterAnOutageSoThatItsReaderReadsAgain(t *testing.T) {
	t.Parallel()
	k := setup(t)
	events, stop, err := k.bus.Subscribe(t.Context(), "chat")
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	k.server.Halt()
	eventually(t, "disconnected", func() bool { return !k.bus.Connected() })
	k.bus.Announce(delta("chat", 1, "lost"))
	if _, _, err := k.bus.Subscribe(t.Context(), "chat"); err == nil {
		t.Error("subscribed without a server")
	}
	select {
	case e, ok := <-events:
		t.Errorf("got %+v, %t during the outage", e, ok)
	default:
	}
	if err := k.server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	closed(t, events)
	if n := k.bus.Counts().Lost; n != 1 {
		t.Errorf("%d events lost, want 1", n)
	}
	again, stopAgain, err := k.bus.Subscribe(t.Context(), "chat")
	if err != nil {
		t.Fatal(err)
	}
	defer stopAgain()
	k.bus.Announce(delta("chat", 2, "heard"))
	if e := receive(t, again); e.Seq != 2 {
		t.Errorf("got %+v", e)
	}
}

func TestAnEventThatCanNotBeReadIsSkipped(t *testing.T) {
	t.Parallel()
	k := setup(t)
	events, stop, err := k.bus.Subscribe(t.Context(), "chat")
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for _, data := range []string{"", "{", `[]`, `{"type":7}`} {
		if err := k.nc.Publish("chats.events.chat", []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.nc.Publish("chats.events.chat", []byte(`{"type":"delta","seq":5,"of a newer build":1}`)); err != nil {
		t.Fatal(err)
	}
	if e := receive(t, events); e.Seq != 5 {
		t.Errorf("got %+v", e)
	}
}

func TestTheLastPartialIsKept(t *testing.T) {
	t.Parallel()
	k := setup(t)
	if _, ok, err := k.bus.LastPartial(t.Context(), "chat"); ok || err != nil {
		t.Errorf("before the first: %t, %v", ok, err)
	}
	want := chat.Partial{Chat: "chat", Number: 3, Epoch: 2, Seq: 9, Parts: []chat.Part{{Type: chat.TextPart, Text: strings.Repeat("<", 512<<10)}}, Chunks: []int32{512 << 10}}
	k.bus.SavePartial(chat.Partial{Chat: "chat", Epoch: 1})
	k.bus.SavePartial(want)
	var got chat.Partial
	eventually(t, "the last one is there", func() bool {
		var ok bool
		var err error
		got, ok, err = k.bus.LastPartial(t.Context(), "chat")
		return err == nil && ok && got.Epoch == 2
	})
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	tooLarge := want
	tooLarge.Seq, tooLarge.Parts = 10, []chat.Part{{Type: chat.TextPart, Text: strings.Repeat("\x01", 512<<10)}}
	k.bus.SavePartial(tooLarge)
	if got, ok, err := k.bus.LastPartial(t.Context(), "chat"); !ok || err != nil || got.Seq != 9 {
		t.Errorf("after one that is too large: seq %d, %t, %v", got.Seq, ok, err)
	}
}

// What is on the wire is the contract: people watch it with `nats sub`.
func TestAnEventOnTheWire(t *testing.T) {
	t.Parallel()
	k := setup(t)
	in := make(chan *nats.Msg, 1)
	sub, err := k.nc.ChanSubscribe("chats.events.>", in)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe()
	if err := k.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	e := delta("chat", 7, "<hi>")
	e.At = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	k.bus.Announce(e)
	m := receive(t, in)
	if m.Subject != "chats.events.chat" || !strings.Contains(string(m.Data), `"text":"<hi>"`) || !json.Valid(m.Data) || strings.HasSuffix(string(m.Data), "\n") {
		t.Errorf("%s %q", m.Subject, m.Data)
	}
}
