package bus_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"processor/internal/bus"
	"processor/internal/chat"
	"processor/internal/leaktest"
	"processor/internal/local"
	"processor/internal/local/localtest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// patience is how long a test waits for what must happen. It is far above what anything here takes.
const patience = 20 * time.Second

// kit is one nats-server with one bus, and a plain connection to look at it from outside.
type kit struct {
	server *local.NATS
	bus    *bus.Bus
	nc     *nats.Conn
	js     jetstream.JetStream
}

func setup(t testing.TB) *kit {
	t.Helper()
	k := &kit{server: localtest.NATS(t)}
	k.bus = k.connect(t, bus.Config{})
	if err := k.bus.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(k.server.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	k.nc = nc
	if k.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	return k
}

// connect makes one more bus. Nothing comes again because of an AckWait in the time that a test waits, so what comes in time was not waiting for one.
func (k *kit) connect(t testing.TB, config bus.Config) *bus.Bus {
	t.Helper()
	config.URL, config.AckWait = k.server.URL(), 3*patience
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b, err := bus.Connect(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// deliver runs Deliver until stop is called, which waits for its end. Only what the bus delivers is handled.
func deliver(t testing.TB, b *bus.Bus, slots bus.Slots, handle func(context.Context, bus.Delivery)) (stop func()) {
	t.Helper()
	return deliverOr(t, b, slots, func(context.Context, int) ([]chat.ID, error) { return nil, nil }, handle)
}

// deliverOr is deliver with a look for what is pending.
func deliverOr(t testing.TB, b *bus.Bus, slots bus.Slots, pending bus.Pending, handle func(context.Context, bus.Delivery)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Deliver(ctx, slots, pending, handle) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Deliver: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func dispatch(t testing.TB, b *bus.Bus, begun bool, ids ...chat.ID) {
	t.Helper()
	for _, id := range ids {
		if err := b.Dispatch(t.Context(), id, begun); err != nil {
			t.Fatal(err)
		}
	}
}

func ids(prefix string, n int) []chat.ID {
	out := make([]chat.ID, n)
	for i := range out {
		out[i] = chat.ID(fmt.Sprintf("%s-%04d", prefix, i))
	}
	return out
}

// receive waits for the next value.
func receive[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v, ok := <-c:
		if !ok {
			t.Fatal("channel closed, expected a value")
		}
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	panic("unreachable")
}

// closed waits until c is closed, whatever comes before.
func closed[T any](t testing.TB, c <-chan T) {
	t.Helper()
	limit := time.After(patience)
	for {
		select {
		case _, ok := <-c:
			if !ok {
				return
			}
		case <-limit:
			t.Fatal("channel not closed")
		}
	}
}

// eventually asks until it is true.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	limit := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("never happened: %s", what)
		}
	}
}

// pending is how many messages the stream of dispatches holds.
func (k *kit) pending(t testing.TB) uint64 {
	t.Helper()
	s, err := k.js.Stream(t.Context(), bus.ChatsStream)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

// seen collects what was delivered, in order.
type seen struct {
	mu    sync.Mutex
	order []chat.ID
	count map[chat.ID]int
}

func (s *seen) add(id chat.ID) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count == nil {
		s.count = map[chat.ID]int{}
	}
	s.count[id]++
	s.order = append(s.order, id)
	return s.count[id]
}

func (s *seen) distinct() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.count)
}

func (s *seen) has(id chat.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count[id] > 0
}

// logs is a logger whose lines a test can read.
type logs struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logs) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
