package bus

import (
	"context"
	"sync"
	"time"
)

// link knows since when the connection is up, ends what depends on it when it breaks, and tells who waits for the next one.
type link struct {
	mu    sync.Mutex
	at    time.Time
	alive context.Context
	end   context.CancelCauseFunc
	next  chan struct{}
}

// newLink makes a link that is down.
func newLink() *link {
	l := &link{next: make(chan struct{})}
	l.alive, l.end = context.WithCancelCause(context.Background())
	l.end(ErrDisconnected)
	return l
}

func (l *link) up(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end(ErrDisconnected)
	l.at = now
	l.alive, l.end = context.WithCancelCause(context.Background())
	close(l.next)
	l.next = make(chan struct{})
}

func (l *link) down() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at = time.Time{}
	l.end(ErrDisconnected)
}

// since is zero while the link is down.
func (l *link) since() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.at
}

// life ends with ErrDisconnected when the link breaks; it has ended while the link is down.
func (l *link) life() context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.alive
}

// changed is closed the next time that the link comes up.
func (l *link) changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next
}

// Connected reports whether the connection is up and the server has its subscriptions.
func (b *Bus) Connected() bool { return b.nc.IsConnected() && b.link.life().Err() == nil }

// ConnectedSince is when the connection was made or made again, zero while it is down.
func (b *Bus) ConnectedSince() time.Time {
	if !b.nc.IsConnected() {
		return time.Time{}
	}
	return b.link.since()
}

// awaitLink returns when the connection is up, or closed for good.
func (b *Bus) awaitLink(ctx context.Context) error {
	for {
		changed := b.link.changed()
		if b.Connected() {
			return nil
		}
		select {
		case <-changed:
		case <-b.closed:
			return ErrDisconnected
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// tellUp calls up when the server has every subscription made so far, however long that takes; never when ctx ends first. nats.go sends a
// subscription without waiting, and keeps it in memory while there is no server at all.
func (b *Bus) tellUp(ctx context.Context, up func()) {
	for b.awaitLink(ctx) == nil {
		if b.flush(ctx) == nil {
			if up != nil {
				up()
			}
			return
		}
	}
}

// flush returns when the server has answered for all that was sent before.
func (b *Bus) flush(ctx context.Context) error {
	ctx, cancel := b.within(ctx, requestTimeout)
	defer cancel()
	return b.nc.FlushWithContext(ctx)
}

// within bounds a request: by time, and by the connection, for an answer that was under way when it broke never comes.
func (b *Bus) within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	timed, stop := context.WithTimeout(ctx, d)
	tied, cancel := context.WithCancelCause(timed)
	if !b.nc.IsConnected() {
		cancel(ErrDisconnected)
	}
	untie := context.AfterFunc(b.link.life(), func() { cancel(ErrDisconnected) })
	return causal{tied}, func() { untie(); cancel(nil); stop() }
}

// causal says why it ended instead of that it was cancelled: nats.go returns a context's Err as it is.
type causal struct{ context.Context }

func (c causal) Err() error { return context.Cause(c.Context) }
