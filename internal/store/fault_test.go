package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"processor/internal/chat"
	"processor/internal/local/faultproxy"
	"processor/internal/store"
)

// behindProxy is a store whose connections go through a proxy.
func behindProxy(t *testing.T) (*testStore, *faultproxy.Proxy) {
	t.Helper()
	server := suite.Postgres(t)
	address, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := faultproxy.Start(address.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	through, err := proxy.URL(server)
	if err != nil {
		t.Fatal(err)
	}
	return openURL(t, through), proxy
}

// lost makes a call whose reply is lost, and expects that the caller is not told that nothing happened.
func lost(t *testing.T, proxy *faultproxy.Proxy, word string, call func() error) {
	t.Helper()
	fired := proxy.CutReply(faultproxy.Contains(word), faultproxy.PostgresDone)
	err := call()
	var refusal *chat.Error
	if err == nil || errors.As(err, &refusal) || errors.Is(err, chat.ErrFenced) || errors.Is(err, chat.ErrBadData) {
		t.Fatalf("a call whose reply was lost returned %v, want an unknown outcome", err)
	}
	select {
	case <-fired:
	case <-t.Context().Done():
		t.Fatal("no reply was lost")
	}
}

func TestACommitWhoseReplyWasLostIsOneStep(t *testing.T) {
	t.Parallel()
	s, proxy := behindProxy(t)
	if err := s.Register(t.Context(), chat.Worker{ID: "w"}); err != nil {
		t.Fatal(err)
	}
	p := place(t, s.Store, "chat", chat.Running)
	said := []chat.Message{{Role: chat.Assistant, Parts: []chat.Part{{Type: chat.TextPart, Text: "unmistakable"}}}}
	commit := func() error { _, err := s.Commit(t.Context(), p.lease, said); return err }
	lost(t, proxy, "unmistakable", commit)
	out, err := s.Commit(t.Context(), p.lease, said)
	if err != nil || !out.Changed || out.Chat.Step != 1 || len(out.Messages) != 1 || out.Messages[0].Text() != "unmistakable" {
		t.Errorf("the repeated commit returned %+v, %v", out, err)
	}
	s.check(t, "after the repeated commit", p)
}

func TestAFinishWhoseReplyWasLostIsOneOutcome(t *testing.T) {
	t.Parallel()
	s, proxy := behindProxy(t)
	if err := s.Register(t.Context(), chat.Worker{ID: "w"}); err != nil {
		t.Fatal(err)
	}
	p := place(t, s.Store, "chat", chat.Running)
	lost(t, proxy, "Forty-two", func() error { _, err := s.Finish(t.Context(), p.lease, reply); return err })
	out, err := s.Finish(t.Context(), p.lease, reply)
	if err != nil || out.Chat.Turn != 2 || len(out.Messages) != 2 || out.Messages[1].Role != chat.User {
		t.Errorf("the repeated finish returned %+v, %v", out, err)
	}
	s.check(t, "after the repeated finish", p)
}

func TestASendWhoseReplyWasLostIsOneMessage(t *testing.T) {
	t.Parallel()
	s, proxy := behindProxy(t)
	if err := s.Register(t.Context(), chat.Worker{ID: "w"}); err != nil {
		t.Fatal(err)
	}
	p := place(t, s.Store, "chat", chat.Waiting)
	send := func() (chat.Sent, error) {
		return s.Send(t.Context(), chat.NewMessage{Chat: "chat", Parts: question, ClientID: "unmistakable"}, nil)
	}
	lost(t, proxy, "unmistakable", func() error { _, err := send(); return err })
	sent, err := send()
	if err != nil || !sent.Duplicate || sent.Queued || sent.Message.Text() != question[0].Text {
		t.Errorf("the repeated send returned %+v, %v", sent, err)
	}
	p.accepted["unmistakable"] = true
	s.check(t, "after the repeated send", p)
}

func TestDataThatTheDatabaseRefusesIsABadDataError(t *testing.T) {
	t.Parallel()
	s := open(t)
	if err := s.Register(t.Context(), chat.Worker{ID: "w"}); err != nil {
		t.Fatal(err)
	}
	p := place(t, s.Store, "chat", chat.Running)
	for name, part := range map[string]chat.Part{
		"nul":          {Type: chat.TextPart, Text: "a\x00b"},
		"broken input": {Type: chat.ToolCallPart, CallID: "1", Input: []byte(`{"a":`)},
	} {
		_, err := s.Commit(t.Context(), p.lease, []chat.Message{{Role: chat.Assistant, Parts: []chat.Part{part}}})
		if !errors.Is(err, chat.ErrBadData) {
			t.Errorf("%s: got %v, want bad data", name, err)
		}
		_, err = s.Finish(t.Context(), p.lease, []chat.Message{{Role: chat.Assistant, Finish: chat.Stop, Parts: []chat.Part{part}}})
		if !errors.Is(err, chat.ErrBadData) {
			t.Errorf("%s: got %v, want bad data", name, err)
		}
	}
	if _, err := s.Fail(t.Context(), p.lease, failure); err != nil {
		t.Errorf("the turn can't fail: %v", err)
	}
	s.check(t, "after bad data", p)
}

// What the server's stack is too small for will never fit: the turn has to fail, not to be written again for ever.
func TestDataThatIsNestedTooDeepIsABadDataError(t *testing.T) {
	t.Parallel()
	s := openURL(t, suite.Postgres(t)+"&max_stack_depth=100kB")
	if err := s.Register(t.Context(), chat.Worker{ID: "w"}); err != nil {
		t.Fatal(err)
	}
	p := place(t, s.Store, "chat", chat.Running)
	call := chat.Part{Type: chat.ToolCallPart, CallID: "1", Input: []byte(strings.Repeat("[", 9000) + strings.Repeat("]", 9000))}
	if _, err := s.Commit(t.Context(), p.lease, []chat.Message{{Role: chat.Assistant, Parts: []chat.Part{call}}}); !errors.Is(err, chat.ErrBadData) {
		t.Errorf("got %v, want bad data", err)
	}
	s.check(t, "after bad data", p)
}

// Something between replica and database forgets the beat's connection, as firewalls and load balancers do, and says nothing. The database is there.
func TestABeatWhoseConnectionFrozeFindsAnother(t *testing.T) {
	t.Parallel()
	s, proxy := behindProxy(t)
	if err := s.Register(t.Context(), chat.Worker{ID: "w"}); err != nil {
		t.Fatal(err)
	}
	proxy.Freeze()
	if _, err := s.Beat(t.Context(), "w", 0, false); err == nil {
		t.Fatal("the frozen connection answered")
	}
	if beat, err := s.Beat(t.Context(), "w", 0, false); err != nil || beat.Lost {
		t.Errorf("the next beat: %+v, %v", beat, err)
	}
}

func TestOneBadMessageAmongManyHarmsNoOther(t *testing.T) {
	t.Parallel()
	s := open(t)
	const many = 60
	for i := range many {
		if _, err := s.Create(t.Context(), chat.NewChat{ID: chat.ID(fmt.Sprint(i))}); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() {
			m := chat.NewMessage{Chat: chat.ID(fmt.Sprint(i)), Parts: question, ClientID: "m"}
			if i%20 == 7 {
				m.Parts = []chat.Part{{Type: chat.TextPart, Text: "\x00"}}
			}
			_, err := s.Send(t.Context(), m, nil)
			if bad := errors.Is(err, chat.ErrBadData); bad != (i%20 == 7) || (err != nil && !bad) {
				t.Errorf("message %d: %v", i, err)
			}
		})
	}
	wg.Wait()
}

