package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"

	"processor/internal/chat"
)

// hubBuffer is how many events a stream may be behind. One that is further behind is given a new subscription, and catches up from the transcript.
const hubBuffer = 64

// hub shares one subscription to a chat among all who watch it here: an event is received and decoded once, however many there are. It
// never waits for any of them.
type hub struct {
	events    Events
	snapshots snapshots
	logger    *slog.Logger

	mu    sync.Mutex
	chats map[chat.ID]*topic
	all   *topic
}

var _ chat.Feed = (*hub)(nil)

func newHub(events Events, service Service, logger *slog.Logger) *hub {
	return &hub{
		events: events, logger: logger, chats: map[chat.ID]*topic{},
		snapshots: snapshots{read: service.Snapshot, flights: map[flightKey]*flight{}, logger: logger},
	}
}

// survived makes an error of what was recovered on a goroutine that is nobody's request. Nothing else would end the panic there but the process, and
// with it everybody's chats; whoever waits for the goroutine begins again.
func survived(logger *slog.Logger, panicked any, err error) error {
	if panicked == nil {
		return err
	}
	logger.Error("watch panicked", "err", fmt.Sprint(panicked), "stack", string(debug.Stack()))
	return errPanicked
}

var errPanicked = errors.New("it panicked, see the log")

// topic is one shared subscription. Its goroutine hands out the events until nobody is left, or until events were lost: then all have to
// begin again.
type topic struct {
	forget func() // takes it out of the hub; under the hub's lock
	// opened is closed when the subscription is there, or failed with err.
	opened chan struct{}
	err    error
	cancel context.CancelFunc
	wanted func(chat.Event) bool // nil: all

	mu      sync.Mutex
	ended   bool
	readers map[*reader]struct{}
}

type reader struct{ events chan chat.Event }

// Subscribe implements chat.Feed.
func (h *hub) Subscribe(ctx context.Context, id chat.ID) (<-chan chat.Event, func(), error) {
	return h.join(ctx, func() *topic { return h.chats[id] }, func(t *topic) {
		t.forget = func() {
			if h.chats[id] == t {
				delete(h.chats, id)
			}
		}
		h.chats[id] = t
	}, func(ctx context.Context) (<-chan chat.Event, func(), error) { return h.events.Subscribe(ctx, id) })
}

// SubscribeAll is Subscribe for what happens to the rows of all chats.
func (h *hub) SubscribeAll(ctx context.Context) (<-chan chat.Event, func(), error) {
	return h.join(ctx, func() *topic { return h.all }, func(t *topic) {
		t.forget = func() {
			if h.all == t {
				h.all = nil
			}
		}
		t.wanted = ofRow
		h.all = t
	}, h.events.SubscribeAll)
}

// Snapshot implements chat.Feed.
func (h *hub) Snapshot(ctx context.Context, r chat.MessagesRequest) (chat.Snapshot, error) {
	return h.snapshots.get(ctx, r)
}

type subscribe func(context.Context) (<-chan chat.Event, func(), error)

// join adds a reader to the topic, which is made if there is none.
func (h *hub) join(ctx context.Context, find func() *topic, keep func(*topic), open subscribe) (<-chan chat.Event, func(), error) {
	r := &reader{events: make(chan chat.Event, hubBuffer)}
	for {
		h.mu.Lock()
		t := find()
		if t == nil {
			living, cancel := context.WithCancel(context.WithoutCancel(ctx)) // ended by the last reader, or when events were lost
			t = &topic{opened: make(chan struct{}), cancel: cancel, readers: map[*reader]struct{}{}}
			keep(t)
			go h.run(living, t, open)
		}
		joined := t.add(r)
		h.mu.Unlock()
		if !joined {
			continue // it has ended just now, and forgets itself
		}
		select {
		case <-t.opened:
		case <-ctx.Done():
			h.leave(t, r)
			return nil, nil, context.Cause(ctx)
		}
		if t.err != nil {
			h.leave(t, r)
			return nil, nil, t.err
		}
		return r.events, func() { h.leave(t, r) }, nil
	}
}

// run is the topic's goroutine.
func (h *hub) run(ctx context.Context, t *topic, open subscribe) {
	defer t.cancel()
	events, stop, err := h.open(ctx, open)
	t.err = err
	close(t.opened)
	if err == nil {
		h.hand(ctx, t, events, stop)
	}
	h.mu.Lock()
	t.forget()
	h.mu.Unlock()
	t.end()
}

func (h *hub) open(ctx context.Context, open subscribe) (events <-chan chat.Event, stop func(), err error) {
	defer func() { err = survived(h.logger, recover(), err) }()
	return open(ctx)
}

func (h *hub) hand(ctx context.Context, t *topic, events <-chan chat.Event, stop func()) {
	defer func() { _ = survived(h.logger, recover(), nil) }()
	defer stop()
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return
			}
			if t.wanted == nil || t.wanted(e) {
				t.each(e)
			}
		case <-ctx.Done():
			return
		}
	}
}

// each gives an event to all, and drops those that are too far behind.
func (t *topic) each(e chat.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for r := range t.readers {
		select {
		case r.events <- e:
		default:
			delete(t.readers, r)
			close(r.events)
		}
	}
}

func (t *topic) add(r *reader) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.ended {
		t.readers[r] = struct{}{}
	}
	return !t.ended
}

// end tells all readers that events were lost.
func (t *topic) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	for r := range t.readers {
		delete(t.readers, r)
		close(r.events)
	}
}

// leave takes a reader out; the last one ends the topic. Nobody joins meanwhile, because that takes the hub's lock as well.
func (h *hub) leave(t *topic, r *reader) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.readers, r)
	if len(t.readers) == 0 {
		t.ended = true
		t.forget()
		t.cancel()
	}
}
