package bus_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"processor/internal/bus"
	"processor/internal/chat"
)

type echo struct {
	Text string `json:"text"`
}

func endpoints() map[string]bus.Endpoint {
	fail := func(err error) bus.Endpoint { return func(context.Context, []byte) (any, error) { return nil, err } }
	return map[string]bus.Endpoint{
		"echo":   bus.JSON(func(_ context.Context, in echo) (echo, error) { return in, nil }),
		"refuse": fail(chat.Errorf(chat.Conflict, "chat", "the chat\r\nis busy")),
		"leak":   fail(errors.New("dial tcp: password=hunter2")),
		"panic":  func(context.Context, []byte) (any, error) { panic("hunter2") },
		"large":  func(context.Context, []byte) (any, error) { return strings.Repeat("\x01", 256<<10), nil },
		"broken": func(context.Context, []byte) (any, error) { return make(chan int), nil },
	}
}

// serveAPI runs ServeAPI until stop is called, which waits for its end.
func serveAPI(t *testing.T, b *bus.Bus, config bus.APIConfig) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	up := make(chan struct{})
	config.Up = func() { close(up) }
	go func() { done <- b.ServeAPI(ctx, config) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("ServeAPI: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	closed(t, up)
	return stop
}

func TestTheAPIAnswers(t *testing.T) {
	t.Parallel()
	k := setup(t)
	serveAPI(t, k.bus, bus.APIConfig{Endpoints: endpoints()})
	for _, text := range []string{"", "hello", strings.Repeat("<", chat.MaxText)} {
		var out echo
		if err := k.bus.Call(t.Context(), "chats.echo", echo{text}, &out); err != nil || out.Text != text {
			t.Errorf("%.10q: got %.10q, %v", text, out.Text, err)
		}
	}
	if m, err := k.nc.Request("chats.echo", nil, patience); err != nil || string(m.Data) != `{"text":""}` {
		t.Errorf("an empty request: %v, %v", m, err)
	}
}

func TestRefusalsComeBackAsTheyWereMade(t *testing.T) {
	t.Parallel()
	k := setup(t)
	serveAPI(t, k.bus, bus.APIConfig{Endpoints: endpoints()})
	want := chat.Errorf(chat.Conflict, "chat", "the chat\r\nis busy")
	var got *chat.Error
	if err := k.bus.Call(t.Context(), "chats.refuse", echo{}, nil); !errors.As(err, &got) || !cmp.Equal(want, got) {
		t.Errorf("got %v", err)
	}
	m, err := k.nc.Request("chats.refuse", nil, patience)
	if err != nil {
		t.Fatal(err)
	}
	if c, d := m.Header.Get(micro.ErrorCodeHeader), m.Header.Get(micro.ErrorHeader); c != "409" || d != "the chat  is busy" {
		t.Errorf("headers %q, %q", c, d)
	}
	if string(m.Data) != `{"error":{"code":"conflict","message":"the chat\r\nis busy","field":"chat"}}` {
		t.Errorf("body %s", m.Data)
	}
}

func TestWhatIsNotForCallersIsNotTold(t *testing.T) {
	t.Parallel()
	k := setup(t)
	var l logs
	b := k.connect(t, bus.Config{Logger: l.logger()})
	var mu sync.Mutex
	codes := map[string]int{}
	stop := serveAPI(t, b, bus.APIConfig{Endpoints: endpoints(), Observe: func(name string, status int, _ time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		codes[name] = status
	}})
	want := map[string]int{"leak": 503, "panic": 503, "broken": 503, "large": 413, "echo": 200}
	for name := range want {
		err := b.Call(t.Context(), "chats."+name, nil, nil)
		if name == "echo" && err == nil {
			continue
		}
		var e *chat.Error
		if !errors.As(err, &e) || e.Code.Status() != want[name] || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !strings.Contains(l.String(), "hunter2") || !strings.Contains(l.String(), "service_test.go") {
		t.Errorf("the log does not say what happened: %s", l.String())
	}
	stop()
	if d := cmp.Diff(want, codes); d != "" {
		t.Error(d)
	}
}

func TestBadRequestsAreRefused(t *testing.T) {
	t.Parallel()
	k := setup(t)
	serveAPI(t, k.bus, bus.APIConfig{Endpoints: endpoints()})
	for data, code := range map[string]string{
		`{`: "400", `[]`: "400", `{"text":7}`: "400", `{"text":"a"} x`: "400", `{"unknown":1}`: "400", "{\"text\":\"\xff\"}": "422",
	} {
		m, err := k.nc.Request("chats.echo", []byte(data), patience)
		if err != nil || m.Header.Get(micro.ErrorCodeHeader) != code {
			t.Errorf("%q: %v, %v", data, m, err)
		}
	}
}

func TestOneRequestTooManyIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	k := setup(t)
	entered, hold := make(chan struct{}, 2), make(chan struct{})
	all := endpoints()
	all["slow"] = func(context.Context, []byte) (any, error) {
		entered <- struct{}{}
		<-hold
		return echo{}, nil
	}
	serveAPI(t, k.bus, bus.APIConfig{Endpoints: all, Limit: 2})
	slow := make(chan error, 2)
	for range 2 {
		go func() { slow <- k.bus.Call(t.Context(), "chats.slow", nil, nil) }()
		receive(t, entered)
	}
	var e *chat.Error
	if err := k.bus.Call(t.Context(), "chats.echo", nil, nil); !errors.As(err, &e) || e.Code != chat.Unavailable {
		t.Errorf("got %v", err)
	}
	close(hold)
	for range 2 {
		if err := receive(t, slow); err != nil {
			t.Error(err)
		}
	}
}

func TestTheAPIFinishesWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	k := setup(t)
	entered, hold := make(chan struct{}), make(chan struct{})
	all := endpoints()
	all["slow"] = func(ctx context.Context, _ []byte) (any, error) {
		close(entered)
		<-hold
		return echo{"done"}, ctx.Err()
	}
	stop := serveAPI(t, k.bus, bus.APIConfig{Endpoints: all})
	asker := k.connect(t, bus.Config{})
	answer := make(chan error, 1)
	var out echo
	go func() { answer <- asker.Call(t.Context(), "chats.slow", nil, &out) }()
	closed(t, entered)
	ended := make(chan struct{})
	go func() { stop(); close(ended) }()
	eventually(t, "no more requests are taken", func() bool {
		return errors.Is(asker.Call(t.Context(), "chats.echo", nil, nil), bus.ErrNoReplica)
	})
	close(hold)
	if err := receive(t, answer); err != nil || out.Text != "done" {
		t.Errorf("got %v, %v", out, err)
	}
	closed(t, ended)
}

