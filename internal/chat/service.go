package chat

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// Service carries out what callers ask for: it checks the request, has the store commit it, and only then tells the bus
// (I1). It is the one implementation behind every API.
type Service struct {
	store  ServiceStore
	bus    ServiceBus
	config ServiceConfig
}

// ServiceStore is the store as the service needs it.
type ServiceStore interface {
	Commands
	Labels
	Histories
	Queries
}

// ServiceBus is the bus as the service needs it.
type ServiceBus interface {
	Doorbell
	Announcer
	Partials
}

// ServiceConfig has the service's settings.
type ServiceConfig struct {
	// DefaultModel answers chats that name none.
	DefaultModel string
	// Opener accepts messages in place of the store, and may begin their turns here; may be nil.
	Opener Opener
	Logger *slog.Logger
	// Observe is told of every accepted command and how long it took; may be nil.
	Observe func(t Transition, elapsed time.Duration, err error)
}

// NewService makes a service.
func NewService(store ServiceStore, bus ServiceBus, config ServiceConfig) *Service {
	return &Service{store: store, bus: bus, config: config}
}

// Create makes a chat. The same id with the same content again returns the first result.
func (s *Service) Create(ctx context.Context, r CreateRequest) (CreateReply, error) {
	c, err := s.newChat(r.forTenant(ctx))
	if err != nil {
		return CreateReply{}, err
	}
	sent, err := observe(s, Send, func() (Sent, error) { return s.store.Create(ctx, c) })
	if err != nil {
		return CreateReply{}, err
	}
	if sent.Changed {
		s.tell(sent.Outcome, "created")
	}
	reply := CreateReply{Chat: sent.Chat, Duplicate: sent.Duplicate}
	if c.Message != nil {
		reply.Message = &sent.Message
	}
	return reply, nil
}

// Send accepts a user message. It is durable before Send returns, and gets exactly one outcome (I4).
func (s *Service) Send(ctx context.Context, r SendRequest) (SendReply, error) {
	m, err := newMessage(r)
	if err != nil {
		return SendReply{}, err
	}
	var partial *Partial
	if m.Busy == BusyInterrupt {
		partial = s.partialOfPending(ctx, r.Chat)
	}
	start := func() {}
	sent, err := observe(s, Send, func() (sent Sent, err error) {
		if s.config.Opener == nil || m.Busy == BusyInterrupt {
			return s.store.Send(ctx, m, partial)
		}
		sent, start, err = s.config.Opener.Open(ctx, m)
		return sent, err
	})
	if err != nil {
		return SendReply{}, err
	}
	defer start() // whatever becomes of the telling, a claimed chat has to be run
	s.tell(sent.Outcome, "sent")
	return SendReply{Chat: sent.Chat, Message: sent.Message, Queued: sent.Queued, Duplicate: sent.Duplicate}, nil
}

// Interrupt asks the current turn to stop, or only the named one. It is accepted in every status.
func (s *Service) Interrupt(ctx context.Context, r InterruptRequest) (ChatReply, error) {
	if err := CheckID("chat", string(r.Chat)); err != nil {
		return ChatReply{}, err
	}
	if r.Turn < 0 || r.Turn > math.MaxInt32 {
		return ChatReply{}, Errorf(Invalid, "turn", "turn must be 0 to %d", math.MaxInt32)
	}
	partial := s.partialOfPending(ctx, r.Chat)
	out, err := observe(s, Interrupt, func() (Outcome, error) { return s.store.Interrupt(ctx, r.Chat, r.Turn, partial) })
	if err != nil {
		return ChatReply{}, err
	}
	s.tell(out, "interrupted")
	return ChatReply{out.Chat}, nil
}

// Retry opens the turn of a parked chat again. It is accepted in every status and changes only parked chats.
func (s *Service) Retry(ctx context.Context, r ChatRequest) (ChatReply, error) {
	if err := CheckID("chat", string(r.Chat)); err != nil {
		return ChatReply{}, err
	}
	out, err := observe(s, Retry, func() (Outcome, error) { return s.store.Retry(ctx, r.Chat) })
	if err != nil {
		return ChatReply{}, err
	}
	s.tell(out, "retried")
	return ChatReply{out.Chat}, nil
}

// Delete removes a chat at once, also when it is busy: its owner finds no row and stops.
func (s *Service) Delete(ctx context.Context, r ChatRequest) (DeleteReply, error) {
	if err := CheckID("chat", string(r.Chat)); err != nil {
		return DeleteReply{}, err
	}
	c, err := observe(s, Delete, func() (Chat, error) { return s.store.Delete(ctx, r.Chat) })
	if err != nil {
		return DeleteReply{}, err
	}
	s.bus.Announce(Event{Type: DeletedEvent, Chat: c.ID, Number: c.Number, Tenant: c.Tenant, Turn: c.Turn, Version: c.Version + 1, Epoch: c.Epoch, At: time.Now()})
	if c.Worker != nil {
		s.bus.Look(*c.Worker, c.ID)
	}
	if err := s.bus.Purge(ctx, c.ID); err != nil {
		s.config.Logger.Warn("subjects of a deleted chat not purged", "chat", c.ID, "err", err)
	}
	return DeleteReply{}, nil
}

