package bus

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"processor/internal/chat"
)

// Pending looks in Postgres for up to limit chats that wait for an owner.
type Pending func(ctx context.Context, limit int) ([]chat.ID, error)

const (
	// deafAfter is how long the server may say nothing to somebody who wants dispatches: of a pull that waits it speaks every pullBeat.
	deafAfter = pullBeat + pullGrace
	// lookEvery is the time between two looks of a replica that hears nothing, jittered by a half.
	lookEvery = 500 * time.Millisecond
)

// looker says when a taker looks for pending chats itself, because it hears nothing: the server is away, or its stream has no leader. What is
// found is claimed like what is delivered. So replicas that look at the same time, or that a dispatch still reaches, do no harm.
type looker struct {
	pending Pending
	heard   time.Time // when the server last answered as it should, or there was nothing to ask
	deaf    bool
	next    time.Time // while deaf, the next look is not before
	want    int       // of the look under way, zero without one
	found   chan []chat.ID
	refused atomic.Bool // something of the last catch was handed back
}

// due is when the next look begins if nothing is heard until then.
func (l *looker) due() time.Time {
	if l.deaf {
		return l.next
	}
	return l.heard.Add(deafAfter)
}

// hears notes a sign of life.
func (t *taker) hears(now time.Time) {
	if t.look.heard = now; t.look.deaf {
		t.look.deaf = false
		t.bus.logger.Info("dispatches are heard again")
	}
}

// asks notes that there is something to ask from now on, after a time without a free slot.
func (t *taker) asks(now time.Time) {
	if !t.look.deaf {
		t.look.heard = now
	}
}

// lookAround looks, in the background, if it is time to.
func (t *taker) lookAround(now time.Time) {
	l := &t.look
	if t.free == 0 || l.want > 0 || now.Before(l.due()) {
		return
	}
	if !l.deaf {
		l.deaf = true
		t.bus.logger.Warn("no dispatches are heard, looking for pending chats", "elapsed", now.Sub(l.heard))
	}
	l.want = min(t.free, maxBatch)
	t.bus.counts.looks.Add(1)
	want := l.want
	t.running.Go(func() {
		chats, err := l.pending(t.ctx, want)
		if err != nil && t.ctx.Err() == nil {
			t.bus.logger.Warn("pending chats can't be looked for, trying on", "err", err)
		}
		l.found <- chats
	})
}

// take starts what was found. After a full catch the next look is as soon as there are slots, unless something was handed back: that is found
// again by every look.
func (t *taker) take(chats []chat.ID) {
	l := &t.look
	l.next = time.Now()
	if l.refused.Swap(false) || len(chats) < l.want {
		l.next = l.next.Add(lookEvery/2 + rand.N(lookEvery))
	}
	l.want = 0
	for _, id := range chats {
		if t.free == 0 {
			return // a delivery has the slot
		}
		t.start(Delivery{Chat: id, bus: t.bus, refused: &l.refused})
	}
}
