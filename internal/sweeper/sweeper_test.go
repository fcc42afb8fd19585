package sweeper_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"processor/internal/bus"
	"processor/internal/chat"
	"processor/internal/chat/chattest"
	"processor/internal/local"
	"processor/internal/local/faultproxy"
	"processor/internal/local/localtest"
	"processor/internal/store"
	"processor/internal/sweeper"
)

var suite = localtest.New(func(ctx context.Context, url string) error {
	return store.Migrate(ctx, url, slog.New(slog.DiscardHandler))
})

func TestMain(m *testing.M) { suite.Main(m) }

// world is a database, a bus, and a sweeper that sweeps when it is told to.
type world struct {
	*testing.T
	nats  *local.NATS
	proxy *faultproxy.Proxy // before the sweeper's database
	store *store.Store
	bus   *bus.Bus
	*sweeper.Sweeper
	swept int // passes so far
}

// setup makes a world in which what waits is due after redispatch. passed is called after every pass.
func setup(t *testing.T, redispatch time.Duration, passed func(*world)) *world {
	t.Helper()
	w := &world{T: t, nats: localtest.NATS(t)}
	server := suite.Postgres(t)
	address, err := url.Parse(server)
	w.must(err)
	w.proxy, err = faultproxy.Start(address.Host)
	w.must(err)
	t.Cleanup(w.proxy.Close)
	through, err := w.proxy.URL(server)
	w.must(err)
	timing := chat.DefaultTiming()
	timing.RedispatchAfter = redispatch
	w.store, err = store.Open(t.Context(), store.Config{URL: through, Timing: timing})
	w.must(err)
	t.Cleanup(w.store.Close)
	w.bus, err = bus.Connect(t.Context(), bus.Config{URL: w.nats.URL()})
	w.must(err)
	t.Cleanup(w.bus.Close)
	w.must(w.bus.Ensure(t.Context()))
	w.Sweeper = sweeper.New(w.store, wired{w.bus}, sweeper.Config{
		Timing: timing, Logger: slog.New(slog.DiscardHandler),
		MayJudge: func() bool { return false }, Self: func() chat.WorkerID { return "" },
		Hooks: sweeper.Hooks{Swept: func(chat.Report, time.Duration, error) { w.swept++; passed(w) }},
	})
	return w
}

// wired is the bus as a sweeper sees it.
type wired struct{ *bus.Bus }

func (b wired) Probe(ctx context.Context, id chat.WorkerID) sweeper.Answer {
	return sweeper.Answer(b.Bus.Probe(ctx, id))
}

func (b wired) Stream(ctx context.Context) (sweeper.StreamIdentity, error) {
	s, err := b.Bus.Stream(ctx)
	return sweeper.StreamIdentity(s), err
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// pend makes a chat that waits for a replica.
func (w *world) pend(id chat.ID) chat.Stale {
	w.Helper()
	text := []chat.Part{{Type: chat.TextPart, Text: "hello"}}
	sent, err := w.store.Create(w.Context(), chat.NewChat{ID: id, Message: &chat.NewMessage{Chat: id, Parts: text, ClientID: "m"}})
	w.must(err)
	return chat.Stale{Chat: id, Number: sent.Chat.Number}
}

func (w *world) await(what string, is func() bool) {
	w.Helper()
	for started := time.Now(); !is(); runtime.Gosched() {
		if time.Since(started) > time.Minute {
			w.Fatalf("waited in vain: %s", what)
		}
	}
}

// While NATS is away a backlog stays due, however often it is looked at.
func TestASweepThatCanDispatchNothingIsOnePass(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	endless := errors.New("pass follows pass")
	w := setup(t, time.Microsecond, func(w *world) {
		if w.swept > 5 {
			cancel(endless)
		}
	})
	const more = 600 // than a pass looks for
	for i := range more {
		w.pend(chat.ID(fmt.Sprint(i)))
	}
	w.nats.Halt()
	w.await("the connection is lost", func() bool { return !w.bus.Connected() })
	if err := w.RunOnce(ctx); err != nil || ctx.Err() != nil || w.swept != 1 {
		t.Errorf("%d passes: %v, %v", w.swept, err, context.Cause(ctx))
	}
	w.must(w.nats.Start(t.Context()))
	w.await("the connection is back", w.bus.Connected)
	w.swept = 0
	w.must(w.RunOnce(t.Context()))
	if w.swept < 2 {
		t.Errorf("%d passes over %d chats whose dispatches can be repaired", w.swept, more)
	}
}

// The stream is gone with what it held, and the statement that makes everything due fails once. What waits would not be looked for within the hour.
func TestANewStreamIsNoticedUntilWhatWaitsIsDue(t *testing.T) {
	t.Parallel()
	w := setup(t, time.Minute, func(*world) {})
	c := w.pend("c")
	w.must(w.bus.Dispatch(t.Context(), c.Chat, false))
	w.must(w.store.Dispatched(t.Context(), nil, []chat.Number{c.Number}, time.Hour, time.Hour))
	w.must(w.RunOnce(t.Context()))
	w.must(w.nats.Wipe(t.Context()))
	w.await("the connection is back", w.bus.Connected)
	lost := w.proxy.CutRequest(func(request []byte) bool {
		return strings.Contains(string(request), "dispatches = 0, dispatch_at = now() from found")
	})
	w.await("a sweep sees the new stream, and makes nothing due", func() bool {
		w.must(w.RunOnce(t.Context()))
		select {
		case <-lost:
			return true
		default:
			return false
		}
	})
	for range 3 {
		w.must(w.RunOnce(t.Context()))
	}
	missing, _, err := w.bus.Missing(t.Context(), []chat.Stale{c})
	w.must(err)
	if len(missing) != 0 {
		t.Error("the chat has no dispatch")
	}
}

// The clock of the database is set forward by an hour. A replica that has not beaten since then looks an hour late, and is not; one that does not beat any more is
// found all the same, a while later.
func TestAClockThatIsSetForwardMakesNobodyLost(t *testing.T) {
	t.Parallel()
	w := setup(t, time.Minute, func(*world) {})
	var forward atomic.Int64
	memory := chattest.NewMemory()
	memory.Now = func() time.Time { return time.Now().UTC().Add(time.Duration(forward.Load())) }
	timing := chat.DefaultTiming()
	timing.LostAfter, timing.ProbeQuiet = 2*time.Second, time.Hour // by age alone
	s := sweeper.New(memory, wired{w.bus}, sweeper.Config{
		Timing: timing, Logger: slog.New(slog.DiscardHandler),
		MayJudge: func() bool { return true }, Self: func() chat.WorkerID { return "" },
	})
	w.must(memory.Register(t.Context(), chat.Worker{ID: "w"}))
	beat := func() (lost bool) {
		t.Helper()
		b, err := memory.Beat(t.Context(), "w", 0, false)
		w.must(err)
		return b.Lost
	}
	for started := time.Now(); time.Since(started) < timing.LostAfter*3/2; { // until the sweeper judges by age
		beat()
		w.must(s.RunOnce(t.Context()))
	}
	forward.Store(int64(time.Hour))
	w.must(s.RunOnce(t.Context()))
	if beat() {
		t.Error("the worker was declared lost")
	}
	w.await("the worker that beats no more is declared lost", func() bool {
		w.must(s.RunOnce(t.Context()))
		all, err := memory.Workers(t.Context())
		w.must(err)
		return all[0].Status == chat.WorkerLost
	})
}
