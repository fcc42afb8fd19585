package chat

import (
	"context"
	"sync"
)

// Slots counts how many chats a replica may run at a time.
type Slots struct {
	mu    sync.Mutex
	free  int
	total int
	freed chan struct{} // closed and replaced on every release
}

// NewSlots makes n free slots.
func NewSlots(n int) *Slots { return &Slots{free: n, total: n, freed: make(chan struct{})} }

// Reserve waits until a slot is free and takes up to most. It returns context.Cause(ctx) if ctx ends first.
func (s *Slots) Reserve(ctx context.Context, most int) (int, error) {
	for {
		if n, freed := s.take(most); n > 0 {
			return n, nil
		} else {
			select {
			case <-ctx.Done():
				return 0, context.Cause(ctx)
			case <-freed:
			}
		}
	}
}

// Try takes one slot if one is free.
func (s *Slots) Try() bool {
	n, _ := s.take(1)
	return n == 1
}

func (s *Slots) take(most int) (int, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(most, s.free)
	s.free -= n
	return n, s.freed
}

// Release gives n slots back.
func (s *Slots) Release(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free += n
	close(s.freed)
	s.freed = make(chan struct{})
}

// Free and Total say how many slots there are.
func (s *Slots) Free() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.free
}

// Total is the number of slots, free or not.
func (s *Slots) Total() int { return s.total }
