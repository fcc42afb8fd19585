package gateway

import (
	"context"
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
