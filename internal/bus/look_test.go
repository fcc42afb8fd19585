package bus_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"processor/internal/bus"
	"processor/internal/chat"
)

// shelf is what waits for an owner.
type shelf struct {
	mu    sync.Mutex
	chats []chat.ID
}

func (s *shelf) pending(_ context.Context, limit int) ([]chat.ID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]chat.ID(nil), s.chats[:min(limit, len(s.chats))]...), nil
}

// take is a claim: it succeeds once.
func (s *shelf) take(id chat.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, other := range s.chats {
		if other == id {
			s.chats = append(s.chats[:i:i], s.chats[i+1:]...)
			return true
		}
	}
	return false
}

func (s *shelf) put(chats ...chat.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chats = append(s.chats, chats...)
}

// More chats than slots, and no server: each is handled once. When the server is back, dispatches are again what is handled.
func TestWhoHearsNothingLooks(t *testing.T) {
	t.Parallel()
	k := setup(t)
	var s shelf
	s.put(ids("unheard", 40)...)
	got := make(chan chat.ID, 100)
	deliverOr(t, k.bus, chat.NewSlots(3), s.pending, func(_ context.Context, d bus.Delivery) {
		if s.take(d.Chat) {
			got <- d.Chat
		}
		d.Ack()
	})
	k.server.Halt()
	for range 40 {
		receive(t, got)
	}
	if k.bus.Counts().Looks == 0 {
		t.Error("nobody counted a look")
	}
	if err := k.server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.put("heard")
	eventually(t, "dispatched", func() bool { return k.bus.Dispatch(t.Context(), "heard", false) == nil })
	if id := receive(t, got); id != "heard" {
		t.Errorf("got %s", id)
	}
	eventually(t, "the stream is empty", func() bool { return k.pending(t) == 0 })
}

func TestALookThatFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	k := setup(t)
	got, looks := make(chan chat.ID, 1), 0
	deliverOr(t, k.bus, chat.NewSlots(1), func(context.Context, int) ([]chat.ID, error) {
		if looks++; looks == 1 {
			return nil, errors.New("the database is away too")
		}
		return []chat.ID{"chat"}, nil
	}, func(_ context.Context, d bus.Delivery) {
		select {
		case got <- d.Chat:
		default:
		}
	})
	k.server.Halt()
	if id := receive(t, got); id != "chat" {
		t.Errorf("got %s", id)
	}
}

// What can't be claimed now, as a suspect for which there is no place, is found by every look.
func TestWhatIsHandedBackIsNotLookedForAtOnce(t *testing.T) {
	t.Parallel()
	k := setup(t)
	var s shelf
	s.put(ids("suspect", 3)...)
	const looks, apart = 8, 200 * time.Millisecond // two looks in a row, and then a pause longer than this
	var times []time.Time
	enough := make(chan struct{}, 1)
	deliverOr(t, k.bus, chat.NewSlots(3), func(ctx context.Context, limit int) ([]chat.ID, error) {
		if len(times) < looks {
			if times = append(times, time.Now()); len(times) == looks {
				enough <- struct{}{}
			}
		}
		return s.pending(ctx, limit)
	}, func(_ context.Context, d bus.Delivery) { d.Nak(time.Second) })
	k.server.Halt()
	receive(t, enough)
	if took := times[looks-1].Sub(times[0]); took < (looks/2-1)*apart {
		t.Errorf("%d looks in %s", looks, took)
	}
}
