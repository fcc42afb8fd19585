package bus

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/nats-io/nats.go"

	"processor/internal/chat"
)

const (
	// maxEvent is the size of JSON from which an event carries the id of its message instead of the message.
	maxEvent = 768 << 10
	// feedBuffer is how many events a reader may be behind, feedBytes how much memory they may take before that. The NATS client keeps
	// them as they came: there may be thousands of readers, of whom few are behind. feedAhead of them are decoded.
	feedAhead  = 16
	feedBuffer = 1024
	feedBytes  = 32 << 20
)

// Announce publishes events, best effort: while the connection is down they are dropped, since old ones are of no use
// to anyone. It does not wait for the server; a server that stops reading can hold it up for writeTimeout once.
func (b *Bus) Announce(events ...chat.Event) {
	for i := range events {
		if err := b.announce(events[i]); err != nil {
			b.counts.lost.Add(1)
			b.logger.Debug("event lost", "chat", events[i].Chat, "err", err)
		}
	}
}

func (b *Bus) announce(e chat.Event) error {
	if !b.nc.IsConnected() {
		return ErrDisconnected
	}
	subject := eventSubject + string(e.Chat)
	err := b.publish(subject, &e, maxEvent)
	if errors.Is(err, errTooLarge) && e.Message != nil {
		if e.Message.ID != nil {
			e.MessageID = *e.Message.ID
		}
		e.Message = nil
		err = b.publish(subject, &e, maxEvent)
	}
	return err
}

// Subscribe follows the events of one chat until ctx ends or stop is called. When it returns, the server has the
// subscription: a caller that reads the truth after that misses nothing. The channel is closed when the reader fell too far behind and
// when the connection was lost and is back; then the caller begins again.
func (b *Bus) Subscribe(ctx context.Context, id chat.ID) (events <-chan chat.Event, stop func(), err error) {
	if err := chat.CheckID("chat", string(id)); err != nil {
		return nil, nil, err
	}
	return b.subscribe(ctx, eventSubject+string(id))
}

// SubscribeAll is Subscribe for all chats.
func (b *Bus) SubscribeAll(ctx context.Context) (events <-chan chat.Event, stop func(), err error) {
	return b.subscribe(ctx, eventSubject+"*")
}

func (b *Bus) subscribe(ctx context.Context, subject string) (<-chan chat.Event, func(), error) {
	within, cancel := b.within(ctx, requestTimeout)
	defer cancel()
	if err := within.Err(); err != nil {
		return nil, nil, b.failed("subscribe to "+subject, err)
	}
	f := &feed{bus: b, events: make(chan chat.Event, feedAhead), done: make(chan struct{})}
	if err := b.feeds.open(f, subject); err != nil {
		return nil, nil, b.failed("subscribe to "+subject, err)
	}
	if err := b.nc.FlushWithContext(within); err != nil {
		f.end(errStopped)
		return nil, nil, b.failed("subscribe to "+subject, err)
	}
	forget := context.AfterFunc(ctx, func() { f.end(errStopped) })
	return f.events, func() { forget(); f.end(errStopped) }, nil
}

// feed is one subscription to live events.
type feed struct {
	bus    *Bus
	sub    *nats.Subscription
	events chan chat.Event
	done   chan struct{} // closed by the first end
	ending sync.Once
	// handing is held while an event is handed out, and by who closes the channel.
	handing sync.Mutex
}

// receive runs on the subscription's own goroutine, and waits for the reader: what comes meanwhile is the NATS client's to keep, which
// reports when that is too much.
func (f *feed) receive(m *nats.Msg) {
	var e chat.Event
	if err := json.Unmarshal(m.Data, &e); err != nil {
		f.bus.logger.Warn("event can't be read", "subject", m.Subject, "err", err)
		return
	}
	f.handing.Lock()
	defer f.handing.Unlock()
	select {
	case <-f.done: // and the channel is closed, or about to be
		return
	default:
	}
	select {
	case f.events <- e:
	case <-f.done:
	}
}

// end ends the feed; all but the first call do nothing.
func (f *feed) end(why error) {
	f.ending.Do(func() {
		close(f.done)
		f.handing.Lock()
		close(f.events)
		f.handing.Unlock()
		f.bus.feeds.forget(f.sub)
		err := f.sub.Unsubscribe()
		if errors.Is(why, errSlow) {
			f.bus.counts.slow.Add(1)
		}
		f.bus.logger.Debug("feed ended", "subject", f.sub.Subject, "err", errors.Join(why, err))
	})
}

// feeds are the open feeds of a connection.
type feeds struct {
	mu  sync.Mutex
	all map[*nats.Subscription]*feed
}

func (s *feeds) open(f *feed, subject string) error {
	f.handing.Lock() // no event may come before the feed is complete
	defer f.handing.Unlock()
	sub, err := f.bus.nc.Subscribe(subject, f.receive)
	if err != nil {
		return err
	}
	f.sub = sub
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[*nats.Subscription]*feed{}
	}
	s.all[sub] = f
	return sub.SetPendingLimits(feedBuffer, feedBytes)
}

func (s *feeds) forget(sub *nats.Subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, sub)
}

// drop ends the feed of a subscription that lost messages, and reports whether there was one.
func (s *feeds) drop(sub *nats.Subscription) bool {
	s.mu.Lock()
	f := s.all[sub]
	s.mu.Unlock()
	if f != nil {
		f.end(errSlow)
	}
	return f != nil
}

func (s *feeds) end(why error) {
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.all))
	s.mu.Unlock()
	for _, f := range all {
		f.end(why)
	}
}