func TestThePasswordIsInNoError(t *testing.T) {
	t.Parallel()
	const password = "pa55w0rd-unmistakable"
	good, err := url.Parse(suite.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	wrong := *good
	wrong.User = url.UserPassword(good.User.Username(), password)
	for _, address := range []string{
		wrong.String(), "postgres://user:" + password + "@127.0.0.1:1/db", "postgres://user:" + password + "@127.0.0.1:port/db",
		"postgres://user:" + password + "@127.0.0.1/db?sslmode=nonsense", "host=127.0.0.1 port=x password=" + password,
		"postgres://user:" + password + "%zz@127.0.0.1/db",
	} {
		_, checked := store.CheckURL(t.Context(), address)
		for _, err := range []error{ping(t, address), store.Migrate(t.Context(), address, nil), checked} {
			if err == nil || strings.Contains(err.Error(), password) {
				t.Errorf("got error %v, want one without the password", err)
			}
		}
	}
}

func ping(t *testing.T, address string) error {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{URL: address})
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Ping(t.Context())
}

func TestASweepersLockIsFreedWhenItFreezes(t *testing.T) {
	t.Parallel()
	address := suite.Postgres(t)
	other := openWith(t, address, time.Minute)
	pass := chat.Pass{SuspectAfter: time.Second, RedispatchAfter: time.Second, Batch: 10}
	conn, err := openWith(t, address, time.Minute).HoldSweep(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first, err := other.Sweep(t.Context(), pass)
	if err != nil || first.Held {
		t.Fatalf("a sweep beside one that takes its time: %+v, %v", first, err)
	}
	if _, err := conn.Exec(t.Context(), "rollback"); err != nil {
		t.Fatal(err)
	}
	conn.Release()
	if conn, err = openWith(t, address, 300*time.Millisecond).HoldSweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for started := time.Now(); ; {
		r, err := other.Sweep(t.Context(), pass)
		if err != nil {
			t.Fatal(err)
		}
		if r.Held {
			return
		}
		if time.Since(started) > 30*time.Second {
			t.Fatal("the frozen sweeper keeps its lock")
		}
	}
}

func openWith(t *testing.T, address string, idle time.Duration) *store.Store {
	t.Helper()
	timings := timing()
	timings.IdleTx = idle
	s, err := store.Open(t.Context(), store.Config{URL: address, Pool: 2, Timing: timings})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// meter is a proxy that counts round trips: how often the client spoke after the server had.
type meter struct {
	address string
	trips   atomic.Int64
}

func newMeter(t *testing.T, server string) *meter {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &meter{address: l.Addr().String()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { m.carry(client, server) })
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return m
}

func (m *meter) carry(client net.Conn, address string) {
	defer client.Close()
	server, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", address)
	if err != nil {
		return
	}
	defer server.Close()
	var spoke atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		defer server.Close()
		pump(server, client, func() {
			if spoke.CompareAndSwap(true, false) {
				m.trips.Add(1)
			}
		})
	})
	pump(client, server, func() { spoke.Store(true) })
	client.Close()
	wg.Wait()
}

