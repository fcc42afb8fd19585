package bus_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"processor/internal/bus"
	"processor/internal/chat"
	"processor/internal/local/localtest"
)

func TestConnectWaitsForTheServerAsLongAsItsContext(t *testing.T) {
	t.Parallel()
	n := localtest.NATS(t)
	n.Halt()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if b, err := bus.Connect(ctx, bus.Config{URL: n.URL()}); err == nil || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, %v", b, err)
	}
	started := make(chan error, 1)
	var l logs
	go func() {
		eventually(t, "the waiting is logged", func() bool { return strings.Contains(l.String(), "nats not reachable") })
		started <- n.Start(t.Context())
	}()
	b, err := bus.Connect(t.Context(), bus.Config{URL: n.URL(), Logger: l.logger()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := receive(t, started); err != nil {
		t.Error(err)
	}
	if b.ConnectedSince().IsZero() {
		t.Error("connected since never")
	}
}

// A replica starts while NATS is down, and works when it comes.
func TestAPendingConnectionTakesDispatchesWhenItComesUp(t *testing.T) {
	t.Parallel()
	n := localtest.NATS(t)
	n.Halt()
	b, err := bus.Connect(t.Context(), bus.Config{URL: n.URL(), Pending: true})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if b.Connected() || !b.ConnectedSince().IsZero() {
		t.Error("connected without a server")
	}
	got := make(chan chat.ID, 1)
	stop := deliver(t, b, chat.NewSlots(1), func(_ context.Context, d bus.Delivery) { d.Ack(); got <- d.Chat })
	defer stop()
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "dispatched", func() bool { return b.Dispatch(t.Context(), "chat", false) == nil })
	if id := receive(t, got); id != "chat" {
		t.Errorf("got %s", id)
	}
}

// What a replica serves is said to be up when the server has it, and not before.
func TestWhatIsServedIsUpWhenOthersReachIt(t *testing.T) {
	t.Parallel()
	n := localtest.NATS(t)
	n.Halt()
	b, err := bus.Connect(t.Context(), bus.Config{URL: n.URL(), Pending: true})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended, up := make(chan error, 2), make(chan string, 2)
	go func() { ended <- b.Serve(ctx, "worker", &owner{}, func() { up <- "control" }) }()
	go func() {
		ended <- b.ServeAPI(ctx, bus.APIConfig{Endpoints: endpoints(), Up: func() { up <- "api" }})
	}()
	defer func() {
		cancel()
		if err := errors.Join(receive(t, ended), receive(t, ended)); err != nil {
			t.Error(err)
		}
	}()
	if _, err := b.Stream(ctx); err == nil || len(up) > 0 {
		t.Fatalf("without a server something is up, or answers: %v", err)
	}
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	caller, err := bus.Connect(t.Context(), bus.Config{URL: n.URL()})
	if err != nil {
		t.Fatal(err)
	}
	defer caller.Close()
	for range 2 {
		switch receive(t, up) {
		case "control":
			if a := probe(t, caller, "worker"); a != bus.Answered {
				t.Errorf("the worker is up, and a probe says %s", a)
			}
		case "api":
			if err := caller.Call(ctx, "chats.echo", echo{}, nil); err != nil {
				t.Errorf("the API is up, and a call gets %v", err)
			}
		}
	}
}

func TestWrongCredentialsEndTheConnectionAndAreNotTold(t *testing.T) {
	t.Parallel()
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, Username: "user", Password: "right", NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	defer srv.WaitForShutdown()
	defer srv.Shutdown()
	if !srv.ReadyForConnections(patience) {
		t.Fatal("the server does not start")
	}
	var l logs
	address := strings.TrimPrefix(srv.ClientURL(), "nats://")
	config := bus.Config{URL: "nats://user:hunter2@" + address, Logger: l.logger()}
	if _, err := bus.Connect(t.Context(), config); err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), address) {
		t.Errorf("got %v", err)
	}
	config.Pending = true
	b, err := bus.Connect(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	closed(t, b.Closed())
	b.Close()
	if strings.Contains(l.String(), "hunter2") {
		t.Errorf("logged: %s", l.String())
	}
}

func TestSettingsThatCanNotWorkAreRefused(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, config := range map[string]bus.Config{
		"nats-url":          {},
		"nats-key":          {URL: "nats://x", Cert: empty},
		"no such file":      {URL: "nats://x", Creds: "/no/such/file"},
		"stream-replicas":   {URL: "nats://x", Replicas: 6},
		"connect to NATS":   {URL: "nats://user:hunter2@host:not-a-port"},
		"connect to NATS: ": {URL: "nats://127.0.0.1:1", CA: empty},
	} {
		_, err := bus.Connect(t.Context(), config)
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestRedactKeepsAddressesOnly(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"nats://user:p%40ss@host:4222, tls://token@[::1]:4222": "nats://host:4222,tls://[::1]:4222",
		"user:pa@ss@host": "nats://host",
		"host:4222":       "nats://host:4222",
	} {
		if got := bus.Redact(in); got != want {
			t.Errorf("%q: got %q", in, got)
		}
	}
}

// A replica can go away while NATS is down, quickly and without an error.
func TestEverythingEndsWhileTheServerIsAway(t *testing.T) {
	t.Parallel()
	k := setup(t)
	b := k.connect(t, bus.Config{})
	stopDeliver := deliver(t, b, chat.NewSlots(1), func(context.Context, bus.Delivery) {})
	stopServe := serve(t, b, "worker", &owner{})
	stopAPI := serveAPI(t, b, bus.APIConfig{Endpoints: endpoints()})
	events, stopEvents, err := b.Subscribe(t.Context(), "chat")
	if err != nil {
		t.Fatal(err)
	}
	k.server.Halt()
	eventually(t, "disconnected", func() bool { return !b.Connected() })
	begin := time.Now()
	stopDeliver()
	stopAPI()
	stopServe()
	stopEvents()
	closed(t, events)
	b.Close()
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}
