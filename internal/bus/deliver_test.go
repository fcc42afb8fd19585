package bus_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"processor/internal/bus"
	"processor/internal/chat"
)

func TestADispatchReachesAHandlerAndItsAckRemovesIt(t *testing.T) {
	t.Parallel()
	k := setup(t)
	got := make(chan bus.Delivery, 2)
	deliver(t, k.bus, chat.NewSlots(10), func(_ context.Context, d bus.Delivery) { got <- d; d.Ack() })
	dispatch(t, k.bus, false, "fresh")
	if d := receive(t, got); d.Chat != "fresh" || d.Begun {
		t.Errorf("got %+v", d)
	}
	k.bus.Ring("begun", true)
	if d := receive(t, got); d.Chat != "begun" || !d.Begun {
		t.Errorf("got %+v", d)
	}
	eventually(t, "the stream is empty", func() bool { return k.pending(t) == 0 })
}

func TestBegunChatsGoFirst(t *testing.T) {
	t.Parallel()
	k := setup(t)
	dispatch(t, k.bus, false, ids("fresh", 20)...)
	dispatch(t, k.bus, true, ids("begun", 50)...)
	var s seen
	deliver(t, k.bus, chat.NewSlots(1), func(_ context.Context, d bus.Delivery) { s.add(d.Chat); d.Ack() })
	eventually(t, "all are handled", func() bool { return s.distinct() == 70 })
	for i, id := range s.order[:50] {
		if !strings.HasPrefix(string(id), "begun") {
			t.Fatalf("number %d was %s", i, id)
		}
	}
}

// An idle consumer's pull must not keep the last slot from the other consumer until it expires.
func TestTheLastSlotIsNobodysHostage(t *testing.T) {
	t.Parallel()
	k := setup(t)
	got := make(chan chat.ID)
	deliver(t, k.bus, chat.NewSlots(1), func(_ context.Context, d bus.Delivery) { d.Ack(); got <- d.Chat })
	var took []time.Duration
	for i, id := range ids("chat", 40) {
		begin := time.Now()
		dispatch(t, k.bus, i%3 == 0, id)
		if g := receive(t, got); g != id {
			t.Fatalf("got %s, want %s", g, id)
		}
		took = append(took, time.Since(begin))
	}
	// Two of three change the line, and would have to wait for an expiry. A busy machine makes a few of them as slow, not every other one.
	if slices.Sort(took); took[len(took)/2] > time.Second {
		t.Errorf("40 dispatches one after another took %s", took)
	}
}

// A replica whose slots are taken still has pulls open. What they bring goes on to a replica that has room.
func TestAFullReplicaHandsBackAtOnce(t *testing.T) {
	t.Parallel()
	k := setup(t)
	full, hold := make(chan struct{}, 1), make(chan struct{})
	deliver(t, k.bus, chat.NewSlots(1), func(_ context.Context, d bus.Delivery) { d.Ack(); full <- struct{}{}; <-hold })
	t.Cleanup(func() { close(hold) })
	dispatch(t, k.bus, false, "first")
	receive(t, full)

	other := k.connect(t, bus.Config{})
	var s seen
	deliver(t, other, chat.NewSlots(100), func(_ context.Context, d bus.Delivery) { s.add(d.Chat); d.Ack() })
	dispatch(t, k.bus, true, ids("begun", 20)...)
	dispatch(t, k.bus, false, ids("fresh", 20)...)
	eventually(t, "the other replica has all", func() bool { return s.distinct() == 40 })
}

