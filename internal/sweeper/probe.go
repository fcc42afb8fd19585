package sweeper

import (
	"context"
	"slices"
	"sync"
	"time"

	"processor/internal/chat"
)

// probe asks suspects whether they are there, twice, ProbeGap apart. Only "no responders" both times means that the process is gone. It
// proves nothing shortly after this replica's own reconnect, when others may still be on their way back.
func (s *Sweeper) probe(ctx context.Context, suspects []chat.Suspect) []chat.WorkerID {
	t := s.config.Timing
	since := s.bus.ConnectedSince()
	if len(suspects) == 0 || since.IsZero() || time.Since(since) < t.ProbeQuiet {
		return nil
	}
	self := s.config.Self()
	var ids []chat.WorkerID
	for _, w := range suspects {
		if w.ID != self {
			ids = append(ids, w.ID)
		}
	}
	silent := s.silent(ctx, ids)
	if len(silent) == 0 || !wait(ctx, t.ProbeGap) {
		return nil
	}
	gone := s.silent(ctx, silent)
	if again := s.bus.ConnectedSince(); !again.Equal(since) {
		return nil // the connection broke between the probes
	}
	return gone
}

// silent lists the workers that nobody answers for.
func (s *Sweeper) silent(ctx context.Context, ids []chat.WorkerID) []chat.WorkerID {
	var mu sync.Mutex
	var silent []chat.WorkerID
	each(ids, func(id chat.WorkerID) {
		answer := s.bus.Probe(ctx, id)
		if s.config.Hooks.Probed != nil {
			s.config.Hooks.Probed(answer)
		}
		if answer == NoResponders {
			mu.Lock()
			defer mu.Unlock()
			silent = append(silent, id)
		}
	})
	slices.Sort(silent)
	return silent
}

func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