// Get reads one chat.
func (s *Service) Get(ctx context.Context, r ChatRequest) (ChatReply, error) {
	if err := CheckID("chat", string(r.Chat)); err != nil {
		return ChatReply{}, err
	}
	c, err := s.store.Get(ctx, r.Chat)
	return ChatReply{c}, err
}

// Messages pages through the transcript, oldest first.
func (s *Service) Messages(ctx context.Context, r MessagesRequest) (MessagesReply, error) {
	snap, err := s.snapshot(ctx, r)
	if err != nil {
		return MessagesReply{}, err
	}
	for i := range snap.Messages {
		snap.Messages[i].Chunks = nil
	}
	return MessagesReply{Messages: snap.Messages, Next: snap.Next}, nil
}

// Snapshot reads the row and its messages from one statement, and adds what the owner has streamed of the open step.
func (s *Service) Snapshot(ctx context.Context, r MessagesRequest) (Snapshot, error) {
	snap, err := s.snapshot(ctx, r)
	if err != nil || snap.Next != 0 {
		return snap, err
	}
	return snap.withPartial(s.partial(ctx, snap.Chat)), nil
}

func (s *Service) snapshot(ctx context.Context, r MessagesRequest) (Snapshot, error) {
	if err := CheckID("chat", string(r.Chat)); err != nil {
		return Snapshot{}, err
	}
	limit, err := checkLimit(r.Limit)
	if err != nil {
		return Snapshot{}, err
	}
	snap, err := s.store.Snapshot(ctx, r.Chat, r.After, limit)
	if err != nil {
		return Snapshot{}, err
	}
	return fit(snap), nil
}

// List pages through chats, newest first.
func (s *Service) List(ctx context.Context, r ListRequest) (ListReply, error) {
	f := Filter{Status: r.Status, Tenant: r.Tenant}
	var err error
	if f.Limit, err = checkLimit(r.Limit); err != nil {
		return ListReply{}, err
	}
	if r.Status != "" && !r.Status.Valid() {
		return ListReply{}, Errorf(Invalid, "status", "status must be one of waiting, pending, running, error")
	}
	if r.Tenant != "" {
		if err := CheckID("tenant", r.Tenant); err != nil {
			return ListReply{}, err
		}
	}
	if r.Cursor != "" {
		n, err := strconv.ParseInt(r.Cursor, 36, 64)
		if err != nil || n < 1 {
			return ListReply{}, Errorf(Invalid, "cursor", "cursor must be the next of an earlier page")
		}
		f.Before = Number(n)
	}
	limit := f.Limit
	f.Limit++
	chats, err := s.store.List(ctx, f)
	if err != nil {
		return ListReply{}, err
	}
	return pageOfChats(chats, limit), nil
}

// Workers lists the registered replicas.
func (s *Service) Workers(ctx context.Context, _ WorkersRequest) (WorkersReply, error) {
	workers, err := s.store.Workers(ctx)
	return WorkersReply{workers}, err
}

// tell publishes what a committed transition did: events, a dispatch for a chat that waits for an owner, a look for an
// owner whose turn was asked to stop or taken away. Everything here may be lost; the sweeper and the beat repair it.
func (s *Service) tell(o Outcome, reason string) {
	if !o.Changed {
		return
	}
	s.bus.Announce(o.Events(reason)...)
	if o.Evicted != nil {
		s.bus.Look(*o.Evicted, o.Chat.ID)
	}
	switch {
	case o.Chat.Status == Pending:
		s.bus.Ring(o.Chat.ID, o.Chat.Begun())
	case o.Chat.Status == Running && o.Chat.InterruptRequested():
		s.bus.Look(*o.Chat.Worker, o.Chat.ID)
	}
}

// partialOfPending finds what is to be kept of a turn whose owner is gone. Only a pending chat needs it, and a wrong guess is
// harmless: the store checks the partial against the row that it locked.
func (s *Service) partialOfPending(ctx context.Context, id ID) *Partial {
	c, err := s.store.Get(ctx, id)
	if err != nil || c.Status != Pending || c.Epoch == 0 {
		return nil
	}
	return s.partial(ctx, c)
}

// partial asks the owner first and takes the last saved one otherwise.
func (s *Service) partial(ctx context.Context, c Chat) *Partial {
	if c.Status != Running && c.Status != Pending {
		return nil
	}
	if c.Worker != nil {
		if p, ok := s.bus.AskPartial(ctx, *c.Worker, c.ID); ok && p.Of(c) {
			return &p
		}
	}
	if p, ok, err := s.bus.LastPartial(ctx, c.ID); err == nil && ok && p.Of(c) {
		return &p
	}
	return nil
}

func newUUID() string {
	id, err := uuid.NewV7()
	if err != nil {
		id = uuid.New()
	}
	return id.String()
}

func observe[T any](s *Service, t Transition, do func() (T, error)) (T, error) {
	start := time.Now()
	v, err := do()
	var refusal *Error
	if s.config.Observe != nil && !errors.As(err, &refusal) {
		s.config.Observe(t, time.Since(start), err)
	}
	return v, err
}