func TestTwoReplicasShareABacklog(t *testing.T) {
	t.Parallel()
	k := setup(t)
	const n = 400
	for _, id := range ids("chat", n) {
		k.bus.Ring(id, false)
	}
	eventually(t, "the backlog is there", func() bool { return k.pending(t) == n })
	var mine, theirs, all atomic.Int64
	hold := make(chan struct{})
	count := func(c *atomic.Int64) func(context.Context, bus.Delivery) {
		return func(_ context.Context, d bus.Delivery) {
			d.Ack()
			c.Add(1)
			if all.Add(1) == n {
				close(hold)
			}
			<-hold
		}
	}
	deliver(t, k.bus, chat.NewSlots(n*3/4), count(&mine))
	deliver(t, k.connect(t, bus.Config{}), chat.NewSlots(n*3/4), count(&theirs))
	closed(t, hold)
	if a, b := mine.Load(), theirs.Load(); a < n/4 || b < n/4 {
		t.Errorf("one took %d, the other %d", a, b)
	}
}

func TestADispatchAgainReplacesTheFirstAndIsDeliveredAtOnce(t *testing.T) {
	t.Parallel()
	k := setup(t)
	got := make(chan bus.Delivery, 3)
	deliver(t, k.bus, chat.NewSlots(10), func(_ context.Context, d bus.Delivery) { got <- d })
	dispatch(t, k.bus, false, "chat")
	first := receive(t, got)
	dispatch(t, k.bus, false, "chat")
	second := receive(t, got)
	first.Ack() // late, and of a message that is gone
	if n := k.pending(t); n != 1 {
		t.Errorf("the late ack left %d messages, want 1", n)
	}
	second.Ack()
	eventually(t, "the stream is empty", func() bool { return k.pending(t) == 0 })
}

func TestANakComesAgainAfterItsDelay(t *testing.T) {
	t.Parallel()
	k := setup(t)
	var s seen
	again := make(chan time.Time, 1)
	begin := make(chan time.Time, 1)
	deliver(t, k.bus, chat.NewSlots(10), func(_ context.Context, d bus.Delivery) {
		if s.add(d.Chat) == 1 {
			begin <- time.Now()
			d.Nak(300 * time.Millisecond)
			return
		}
		d.Ack()
		again <- time.Now()
	})
	dispatch(t, k.bus, false, "chat")
	if waited := receive(t, again).Sub(receive(t, begin)); waited < 290*time.Millisecond {
		t.Errorf("came again after %s", waited)
	}
}

// What was fetched and not handled when a replica goes away is there for the others at once, not after AckWait.
func TestGoingAwayHandsBackWhatWasFetched(t *testing.T) {
	t.Parallel()
	k := setup(t)
	first, second := k.connect(t, bus.Config{}), k.connect(t, bus.Config{})
	const n = 300
	for _, id := range ids("chat", n) {
		k.bus.Ring(id, false)
	}
	var s seen
	some := make(chan struct{}, n)
	stop := deliver(t, first, chat.NewSlots(40), func(_ context.Context, d bus.Delivery) {
		some <- struct{}{}
		s.add(d.Chat)
		d.Ack()
	})
	receive(t, some)
	stop()
	deliver(t, second, chat.NewSlots(40), func(_ context.Context, d bus.Delivery) { s.add(d.Chat); d.Ack() })
	eventually(t, "all are handled", func() bool { return s.distinct() == n })
}

func TestTakingNoMoreDoesNotCancelHandlers(t *testing.T) {
	t.Parallel()
	k := setup(t)
	started, ended := make(chan struct{}), make(chan error, 1)
	hold := make(chan struct{})
	slots := chat.NewSlots(100)
	stop := deliver(t, k.bus, slots, func(ctx context.Context, d bus.Delivery) {
		d.Ack()
		close(started)
		<-hold
		ended <- ctx.Err()
	})
	dispatch(t, k.bus, false, "chat")
	closed(t, started)
	go func() { close(hold) }()
	stop()
	if err := receive(t, ended); err != nil {
		t.Errorf("the handler's context ended: %v", err)
	}
	if slots.Free() != 100 {
		t.Errorf("%d of 100 slots are free afterwards", slots.Free())
	}
}

