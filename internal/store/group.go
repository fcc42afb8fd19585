package store

import (
	"context"
	"slices"
	"sync"
	"time"

	"processor/internal/chat"
)

// groupSize is how many calls share a transaction at most. Larger ones gain little and keep their rows locked for longer.
const groupSize = 64

// grouped is a call that a group gathers: it concerns one chat, and keeps what came of it.
type grouped interface{ chat() chat.ID }

// group gathers calls of one kind into common transactions. A call that finds a free flight leaves at once and alone; while all flights are
// under way the next ones gather, and leave together when one returns. So load makes the transactions larger, not more, and no call
// ever waits for others to come. The callers do the work themselves: there is no goroutine.
type group[C grouped] struct {
	// carry makes the calls' transaction; the calls are of different chats.
	carry func(ctx context.Context, calls []C) error
	// flights is how many transactions may be under way, limit how long one may take.
	flights int
	limit   time.Duration

	mu      sync.Mutex
	flying  int
	waiting []*passenger[C]
}

// passenger is a call that waits for a flight. It is told the outcome, or to carry the next flight itself.
type passenger[C grouped] struct {
	call    C
	outcome chan error
	carries chan []*passenger[C]
}

// do carries out the call. When ctx ends first, the outcome is unknown.
func (g *group[C]) do(ctx context.Context, call C) error {
	p := &passenger[C]{call: call, outcome: make(chan error, 1), carries: make(chan []*passenger[C], 1)}
	if g.board(p) {
		defer g.next()
		return g.carry(ctx, []C{call})
	}
	select {
	case err := <-p.outcome:
		return err
	case flight := <-p.carries:
		return g.lead(ctx, flight)
	case <-ctx.Done():
		return g.leave(ctx, p)
	}
}

// board says whether there was a free flight; otherwise the passenger waits.
func (g *group[C]) board(p *passenger[C]) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.flying < g.flights {
		g.flying++
		return true
	}
	g.waiting = append(g.waiting, p)
	return false
}

// next hands the flight that has returned to those who wait, led by the first of them.
func (g *group[C]) next() {
	g.mu.Lock()
	defer g.mu.Unlock()
	flight := g.take()
	if len(flight) == 0 {
		g.flying--
		return
	}
	flight[0].carries <- flight
}

// take picks those who waited longest, one of each chat: a chat's second call must see what its first one did.
func (g *group[C]) take() []*passenger[C] {
	var flight []*passenger[C]
	seen := map[chat.ID]bool{}
	g.waiting = slices.DeleteFunc(g.waiting, func(p *passenger[C]) bool {
		if len(flight) == groupSize || seen[p.call.chat()] {
			return false
		}
		seen[p.call.chat()] = true
		flight = append(flight, p)
		return true
	})
	return flight
}

// lead carries a flight for all its passengers, and returns the leader's own outcome. The others depend on it, so the leader's
// context does not end it.
func (g *group[C]) lead(ctx context.Context, flight []*passenger[C]) error {
	defer g.next()
	if len(flight) == 1 {
		return g.carry(ctx, []C{flight[0].call})
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.limit)
	defer cancel()
	calls := make([]C, len(flight))
	for i, p := range flight {
		calls[i] = p.call
	}
	err := g.carry(ctx, calls)
	for i, p := range flight {
		if err != nil && meaning(err) != unknown {
			// Nothing was done, because of one of them or of others: now each is on its own.
			p.outcome <- g.carry(ctx, calls[i:i+1])
			continue
		}
		p.outcome <- err
	}
	return <-flight[0].outcome
}

// leave gives up waiting. Whoever was told to lead just now must, because others wait for that.
func (g *group[C]) leave(ctx context.Context, p *passenger[C]) error {
	g.mu.Lock()
	g.waiting = slices.DeleteFunc(g.waiting, func(other *passenger[C]) bool { return other == p })
	g.mu.Unlock()
	select {
	case flight := <-p.carries:
		return g.lead(ctx, flight)
	case err := <-p.outcome:
		return err
	default:
		return wrap("wait for a connection", context.Cause(ctx))
	}
}
