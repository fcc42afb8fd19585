package gateway

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"processor/internal/bus"
	"processor/internal/chat"
	"processor/internal/local/localtest"
)

const patience = 20 * time.Second

func receive[T any](t *testing.T, from <-chan T) (v T, ok bool) {
	t.Helper()
	select {
	case v, ok = <-from:
		return v, ok
	case <-time.After(patience):
		t.Fatal("waited in vain")
		return v, ok
	}
}

func TestWatchersOfAChatShareASubscriptionAndASlowOneIsDropped(t *testing.T) {
	t.Parallel()
	nats := localtest.NATS(t)
	b, err := bus.Connect(t.Context(), bus.Config{URL: nats.URL(), Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	h := &hub{events: b, chats: map[chat.ID]*topic{}}
	slow, leaveSlow, err := h.Subscribe(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	quick, leaveQuick, err := h.Subscribe(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	for seq := range int64(hubBuffer + 1) {
		b.Announce(chat.Event{Type: chat.DeltaEvent, Chat: "c", Seq: seq})
		if e, _ := receive(t, quick); e.Seq != seq {
			t.Fatalf("got %d, want %d", e.Seq, seq)
		}
	}
	for range hubBuffer {
		receive(t, slow)
	}
	if _, ok := receive(t, slow); ok {
		t.Error("who is too far behind still gets events")
	}
	leaveSlow()
	if err := nats.Restart(t.Context()); err != nil { // events may have been lost
		t.Fatal(err)
	}
	if _, ok := receive(t, quick); ok {
		t.Error("a subscription that may have missed something goes on")
	}
	leaveQuick()
	if len(h.chats) != 0 {
		t.Errorf("%d topics are left", len(h.chats))
	}
}

// cursed is a bus whose first subscription panics.
type cursed struct {
	*bus.Bus
	lifted atomic.Bool
}

func (c *cursed) Subscribe(ctx context.Context, id chat.ID) (<-chan chat.Event, func(), error) {
	if !c.lifted.Swap(true) {
		panic("cursed")
	}
	return c.Bus.Subscribe(ctx, id)
}

// TestAPanicOnASharedGoroutineEndsTheWatchesAndNotTheProcess: the goroutines of the hub are nobody's request, so nobody else would recover it.
func TestAPanicOnASharedGoroutineEndsTheWatchesAndNotTheProcess(t *testing.T) {
	t.Parallel()
	b, err := bus.Connect(t.Context(), bus.Config{URL: localtest.NATS(t).URL(), Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	var log bytes.Buffer
	h := &hub{events: &cursed{Bus: b}, chats: map[chat.ID]*topic{}, logger: slog.New(slog.NewTextHandler(&log, nil))}
	if _, _, err := h.Subscribe(t.Context(), "c"); !errors.Is(err, errPanicked) {
		t.Fatalf("a subscription that panics: %v", err)
	}
	events, leave, err := h.Subscribe(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	h.chats["c"].wanted = func(e chat.Event) bool {
		if e.Seq == 2 {
			panic("unlucky")
		}
		return true
	}
	for seq := range int64(3) {
		b.Announce(chat.Event{Type: chat.DeltaEvent, Chat: "c", Seq: seq})
	}
	for seq := range int64(2) {
		if e, _ := receive(t, events); e.Seq != seq {
			t.Fatalf("got %d, want %d", e.Seq, seq)
		}
	}
	if _, ok := receive(t, events); ok {
		t.Error("a watch whose goroutine panicked goes on")
	}
	leave()
	if len(h.chats) != 0 {
		t.Errorf("%d topics are left", len(h.chats))
	}
	if said := log.String(); !strings.Contains(said, "cursed") || !strings.Contains(said, "unlucky") {
		t.Errorf("the log is %s", said)
	}
}

func TestAPanicOfASharedReadIsItsReadersError(t *testing.T) {
	t.Parallel()
	var reads atomic.Int64
	s := snapshots{flights: map[flightKey]*flight{}, logger: slog.New(slog.DiscardHandler), read: func(context.Context, chat.MessagesRequest) (chat.Snapshot, error) {
		if reads.Add(1) == 1 {
			panic("cursed")
		}
		return chat.Snapshot{Next: 7}, nil
	}}
	if _, err := s.get(t.Context(), chat.MessagesRequest{Chat: "c"}); !errors.Is(err, errPanicked) {
		t.Errorf("a read that panics: %v", err)
	}
	if snap, err := s.get(t.Context(), chat.MessagesRequest{Chat: "c"}); err != nil || snap.Next != 7 {
		t.Errorf("the next one: %+v, %v", snap, err)
	}
}

func TestAReadThatBeganBeforeSomebodyAskedIsNotHisAnswer(t *testing.T) {
	t.Parallel()
	began, goOn := make(chan int64, 10), make(chan struct{})
	var reads atomic.Int64
	s := snapshots{flights: map[flightKey]*flight{}, read: func(context.Context, chat.MessagesRequest) (chat.Snapshot, error) {
		n := reads.Add(1)
		began <- n
		<-goOn
		return chat.Snapshot{Next: n}, nil
	}}
	ask := func() <-chan int64 {
		answer := make(chan int64, 1)
		go func() {
			snap, err := s.get(t.Context(), chat.MessagesRequest{Chat: "c"})
			if err != nil {
				t.Error(err)
			}
			answer <- snap.Next
		}()
		return answer
	}
	first := ask()
	receive(t, began)
	var later []<-chan int64
	for range 5 {
		later = append(later, ask())
	}
	goOn <- struct{}{}
	if n, _ := receive(t, first); n != 1 {
		t.Errorf("the first got read %d", n)
	}
	close(goOn)
	for _, answer := range later {
		if n, _ := receive(t, answer); n < 2 {
			t.Errorf("who asked during read 1 got read %d", n)
		}
	}
}