func TestWhatNamesNoChatIsRemovedAndCounted(t *testing.T) {
	t.Parallel()
	k := setup(t)
	got := make(chan chat.ID, 1)
	deliver(t, k.bus, chat.NewSlots(1), func(_ context.Context, d bus.Delivery) { got <- d.Chat; d.Ack() })
	for _, subject := range []string{"chats.dispatch.not!an!id", "chats.resume." + strings.Repeat("x", 65)} {
		if _, err := k.js.Publish(t.Context(), subject, nil); err != nil {
			t.Fatal(err)
		}
	}
	dispatch(t, k.bus, false, "good")
	if id := receive(t, got); id != "good" {
		t.Errorf("delivered %q", id)
	}
	eventually(t, "the stream is empty", func() bool { return k.pending(t) == 0 })
	if n := k.bus.Counts().Bad; n != 2 {
		t.Errorf("counted %d, want 2", n)
	}
}

// noSlots refuses for good.
type noSlots struct{ error }

func (s noSlots) Reserve(context.Context, int) (int, error) { return 0, s.error }
func (noSlots) Release(int)                                 {}

func TestDeliverEndsWithTheErrorOfItsSlots(t *testing.T) {
	t.Parallel()
	k := setup(t)
	want := errors.New("no slots ever")
	if err := k.bus.Deliver(t.Context(), noSlots{want}, nil, nil); !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
}

// trouble is one way of hurting the bus while it delivers.
type trouble struct {
	name string
	do   func(ctx context.Context, k *kit) error
}

func troubles() []trouble {
	return []trouble{
		{"the stream is deleted", func(ctx context.Context, k *kit) error { return k.js.DeleteStream(ctx, bus.ChatsStream) }},
		{"a consumer is deleted", func(ctx context.Context, k *kit) error {
			return k.js.DeleteConsumer(ctx, bus.ChatsStream, bus.FreshConsumer)
		}},
		{"the other consumer is deleted", func(ctx context.Context, k *kit) error {
			return k.js.DeleteConsumer(ctx, bus.ChatsStream, bus.ResumeConsumer)
		}},
		{"the server restarts", func(ctx context.Context, k *kit) error { return k.server.Restart(ctx) }},
		{"the server is wiped", func(ctx context.Context, k *kit) error { return k.server.Wipe(ctx) }},
	}
}

// I1: whatever happens to the bus, what is dispatched again as long as nobody has taken it is delivered.
func TestDeliverySurvives(t *testing.T) {
	t.Parallel()
	for _, trouble := range troubles() {
		t.Run(trouble.name, func(t *testing.T) {
			t.Parallel()
			k := setup(t)
			var s seen
			for _, b := range []*bus.Bus{k.bus, k.connect(t, bus.Config{})} {
				deliver(t, b, chat.NewSlots(50), func(_ context.Context, d bus.Delivery) { s.add(d.Chat); d.Ack() })
			}
			var wg sync.WaitGroup
			defer wg.Wait()
			hurt := make(chan struct{})
			wg.Go(func() { sweep(t, k.bus, ids("before", 300), &s); close(hurt); sweep(t, k.bus, ids("after", 600), &s) })
			closed(t, hurt)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := trouble.do(ctx, k); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
				t.Error(err)
			}
			eventually(t, "all are handled", func() bool { return s.distinct() == 900 })
		})
	}
}

// sweep dispatches chats until all were seen, like a sweeper in a hurry.
func sweep(t *testing.T, b *bus.Bus, chats []chat.ID, s *seen) {
	t.Helper()
	limit := time.Now().Add(patience)
	for i := 0; len(chats) > 0 && time.Now().Before(limit); i++ {
		for _, id := range chats {
			if err := b.Dispatch(t.Context(), id, i%2 == 1); err != nil {
				break // the bus is away; the next round tries again
			}
		}
		<-time.After(20 * time.Millisecond)
		chats = slices.DeleteFunc(chats, s.has)
	}
}
