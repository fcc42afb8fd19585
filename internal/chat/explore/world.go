package explore

import (
	"context"
	"errors"
	"hash/maphash"
	"time"

	"processor/internal/chat"
	"processor/internal/chat/chattest"
)

// World says what is explored, and how far.
type World struct {
	// Troubles bounds what goes wrong on one path.
	Troubles int
	// Steps bounds the steps that a turn commits before its last.
	Steps int
	// Deaths is how many owners of the first message have died before the walk begins: with two, the next one parks the chat.
	Deaths int
	// Draining: the walk begins with an owner of the first message that was told to shut down, which would be a trouble by itself.
	Draining bool
	// Rules are the store's, Flaws what is wrong with everything else.
	Rules chattest.Rules
	Flaws Flaws
}

// Flaws break what surrounds the store, to see that it is noticed.
type Flaws struct {
	// NeverRedispatch: a sweep rings for nobody. NeverLetGo: a beat compares nothing. AdoptLater: a write that turns out to have landed
	// before makes the run take over whatever lease its worker holds by now.
	NeverRedispatch, NeverLetGo, AdoptLater bool
}

// subject is the one chat, and texts are the messages that its user sends, by client_id.
const (
	subject = chat.ID("a")
	first   = "first"
	second  = "second"
)

// state is one moment of the world. Its store is shared with other states until a move writes to it.
type state struct {
	*World
	ctx      context.Context
	seeds    [2]maphash.Seed
	db       *chattest.Memory
	mine     bool
	accepted []string // client ids, never written in place
	// truncated: the user has cut the history once, which is as often as a walk allows.
	truncated bool
	bus       message
	procs     [2]process
}

// begin is a chat without messages, and two replicas.
func (w World) begin(ctx context.Context) (*state, error) {
	db := chattest.NewMemory()
	db.Now = func() time.Time { return time.Unix(1e9, 0).UTC() }
	db.Rules, db.RedispatchAfter = w.Rules, 0
	s := &state{World: &w, ctx: ctx, seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, db: db, mine: true}
	if _, err := db.Create(ctx, chat.NewChat{ID: subject, Model: "m"}); err != nil {
		return nil, err
	}
	for i := range s.procs {
		if err := s.start(i); err != nil {
			return nil, err
		}
	}
	return s, s.prelude()
}

// prelude is what happened before the walk begins.
func (s *state) prelude() error {
	if s.Deaths == 0 && !s.Draining {
		return nil
	}
	err := send(first, chat.BusyQueue)(s)
	for range s.Deaths {
		owner := s.procs[0].id
		err = errors.Join(err, s.owned(), s.start(0), s.judge(owner, chat.LostGone), s.tidy(s.rows()))
	}
	if s.Draining {
		err = errors.Join(err, s.owned(), s.drain(0))
	}
	return err
}

// owned gives the chat to the first replica.
func (s *state) owned() error {
	s.bus, s.procs[0].held = inFlight, current
	return s.claim(0, true)
}

// next is a state to make a move in.
func (s *state) next() *state {
	t := *s
	t.mine = false
	return &t
}

// store is the state's own store, to write to.
func (s *state) store() *chattest.Memory {
	if !s.mine {
		s.db, s.mine = s.db.Clone(), true
	}
	return s.db
}

func (s *state) row() chat.Chat {
	c, err := s.db.Get(s.ctx, subject)
	if err != nil {
		panic("the chat is gone: " + err.Error())
	}
	return c
}

func (s *state) rows() chattest.Rows {
	rows, err := s.db.Rows(s.ctx)
	if err != nil {
		panic("rows of a store in memory: " + err.Error())
	}
	return rows
}

// ring is a publish: it replaces what the stream holds of the chat.
func (s *state) ring(c chat.Chat) {
	if c.Status != chat.Pending {
		return
	}
	s.bus = ready
	s.outdate()
}

// outdate makes late acks of earlier deliveries harmless.
func (s *state) outdate() {
	for i := range s.procs {
		if s.procs[i].held == current {
			s.procs[i].held = stale
		}
	}
}

// message is what the stream holds of the chat: the limit of one per subject allows no more.
type message byte

const (
	none     message = iota
	ready            // to be delivered
	inFlight         // delivered and not acked
)
