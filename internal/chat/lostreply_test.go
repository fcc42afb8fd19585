package chat_test

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"testing"

	"processor/internal/chat"
	"processor/internal/chat/chattest"
)

// TestALandedFinishLeavesALaterLeaseAlone: the reply of a finish is lost, the user sends again, and the same replica claims the chat a second time
// before the finish is repeated. The old run must end then, or both would answer under one lease.
func TestALandedFinishLeavesALaterLeaseAlone(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s, m := &losing{Memory: chattest.NewMemory(), claimed: make(chan struct{}, 2)}, &counting{}
	timing, logger := chat.DefaultTiming(), slog.New(slog.DiscardHandler)
	p := chat.NewProcessor(s, silent{}, m, chat.ProcessorConfig{Timing: timing, Logger: logger})
	beats := chat.NewHeartbeat(s, p, chat.HeartbeatConfig{Timing: timing, Logger: logger})
	p.ClaimUnder(beats.Current)
	var beating, runs sync.WaitGroup
	defer beating.Wait()
	defer cancel()
	beating.Go(func() { _ = beats.Run(ctx) })
	for beats.Current() == nil {
		runtime.Gosched()
	}
	handle := func() { runs.Go(func() { p.Handle(ctx, "a", func(chat.Verdict) {}) }) }
	s.again = func() {
		s.send(t, "second")
		handle()
		<-s.claimed
	}
	if _, err := s.Create(ctx, chat.NewChat{ID: "a", Model: "m"}); err != nil {
		t.Fatal(err)
	}
	s.send(t, "first")
	handle()
	<-s.claimed
	runs.Wait()
	if got, want := m.calls(), []int{1, 2}; !slices.Equal(got, want) {
		t.Errorf("the model was called for turns %v, want %v", got, want)
	}
}

// losing is a store that loses the reply of the first Finish, and lets again happen before it says so.
type losing struct {
	*chattest.Memory
	claimed chan struct{}
	once    sync.Once
	again   func()
}

func (s *losing) send(t *testing.T, text string) {
	t.Helper()
	_, err := s.Send(t.Context(), chat.NewMessage{Chat: "a", ClientID: text, Parts: []chat.Part{{Type: chat.TextPart, Text: text}}}, nil)
	if err != nil {
		t.Error(err)
	}
}

func (s *losing) Claim(ctx context.Context, id chat.ID, w chat.WorkerID, suspects bool, b chat.Budget) (chat.Claimed, error) {
	c, err := s.Memory.Claim(ctx, id, w, suspects, b)
	s.claimed <- struct{}{}
	return c, err
}

func (s *losing) Finish(ctx context.Context, l chat.Lease, messages []chat.Message) (out chat.Outcome, err error) {
	out, err = s.Memory.Finish(ctx, l, messages)
	s.once.Do(func() {
		s.again()
		err = errors.New("the reply is lost")
	})
	return out, err
}

// counting is a model that answers at once and counts.
type counting struct {
	mu    sync.Mutex
	turns []int
}

func (m *counting) Resolve(string) (chat.Model, string, error) { return m, "m", nil }

func (m *counting) Stream(_ context.Context, r chat.Request, emit func(chat.Delta)) (chat.Answer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turns = append(m.turns, r.Call.Turn)
	emit(chat.Delta{Kind: chat.TextDelta, Text: "hi"})
	return chat.Answer{Finish: chat.Stop}, nil
}

func (m *counting) calls() []int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.turns)
}

// silent is a bus that nobody listens to.
type silent struct{}

func (silent) Announce(...chat.Event)   {}
func (silent) SavePartial(chat.Partial) {}
func (silent) Ring(chat.ID, bool)       {}
func (silent) LastPartial(context.Context, chat.ID) (chat.Partial, bool, error) {
	return chat.Partial{}, false, nil
}
