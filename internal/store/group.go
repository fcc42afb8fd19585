package store

import (
	"cmp"
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

// fewCalls is up to how many calls a flight under way counts as light load, at which the next call leaves beside it. groupPatience is how long calls
// gather while a larger one is under way: it may be waiting for a row that somebody holds.
const (
	fewCalls      = 3
	groupPatience = 10 * time.Millisecond
)

// group gathers calls of one kind into common transactions. A call that finds no flight under way, or a small one and another free, leaves at once and
// alone; else the next ones gather, and leave together when the flight returns, or late. So load makes the transactions larger, not more, and no call
// ever waits for others to come. The callers do the work themselves: there is no goroutine.
type group[C grouped] struct {
	// carry makes the calls' transaction; the calls are of different chats.
	carry func(ctx context.Context, calls []C) error
	// flights is how many transactions may be under way, limit how long one may take.
	flights int
	limit   time.Duration

	mu      sync.Mutex
	flying  int
	carried int // calls of the flight that left last
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
	late := time.NewTimer(groupPatience)
	defer late.Stop()
	for {
		select {
		case err := <-p.outcome:
			return err
		case flight := <-p.carries:
			return g.lead(ctx, flight)
		case <-late.C:
			g.depart()
		case <-ctx.Done():
			return g.leave(ctx, p)
		}
	}
}

// depart lets those who wait leave although a flight is under way, if another is free.
func (g *group[C]) depart() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.flying == g.flights || len(g.waiting) == 0 {
		return
	}
	g.flying++
	flight := g.take()
	flight[0].carries <- flight
}

// board says whether there was a free flight; otherwise the passenger waits.
func (g *group[C]) board(p *passenger[C]) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.flying == 0 || (g.flying < g.flights && g.carried <= fewCalls && len(g.waiting) == 0) {
		g.flying++
		g.carried = 1
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
	if len(flight) > 0 {
		g.carried = len(flight)
	}
	// Statements that lock by updating take the rows in this order, which is everybody's.
	slices.SortFunc(flight, func(a, b *passenger[C]) int { return cmp.Compare(a.call.chat(), b.call.chat()) })
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
