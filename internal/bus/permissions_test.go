package bus_test

import (
	"context"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"processor/internal/bus"
	"processor/internal/chat"
)

// What a replica and a caller must be permitted. docs/operations.md lists the same.
var (
	workerPublishes = []string{
		"chats.dispatch.*", "chats.resume.*", "chats.partial.*", "chats.events.*", "chats.control.*",
		"$JS.API.STREAM.INFO.*", "$JS.API.STREAM.CREATE.*", "$JS.API.STREAM.UPDATE.*", "$JS.API.STREAM.DELETE.*", "$JS.API.STREAM.PURGE.*",
		"$JS.API.STREAM.MSG.GET.CHATS", "$JS.API.DIRECT.GET.CHAT_PARTIALS.>",
		"$JS.API.CONSUMER.INFO.CHATS.*", "$JS.API.CONSUMER.CREATE.CHATS.>", "$JS.API.CONSUMER.MSG.NEXT.CHATS.*",
		"$JS.ACK.CHATS.>", "_INBOX.>",
	}
	workerSubscribes = []string{"chats.*", "chats.control.*", "chats.events.*", "$SRV.>", "_INBOX.>"}
	callerPublishes  = []string{"chats.*"}
	callerSubscribes = []string{"chats.events.*", "_INBOX.>"}
)

func user(name string, publish, subscribe []string) *server.User {
	return &server.User{Username: name, Password: "secret", Permissions: &server.Permissions{
		Publish: &server.SubjectPermission{Allow: publish}, Subscribe: &server.SubjectPermission{Allow: subscribe},
	}}
}

// guarded is a server with users, and the addresses of a replica's, a caller's and a nobody's connection.
func guarded(t *testing.T) (worker, caller, nobody string) {
	t.Helper()
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, NoSigs: true, JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: 1 << 40,
		Users: []*server.User{
			user("worker", workerPublishes, workerSubscribes),
			user("caller", callerPublishes, callerSubscribes),
			user("nobody", []string{"nothing"}, []string{"_INBOX.>"}),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(srv.WaitForShutdown)
	t.Cleanup(srv.Shutdown)
	if !srv.ReadyForConnections(patience) {
		t.Fatal("the server does not start")
	}
	at := func(name string) string { return strings.Replace(srv.ClientURL(), "://", "://"+name+":secret@", 1) }
	return at("worker"), at("caller"), at("nobody")
}

func login(t *testing.T, url string, l *logs) *bus.Bus {
	t.Helper()
	b, err := bus.Connect(t.Context(), bus.Config{URL: url, Logger: l.logger()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func TestTheLeastPermissionsAreEnough(t *testing.T) {
	t.Parallel()
	workerURL, callerURL, _ := guarded(t)
	var l logs
	worker, caller := login(t, workerURL, &l), login(t, callerURL, &l)
	got := make(chan chat.ID, 1)
	deliver(t, worker, chat.NewSlots(4), func(_ context.Context, d bus.Delivery) { d.Ack(); got <- d.Chat })
	serve(t, worker, "w1", &owner{partial: chat.Partial{Chat: "chat"}})
	serveAPI(t, worker, bus.APIConfig{Endpoints: endpoints()})
	events, stop, err := caller.Subscribe(t.Context(), "chat")
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	dispatch(t, worker, true, "chat")
	receive(t, got)
	worker.Announce(delta("chat", 1, "hi"))
	receive(t, events)
	worker.SavePartial(chat.Partial{Chat: "chat"})
	eventually(t, "the partial is saved", func() bool { _, ok, err := worker.LastPartial(t.Context(), "chat"); return ok && err == nil })
	eventually(t, "the worker tells its partial", func() bool { _, ok := worker.AskPartial(t.Context(), "w1", "chat"); return ok })
	if _, _, err := worker.Missing(t.Context(), stale("chat")); err != nil {
		t.Error(err)
	}
	if _, err := worker.Stream(t.Context()); err != nil {
		t.Error(err)
	}
	if err := worker.Purge(t.Context(), "chat"); err != nil {
		t.Error(err)
	}
	if err := caller.Call(t.Context(), "chats.echo", echo{}, nil); err != nil {
		t.Error(err)
	}
	if found := worker.Verify(t.Context(), "nobody"); len(found) != 0 {
		t.Errorf("problems: %v", found)
	}
	if strings.Contains(l.String(), "ermission") {
		t.Errorf("the server refused something: %s", l.String())
	}
}

func TestMissingPermissionsAreNamed(t *testing.T) {
	t.Parallel()
	_, _, nobody := guarded(t)
	var l logs
	var all []string
	for _, p := range login(t, nobody, &l).Verify(t.Context(), "nobody") {
		all = append(all, p.Do)
	}
	for _, want := range []string{"chats.events.>", "chats.control.>", "$JS.API.>"} {
		if !strings.Contains(strings.Join(all, "\n"), want) {
			t.Errorf("nothing says to permit %s: %q", want, all)
		}
	}
	if strings.Contains(l.String(), "secret") {
		t.Error("the password is in the log")
	}
}
