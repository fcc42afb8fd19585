package bus

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"processor/internal/chat"
)

// askTimeout bounds a question to a worker.
const askTimeout = 500 * time.Millisecond

// control is a request to one worker.
type control struct {
	Op   string  `json:"op"`
	Chat chat.ID `json:"chat,omitempty"`
}

// The questions to a worker.
const (
	opLook    = "look"
	opPartial = "partial"
	opPing    = "ping"
)

// Controlled is a worker as others may ask it.
type Controlled interface {
	// Look says that somebody asked a chat of this worker to stop, or deleted it. It may wait; a few are under way at once.
	Look(ctx context.Context, id chat.ID)
	// PartialOf is what was streamed of a chat's open step, false if the worker does not run it. It must not wait.
	PartialOf(id chat.ID) (chat.Partial, bool)
}

var _ Controlled = (*chat.Processor)(nil)

// maxLooks is how many looks are under way at once. One that is too many is dropped: the beat tells the worker the same.
const maxLooks = 16

// Serve answers what others ask worker, until ctx ends. That it answers at all is what the probe looks for, so it is the last
// of a replica's services to end, and nothing that waits for a database may hold it up. up, which may be nil, is told once, when the server has
// the subscription: from then on the worker can be asked.
func (b *Bus) Serve(ctx context.Context, worker chat.WorkerID, c Controlled, up func()) error {
	subject := controlSubject + string(worker)
	in := make(chan *nats.Msg, feedBuffer)
	sub, err := b.nc.ChanSubscribe(subject, in)
	if err != nil {
		return b.failed("serve "+subject, err)
	}
	s := &server{bus: b, controlled: c, places: make(chan struct{}, maxLooks)}
	defer s.looks.Wait()
	s.looks.Go(func() { b.tellUp(ctx, up) })
	for {
		select {
		case m := <-in:
			s.answer(ctx, m)
		case <-ctx.Done():
			if err := sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
				return b.failed("end "+subject, err)
			}
			return nil
		}
	}
}

// server is one call of Serve.
type server struct {
	bus        *Bus
	controlled Controlled
	places     chan struct{}
	looks      sync.WaitGroup
}

func (s *server) answer(ctx context.Context, m *nats.Msg) {
	var r control
	if err := json.Unmarshal(m.Data, &r); err != nil {
		s.bus.logger.Warn("control request can't be read", "subject", m.Subject, "err", err)
		return
	}
	var err error
	switch r.Op {
	case opLook:
		s.look(ctx, r.Chat)
	case opPing:
		err = m.Respond(nil)
	case opPartial:
		err = s.tellPartial(m.Reply, r.Chat)
	default: // of a newer build
	}
	if err != nil {
		s.bus.logger.Warn("control request not answered", "subject", m.Subject, "err", err)
	}
}

func (s *server) look(ctx context.Context, id chat.ID) {
	select {
	case s.places <- struct{}{}:
	default:
		return
	}
	s.looks.Go(func() {
		defer func() { <-s.places }()
		ctx, cancel := context.WithTimeout(ctx, requestTimeout)
		defer cancel()
		s.controlled.Look(ctx, id)
	})
}

// tellPartial answers with nothing when there is no partial, or when it is larger than a message may be: such a watcher sees
// the text when it is committed.
func (s *server) tellPartial(reply string, id chat.ID) error {
	err := errTooLarge
	if p, ok := s.controlled.PartialOf(id); ok {
		err = s.bus.publish(reply, &p, s.bus.maxPayload())
	}
	if errors.Is(err, errTooLarge) {
		return s.bus.nc.Publish(reply, nil)
	}
	return err
}

// Look tells a worker to look at one of its chats now. Nobody answers; the worker's next beat tells it the same.
func (b *Bus) Look(worker chat.WorkerID, id chat.ID) {
	if err := b.publish(controlSubject+string(worker), control{Op: opLook, Chat: id}, maxEvent); err != nil {
		b.logger.Debug("look lost", "worker", worker, "chat", id, "err", err)
	}
}

// AskPartial asks a worker what it has streamed of a chat's open step, for at most 500 ms.
func (b *Bus) AskPartial(ctx context.Context, worker chat.WorkerID, id chat.ID) (p chat.Partial, ok bool) {
	m, err := b.ask(ctx, worker, control{Op: opPartial, Chat: id})
	if err != nil || len(m.Data) == 0 {
		return p, false
	}
	if err := json.Unmarshal(m.Data, &p); err != nil {
		b.logger.Warn("partial can't be read", "worker", worker, "chat", id, "err", err)
		return chat.Partial{}, false
	}
	return p, true
}

// Answer is what a probe of a worker found.
type Answer int

// The answers. Only NoResponders means anything: the server knows of no subscription, so the process is gone or cut off.
const (
	Unknown Answer = iota
	Answered
	NoResponders
)

func (a Answer) String() string { return [...]string{"unknown", "answered", "no responders"}[a] }

// Probe asks a worker whether it is there, for at most 500 ms. An error of any kind is Unknown.
func (b *Bus) Probe(ctx context.Context, worker chat.WorkerID) Answer {
	switch _, err := b.ask(ctx, worker, control{Op: opPing}); {
	case err == nil:
		return Answered
	case errors.Is(err, nats.ErrNoResponders):
		return NoResponders
	default:
		return Unknown
	}
}

func (b *Bus) ask(ctx context.Context, worker chat.WorkerID, r control) (*nats.Msg, error) {
	ctx, cancel := b.within(ctx, askTimeout)
	defer cancel()
	data, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return b.nc.RequestWithContext(ctx, controlSubject+string(worker), data)
}
