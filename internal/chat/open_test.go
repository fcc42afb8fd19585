package chat_test

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"

	"processor/internal/chat"
	"processor/internal/chat/chattest"
)

// worker is a replica without a bus: a processor and its heartbeat on a store in memory.
type worker struct {
	*testing.T
	store     *chattest.Memory
	model     *counting
	processor *chat.Processor
	beats     *chat.Heartbeat
}

// work makes a worker and returns when it takes chats. It is to be ended before the test does: what does not end then would hide why it failed.
func work(t *testing.T, b chat.ProcessorBus) (w *worker, end func()) {
	t.Helper()
	timing, logger := chat.DefaultTiming(), slog.New(slog.DiscardHandler)
	w = &worker{T: t, store: chattest.NewMemory(), model: &counting{}}
	w.processor = chat.NewProcessor(w.store, b, w.model, chat.ProcessorConfig{Timing: timing, Logger: logger})
	w.beats = chat.NewHeartbeat(w.store, w.processor, chat.HeartbeatConfig{Timing: timing, Logger: logger})
	w.processor.ClaimUnder(w.beats.Current)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = w.beats.Run(ctx) })
	taking := make(chan struct{})
	running.Go(func() {
		_ = w.processor.Run(ctx, nil, func(ctx context.Context) error { close(taking); <-ctx.Done(); return nil })
	})
	<-taking
	w.await("the worker is registered", func() bool { return w.beats.Current() != nil })
	return w, func() { cancel(); running.Wait() }
}

func (w *worker) await(what string, is func() bool) {
	w.Helper()
	for started := time.Now(); !is(); runtime.Gosched() {
		if time.Since(started) > 30*time.Second {
			w.Fatalf("waited in vain: %s", what)
		}
	}
}

func (w *worker) status(id chat.ID) chat.Status {
	c, err := w.store.Get(w.Context(), id)
	if err != nil {
		w.Error(err)
	}
	return c.Status
}

// telling is a bus that calls told with every event.
type telling struct {
	silent
	told func(chat.Event)
}

func (b telling) Announce(events ...chat.Event) {
	for _, e := range events {
		b.told(e)
	}
}

func (telling) Dispatch(context.Context, chat.ID, bool) error { return nil }
func (telling) Look(chat.WorkerID, chat.ID)                   {}
func (telling) Purge(context.Context, chat.ID) error          { return nil }
func (telling) AskPartial(context.Context, chat.WorkerID, chat.ID) (chat.Partial, bool) {
	return chat.Partial{}, false
}

// The message is stored and the chat is claimed, in one transaction. What goes wrong after that, in the same request, must not leave it with an owner that does
// not run it.
func TestAChatThatASendHasClaimedIsRunThoughTheTellingPanics(t *testing.T) {
	t.Parallel()
	w, end := work(t, silent{})
	var once sync.Once
	bus := telling{told: func(chat.Event) { once.Do(func() { panic("no event") }) }}
	service := chat.NewService(w.store, bus, chat.ServiceConfig{Opener: w.processor, Logger: slog.New(slog.DiscardHandler)})
	if _, err := w.store.Create(t.Context(), chat.NewChat{ID: "a", Model: "m"}); err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("nothing panicked")
			}
		}()
		text := "hello"
		_, _ = service.Send(t.Context(), chat.SendRequest{Chat: "a", Text: &text})
	}()
	w.await("the turn ends", func() bool { return w.status("a") == chat.Waiting })
	if n := len(w.model.calls()); n != 1 {
		t.Errorf("the model was called %d times", n)
	}
	end()
}

// Between the claim and the run others are told of the claim, which may take a while when the bus is slow. Two beats in that time find the chat in the database
// and nothing that runs it.
func TestAClaimThatIsStillToldIsNoChatThatNobodyRuns(t *testing.T) {
	t.Parallel()
	var w *worker
	var end func()
	w, end = work(t, telling{told: func(e chat.Event) {
		if e.Reason != "claimed" {
			return
		}
		reg := w.beats.Current()
		should, err := w.store.Owned(t.Context(), reg.ID)
		if err != nil || len(should) != 1 {
			t.Errorf("the worker owns %+v, %v", should, err)
		}
		for range 2 {
			w.processor.Repair(t.Context(), reg, should)
		}
	}})
	message := chat.NewMessage{Chat: "a", ClientID: "m", Parts: []chat.Part{{Type: chat.TextPart, Text: "hello"}}}
	if _, err := w.store.Create(t.Context(), chat.NewChat{ID: "a", Model: "m", Message: &message}); err != nil {
		t.Fatal(err)
	}
	w.processor.Handle(t.Context(), "a", func(chat.Verdict) {})
	if s := w.status("a"); s != chat.Waiting {
		t.Errorf("the chat is %s after its turn", s)
	}
	end()
}