func TestNobodyServesTheAPI(t *testing.T) {
	t.Parallel()
	k := setup(t)
	err := k.bus.Call(t.Context(), "chats.get", nil, nil)
	if want := "no replica answers at " + k.server.URL() + ": is processor running?"; err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	var e *chat.Error
	if err := k.bus.Call(t.Context(), "chats.get", strings.Repeat("x", 2<<20), nil); !errors.As(err, &e) || e.Code != chat.TooLarge {
		t.Errorf("a request that is too large: %v", err)
	}
}

func TestTheServiceShowsItsStats(t *testing.T) {
	t.Parallel()
	k := setup(t)
	serveAPI(t, k.bus, bus.APIConfig{
		Version: "v1.2.3", Metadata: map[string]string{"worker": "w1"}, Endpoints: endpoints(),
		Stats: func() any { return map[string]int{"slots": 7} },
	})
	ask := func(verb string, out any) {
		t.Helper()
		m, err := k.nc.Request("$SRV."+verb+".processor", nil, patience)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(m.Data, out); err != nil {
			t.Fatal(err)
		}
	}
	var info micro.Info
	ask("INFO", &info)
	if info.Version != "1.2.3" || info.Metadata["worker"] != "w1" || len(info.Endpoints) != len(endpoints()) || info.Endpoints[0].Subject != "chats.broken" {
		t.Errorf("info: %+v", info)
	}
	var stats micro.Stats
	ask("STATS", &stats)
	if string(stats.Endpoints[0].Data) != `{"slots":7}` {
		t.Errorf("stats: %s", stats.Endpoints[0].Data)
	}
}

func TestAnyVersionCanBeServed(t *testing.T) {
	t.Parallel()
	k := setup(t)
	for _, version := range []string{"", "devel", "v0.0.0-20260101000000-abcdef+dirty"} {
		serveAPI(t, k.bus, bus.APIConfig{Version: version, Endpoints: endpoints()})()
	}
}

func TestAReplyWithoutABodyStillSaysWhatItsHeadersSay(t *testing.T) {
	t.Parallel()
	k := setup(t)
	sub, err := k.nc.Subscribe("chats.other", func(m *nats.Msg) {
		_ = m.RespondMsg(&nats.Msg{Header: nats.Header{micro.ErrorCodeHeader: {"500"}, micro.ErrorHeader: {"of another build"}}})
	})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe()
	if err := k.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := k.bus.Call(t.Context(), "chats.other", nil, nil); err == nil || !strings.Contains(err.Error(), "of another build") {
		t.Errorf("got %v", err)
	}
}
