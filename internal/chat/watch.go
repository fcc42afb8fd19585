package chat

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// Feed is where a watcher gets its events and snapshots from: the API over NATS, or the service inside a replica.
type Feed interface {
	// Subscribe returns once every event published from now on will be delivered. The channel is closed when the watcher was
	// too slow or the connection broke; stop ends it.
	Subscribe(ctx context.Context, id ID) (events <-chan Event, stop func(), err error)
	Snapshot(ctx context.Context, r MessagesRequest) (Snapshot, error)
}

// ErrStopWatching is returned by emit to end a Watch without an error.
var ErrStopWatching = errors.New("stop watching")

// Watcher follows chats through a feed. It subscribes first, then reads the snapshot, and compares with the row again whenever
// events don't add up, after every reconnect, and every Compare (jittered): a lost event never hangs anyone.
type Watcher struct {
	Feed    Feed
	Compare time.Duration
	// Trouble is told of failures that the watcher lives through; may be nil.
	Trouble func(error)
	// Rest is called after the last event at hand was emitted, before the watcher waits for more, so that an emit may gather events while
	// there are some. An error ends the watch. May be nil.
	Rest func() error
}

// Watch emits the transcript after the message with id after, then live events, in order, without gap or repeat. It returns nil when
// the chat was deleted or emit returned ErrStopWatching, context.Cause(ctx) when ctx ended, and the refusal when there is no such chat.
func (w Watcher) Watch(ctx context.Context, id ID, after int64, emit func(Event) error) error {
	t := TranscriptAfter(after)
	pause := time.NewTimer(0)
	defer pause.Stop()
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		if err := w.rest(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-pause.C:
		}
		version := t.chat.Version
		done, err := w.follow(ctx, id, t, emit)
		if done {
			return err
		}
		if ctx.Err() != nil { // a feed may have ended first
			return context.Cause(ctx)
		}
		if err != nil && w.Trouble != nil {
			w.Trouble(err)
		}
		if t.chat.Version > version {
			wait = 50 * time.Millisecond
		}
		pause.Reset(wait/2 + rand.N(wait))
	}
}

// follow watches through one subscription; done says that err is final.
func (w Watcher) follow(ctx context.Context, id ID, t *Transcript, emit func(Event) error) (done bool, err error) {
	events, stop, err := w.Feed.Subscribe(ctx, id)
	var refusal *Error
	if err != nil {
		return errors.As(err, &refusal) && refusal.Code != Unavailable, err
	}
	defer stop()
	if done, err := w.resync(ctx, id, t, emit); done || err != nil {
		return done, err
	}
	compare := time.NewTimer(jitter(w.Compare))
	defer compare.Stop()
	for {
		if len(events) == 0 {
			if err := w.rest(); err != nil {
				return true, err
			}
		}
		var out []Event
		var gap bool
		select {
		case <-ctx.Done():
			return true, context.Cause(ctx)
		case e, ok := <-events:
			if !ok {
				return false, nil
			}
			out, gap = t.Apply(e)
		case <-compare.C:
			gap = true
			compare.Reset(jitter(w.Compare))
		}
		if done, err := emitAll(out, emit); done || err != nil {
			return true, err
		}
		if gap {
			if done, err := w.resync(ctx, id, t, emit); done || err != nil {
				return done, err
			}
		}
	}
}

// resync reads what is missing, page by page.
func (w Watcher) resync(ctx context.Context, id ID, t *Transcript, emit func(Event) error) (done bool, err error) {
	for {
		if err := w.rest(); err != nil {
			return true, err
		}
		s, err := w.Feed.Snapshot(ctx, MessagesRequest{Chat: id, After: t.After(), Limit: 200})
		var refusal *Error
		switch {
		case errors.As(err, &refusal) && refusal.Code == NotFound && t.known:
			_, err := emitAll(t.deleted(), emit)
			return true, err
		case errors.As(err, &refusal) && refusal.Code != Unavailable:
			return true, err
		case err != nil:
			return false, err
		}
		if t.replaced(s.Chat) {
			s, err = w.Feed.Snapshot(ctx, MessagesRequest{Chat: id, Limit: 200})
			if err != nil {
				return false, err
			}
		}
		if done, err := emitAll(t.Reset(s), emit); done || err != nil {
			return true, err
		}
		if s.Next == 0 {
			return false, nil
		}
	}
}

func (w Watcher) rest() error {
	if w.Rest == nil {
		return nil
	}
	return w.Rest()
}

// emitAll says in done that the watch is over: the consumer stopped it or failed.
func emitAll(events []Event, emit func(Event) error) (done bool, err error) {
	for _, e := range events {
		if err := emit(e); errors.Is(err, ErrStopWatching) {
			return true, nil
		} else if err != nil {
			return true, err
		}
	}
	return false, nil
}

func jitter(d time.Duration) time.Duration { return d - d/5 + rand.N(2*d/5+1) }
