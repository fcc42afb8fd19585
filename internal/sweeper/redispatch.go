package sweeper

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"processor/internal/chat"
)

// repairDispatches says whether all were looked for and dispatched. It never fails a sweep: a bus that is away must not keep chats from being
// recovered.
func (s *Sweeper) repairDispatches(ctx context.Context, stale []chat.Stale) (all bool) {
	err := s.redispatch(ctx, stale)
	if err != nil && ctx.Err() == nil {
		s.config.Logger.Warn("what waits without a dispatch was not dispatched again", "err", err)
	}
	return err == nil
}

// redispatch publishes again what waits and has no message in the stream. An unknown answer publishes nothing: a healthy backlog must never
// be published again. On a stream that is new, or was emptied, every pending chat is due at once.
func (s *Sweeper) redispatch(ctx context.Context, stale []chat.Stale) error {
	if err := s.noticeNewStream(ctx); err != nil {
		s.told(len(stale), 0)
		return err
	}
	if len(stale) == 0 {
		s.told(0, 0)
		return nil
	}
	missing, present, err := s.bus.Missing(ctx, stale)
	if err != nil {
		s.told(len(stale), 0)
		return fmt.Errorf("look for dispatches: %w", err)
	}
	published, err := s.publishAgain(ctx, missing)
	if len(missing) > 0 {
		s.config.Logger.Info("dispatched again", "missing", len(missing), "count", len(published))
	}
	s.told(len(missing), len(published))
	t := s.config.Timing
	return errors.Join(err, s.store.Dispatched(ctx, published, numbers(present), t.RedispatchAfter, t.RedispatchMax))
}

// publishAgain returns those that the stream has, and the first failure.
func (s *Sweeper) publishAgain(ctx context.Context, missing []chat.Stale) ([]chat.Number, error) {
	ctx, cancel := context.WithTimeout(ctx, dispatchLimit)
	defer cancel()
	var mu sync.Mutex
	var failed error
	published := make([]chat.Number, 0, len(missing))
	each(missing, func(c chat.Stale) {
		err := s.bus.Dispatch(ctx, c.Chat, c.Begun)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
			published = append(published, c.Number)
		case failed == nil:
			failed = err
		}
	})
	return published, failed
}

func (s *Sweeper) told(missing, published int) {
	if h := s.config.Hooks.Redispatched; h != nil {
		h(missing, published)
	}
}

// noticeNewStream starts the back-off anew when the stream is not the one seen before, or holds nothing. The first look only takes note of a stream
// that holds something: a replica that starts must not touch a healthy backlog. An empty one has none, and what waits may have lost its
// dispatch while no replica was there to see it.
func (s *Sweeper) noticeNewStream(ctx context.Context) error {
	now, err := s.bus.Stream(ctx)
	if err != nil {
		return fmt.Errorf("look at the stream: %w", err)
	}
	before := s.stream
	renewed := !before.Created.IsZero() && !now.Created.Equal(before.Created)
	emptied := now.Empty && !before.Empty
	if renewed || emptied {
		if err := s.store.Anew(ctx); err != nil {
			return err // and the next sweep notices it again
		}
	}
	if renewed {
		s.config.Logger.Warn("the stream is new, what waits is dispatched again")
	}
	s.stream = now
	return nil
}

func numbers(stale []chat.Stale) []chat.Number {
	out := make([]chat.Number, len(stale))
	for i, c := range stale {
		out[i] = c.Number
	}
	return out
}
