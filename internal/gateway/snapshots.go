package gateway

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"processor/internal/chat"
)

// snapshots shares reads of the same thing: when many watch one chat and all have to look again, they share the next read that begins. A read
// that began before somebody asked is never his answer, for it may have missed what made him ask. So load makes reads no more frequent than
// they take, and no watcher's answer is older than its question.
type snapshots struct {
	read   func(context.Context, chat.MessagesRequest) (chat.Snapshot, error)
	logger *slog.Logger

	mu      sync.Mutex
	flights map[flightKey]*flight
}

// flightKey is what is read, and for whom.
type flightKey struct {
	tenant  string
	request chat.MessagesRequest
}

// flight is a read under way, and the one after it that is being waited for.
type flight struct{ next *landing }

type landing struct {
	done chan struct{}
	snap chat.Snapshot
	err  error
}

// snapshotDeadline bounds one read, whoever still waits for it.
const snapshotDeadline = 10 * time.Second

func (s *snapshots) get(ctx context.Context, r chat.MessagesRequest) (chat.Snapshot, error) {
	key := flightKey{chat.TenantOf(ctx), r}
	s.mu.Lock()
	f, busy := s.flights[key]
	if !busy {
		f = &flight{}
		s.flights[key] = f
	}
	if f.next == nil {
		f.next = &landing{done: make(chan struct{})}
		if !busy {
			go s.fly(context.WithoutCancel(ctx), key, f)
		}
	}
	l := f.next
	s.mu.Unlock()
	select {
	case <-l.done:
		return l.snap, l.err
	case <-ctx.Done():
		return chat.Snapshot{}, context.Cause(ctx)
	}
}

// fly reads as long as somebody waits for the next read.
func (s *snapshots) fly(ctx context.Context, key flightKey, f *flight) {
	for {
		s.mu.Lock()
		l := f.next
		f.next = nil
		if l == nil {
			delete(s.flights, key)
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		l.snap, l.err = s.land(ctx, key.request)
		close(l.done)
	}
}

func (s *snapshots) land(ctx context.Context, r chat.MessagesRequest) (snap chat.Snapshot, err error) {
	defer func() { err = survived(s.logger, recover(), err) }()
	ctx, cancel := context.WithTimeout(ctx, snapshotDeadline)
	defer cancel()
	return s.read(ctx, r)
}