func pump(to io.Writer, from io.Reader, before func()) {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		before()
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

// TestEveryTransitionIsOneRoundTrip, but for those of a busy chat that the quick statement of the usual case looks at first: they are two, each a
// transaction of its own.
func TestEveryTransitionIsOneRoundTrip(t *testing.T) {
	t.Parallel()
	address, err := url.Parse(suite.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	m := newMeter(t, address.Host)
	address.Host = m.address
	s, err := store.Open(t.Context(), store.Config{URL: address.String(), Pool: 1, Timing: timing()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if err := s.Register(t.Context(), chat.Worker{ID: "w"}); err != nil {
		t.Fatal(err)
	}
	for warm := range 2 {
		for name, move := range tour(t, s, fmt.Sprint("chat-", warm)) {
			before := m.trips.Load()
			if err := move(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			want := int64(1)
			if slices.Contains([]string{"queue", "finish", "finish as interrupted"}, name) {
				want = 2
			}
			if trips := m.trips.Load() - before; warm > 0 && trips != want {
				t.Errorf("%s took %d round trips, not %d", name, trips, want)
			}
		}
	}
}

func TestEveryCallWorksWithoutPreparedStatements(t *testing.T) {
	t.Parallel()
	address := suite.Postgres(t) + "&default_query_exec_mode="
	s, err := store.Open(t.Context(), store.Config{URL: address + "cache_describe", Timing: timing()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if err := s.Register(t.Context(), chat.Worker{ID: "w"}); err != nil {
		t.Fatal(err)
	}
	for name, move := range tour(t, s, "chat") {
		if err := move(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if r, err := s.Sweep(t.Context(), chat.Pass{Batch: 10}); err != nil || !r.Held {
		t.Errorf("sweep: %+v, %v", r, err)
	}
	if err := (store.Config{URL: address + "exec"}).Validate(); err == nil {
		t.Error("a mode that sends no types is accepted")
	}
}
