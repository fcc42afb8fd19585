package bus_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"processor/internal/bus"
	"processor/internal/chat"
)

// owner is a worker that runs one chat.
type owner struct {
	looked  chan chat.ID
	block   chan struct{} // looks wait for it, if set
	partial chat.Partial
}

func (o *owner) Look(ctx context.Context, id chat.ID) {
	o.looked <- id
	if o.block != nil {
		select {
		case <-o.block:
		case <-ctx.Done():
		}
	}
}

func (o *owner) PartialOf(id chat.ID) (chat.Partial, bool) { return o.partial, id == o.partial.Chat }

// serve runs Serve until stop is called, which waits for its end.
func serve(t *testing.T, b *bus.Bus, worker chat.WorkerID, o *owner) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	up := make(chan struct{})
	go func() { done <- b.Serve(ctx, worker, o, func() { close(up) }) }()
	stopped := false
	stop = func() {
		if cancel(); !stopped {
			stopped = true
			if err := <-done; err != nil {
				t.Errorf("Serve: %v", err)
			}
		}
	}
	t.Cleanup(stop)
	closed(t, up)
	return stop
}

// probe asks until it knows: on a busy machine an answer comes too late now and then, which proves nothing.
func probe(t *testing.T, b *bus.Bus, worker chat.WorkerID) (a bus.Answer) {
	t.Helper()
	eventually(t, "a probe tells something", func() bool { a = b.Probe(t.Context(), worker); return a != bus.Unknown })
	return a
}

func TestOnlyNoRespondersMeansThatAWorkerIsGone(t *testing.T) {
	t.Parallel()
	k := setup(t)
	asker := k.connect(t, bus.Config{})
	if a := probe(t, asker, "nobody"); a != bus.NoResponders {
		t.Errorf("of a worker that never was: %v", a)
	}
	stop := serve(t, k.bus, "worker", &owner{})
	if a := probe(t, asker, "worker"); a != bus.Answered {
		t.Errorf("of a live worker: %v", a)
	}
	frozen, err := k.nc.SubscribeSync("chats.control.frozen")
	if err != nil {
		t.Fatal(err)
	}
	defer frozen.Unsubscribe()
	if err := k.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if a := asker.Probe(t.Context(), "frozen"); a != bus.Unknown {
		t.Errorf("of a worker that does not answer: %v", a)
	}
	stop()
	eventually(t, "nobody serves the worker", func() bool { return asker.Probe(t.Context(), "worker") == bus.NoResponders })

	serve(t, k.bus, "killed", &owner{})
	k.bus.Close() // what the server sees of a kill -9
	eventually(t, "the killed worker is gone", func() bool { return asker.Probe(t.Context(), "killed") == bus.NoResponders })
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if a := asker.Probe(ended, "killed"); a != bus.Unknown {
		t.Errorf("with an ended context: %v", a)
	}
	k.server.Halt()
	if a := asker.Probe(t.Context(), "killed"); a != bus.Unknown {
		t.Errorf("without a server: %v", a)
	}
}

func TestALookReachesTheOwner(t *testing.T) {
	t.Parallel()
	k := setup(t)
	o := &owner{looked: make(chan chat.ID, 1)}
	serve(t, k.bus, "worker", o)
	k.connect(t, bus.Config{}).Look("worker", "chat")
	if id := receive(t, o.looked); id != "chat" {
		t.Errorf("looked at %q", id)
	}
}

// An owner that waits for its database is alive.
func TestLooksThatHangDoNotKeepTheProbeFromItsAnswer(t *testing.T) {
	t.Parallel()
	k := setup(t)
	o := &owner{looked: make(chan chat.ID, 100), block: make(chan struct{})}
	stop := serve(t, k.bus, "worker", o)
	asker := k.connect(t, bus.Config{})
	for _, id := range ids("chat", 100) {
		asker.Look("worker", id)
	}
	if a := probe(t, asker, "worker"); a != bus.Answered {
		t.Errorf("probe: %v", a)
	}
	receive(t, o.looked)
	if n := len(o.looked) + 1; n > 16 {
		t.Errorf("%d looks are under way, want at most 16", n)
	}
	stop()
}

func TestAWatcherAsksForThePartial(t *testing.T) {
	t.Parallel()
	k := setup(t)
	asker := k.connect(t, bus.Config{})
	o := &owner{partial: chat.Partial{Chat: "chat", Epoch: 4, Seq: 2, Parts: []chat.Part{{Type: chat.TextPart, Text: strings.Repeat("<", 512<<10)}}, Chunks: []int32{512 << 10}}}
	stop := serve(t, k.bus, "worker", o)
	var p chat.Partial
	eventually(t, "the partial comes", func() (ok bool) { p, ok = asker.AskPartial(t.Context(), "worker", "chat"); return ok })
	if !cmp.Equal(p, o.partial) {
		t.Errorf("got seq %d", p.Seq)
	}
	if _, ok := asker.AskPartial(t.Context(), "worker", "other"); ok {
		t.Error("got the partial of a chat that does not run there")
	}
	stop()
	o.partial.Parts[0].Text = strings.Repeat("\x01", 512<<10)
	serve(t, k.bus, "worker", o)
	if _, ok := asker.AskPartial(t.Context(), "worker", "chat"); ok {
		t.Error("got a partial that is larger than a message may be")
	}
	if _, ok := asker.AskPartial(t.Context(), "nobody", "chat"); ok {
		t.Error("got a partial of nobody")
	}
}

func TestControlRequestsThatMakeNoSenseAreIgnored(t *testing.T) {
	t.Parallel()
	k := setup(t)
	serve(t, k.bus, "worker", &owner{})
	for _, data := range []string{"", "{", `{"op":"of a newer build"}`, `{"op":7}`} {
		if err := k.nc.PublishMsg(&nats.Msg{Subject: "chats.control.worker", Data: []byte(data)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if a := probe(t, k.bus, "worker"); a != bus.Answered {
		t.Errorf("probe: %v", a)
	}
}
