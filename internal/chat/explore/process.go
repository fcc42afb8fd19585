package explore

import (
	"errors"
	"fmt"
	"slices"

	"processor/internal/chat"
)

// process is one replica as it sees itself.
type process struct {
	id       chat.WorkerID
	draining bool
	held     delivery
	run      run
	// waiting is a second claim of the same chat, whose run starts when the one before it has ended.
	waiting chat.Lease
}

// delivery is a dispatch that the replica has in hand.
type delivery byte

const (
	nothing delivery = iota
	current
	stale // replaced in the stream, so an ack does nothing
)

// run is a chat that the process believes to own, while the lease has an epoch.
type run struct {
	lease chat.Lease
	// unknown is the write whose reply is missing. It is repeated until there is one.
	unknown chat.Transition
}

func (r run) is() bool { return r.lease.Epoch > 0 }

func (p process) owns(c chat.Chat) bool { return c.Worker != nil && *c.Worker == p.id }

// start puts a new process in the place of one that is gone, under a name that nobody remembers. It is idle, so it does not matter when.
func (s *state) start(i int) error {
	rows := s.rows()
	id := chat.WorkerID(fmt.Sprintf("w%d", i))
	for _, taken := rows.Worker(id); taken; _, taken = rows.Worker(id) {
		id += "'"
	}
	s.procs[i] = process{id: id}
	return s.store().Register(s.ctx, chat.Worker{ID: id, Slots: 1})
}

// drain is the first thing that a shutdown does: the process takes no more, and its row says so.
func (s *state) drain(i int) error {
	s.procs[i].draining = true
	_, err := s.store().Beat(s.ctx, s.procs[i].id, 0, true)
	return err
}

// claim is Processor.Handle up to the run. Without the reply the process knows of no run, and hands the dispatch back.
func (s *state) claim(i int, replied bool) error {
	p := &s.procs[i]
	c, err := s.claims(p.id, false)
	if errors.Is(err, chat.ErrSuspect) {
		c, err = s.claims(p.id, true)
	}
	settle := s.nak
	if replied && (err == nil || errors.Is(err, chat.ErrNothingToDo)) {
		settle = s.ack
	}
	settle(i)
	if err != nil || !replied {
		return refusal(err, chat.ErrNothingToDo, chat.ErrNotEntitled)
	}
	p.takes(c)
	return nil
}

// takes begins the run of a chat that was claimed.
func (p *process) takes(c chat.Chat) {
	l := chat.Lease{Chat: subject, Number: c.Number, Worker: p.id, Epoch: c.Epoch, Turn: c.Turn, Step: c.Step}
	if p.run.unknown != "" {
		p.waiting = l
		return
	}
	p.run = run{lease: l} // an older run has lost its lease and is dropped
}

// budget is more than any history here.
func budget() chat.Budget { return chat.Budget{Messages: 100, Bytes: 1 << 20} }

func (s *state) claims(id chat.WorkerID, suspects bool) (chat.Chat, error) {
	c, err := s.store().Claim(s.ctx, subject, id, suspects, budget())
	return c.Chat, err
}

func (s *state) ack(i int) {
	held := s.procs[i].held
	s.procs[i].held = nothing
	if held == current {
		s.bus = none
		s.outdate()
	}
}

func (s *state) nak(i int) {
	if s.procs[i].held == current && s.bus == inFlight {
		s.bus = ready
	}
	s.procs[i].held = nothing
}

// refusal lets the refusals through that a caller lives with; anything else is a fault of the store.
func refusal(err error, expected ...error) error {
	if err == nil || slices.ContainsFunc(expected, func(e error) bool { return errors.Is(err, e) }) {
		return nil
	}
	return fmt.Errorf("nobody expects: %w", err)
}

// write is run.write, and what the run makes of the outcome.
func (s *state) write(i int, t chat.Transition, replied bool) error {
	p := &s.procs[i]
	out, err := s.writes(p.run.lease, t)
	if !replied {
		p.run.unknown = t
		return nil
	}
	p.run.unknown = ""
	switch {
	case errors.Is(err, chat.ErrInterrupted):
		return nil // the run goes on, and ends the turn
	case err != nil:
		s.end(i)
		return refusal(err, chat.ErrFenced)
	}
	if t == chat.Yield {
		s.ring(out.Chat)
	}
	s.took(i, t, out.Chat)
	return nil
}

// took is run.took: the run goes on under what its write left behind, and ends if somebody else's move came after it.
func (s *state) took(i int, t chat.Transition, c chat.Chat) {
	l := &s.procs[i].run.lease
	epoch := l.Epoch
	if t == chat.Backoff {
		epoch++
	}
	if c.Status != chat.Running || *c.Worker != l.Worker || (c.Epoch != epoch && !s.Flaws.AdoptLater) {
		s.end(i)
		return
	}
	l.Epoch, l.Turn, l.Step = c.Epoch, c.Turn, c.Step
}

// end ends a run; one that waited for it starts.
func (s *state) end(i int) {
	p := &s.procs[i]
	p.run, p.waiting = run{lease: p.waiting}, chat.Lease{}
}

func (s *state) writes(l chat.Lease, t chat.Transition) (chat.Outcome, error) {
	db := s.store()
	switch t {
	case chat.Commit:
		return db.Commit(s.ctx, l, s.round(l))
	case chat.End:
		return db.Finish(s.ctx, l, s.last(l, chat.Stop, nil))
	case chat.Fail:
		return db.Fail(s.ctx, l, s.last(l, chat.Failed, &chat.TurnError{Code: "auth", Message: "no"}))
	case chat.Backoff:
		return db.Backoff(s.ctx, l, 0, chat.TurnError{Code: "overloaded", Message: "later"})
	default:
		return db.Yield(s.ctx, l)
	}
}

// round asks for a tool, or answers who asked.
func (s *state) round(l chat.Lease) []chat.Message {
	if answers := chat.CloseCalls(s.known(l)); len(answers) > 0 {
		return answers
	}
	return []chat.Message{{Role: chat.Assistant, Parts: []chat.Part{{Type: chat.ToolCallPart, CallID: fmt.Sprintf("call %d", l.Step), Name: "clock"}}}}
}

func (s *state) last(l chat.Lease, f chat.Finish, e *chat.TurnError) []chat.Message {
	return append(chat.CloseCalls(s.known(l)), chat.Message{Role: chat.Assistant, Parts: []chat.Part{{Type: chat.TextPart, Text: "hi"}}, Finish: f, Error: e})
}

// known is what the run under a lease has seen of its turn.
func (s *state) known(l chat.Lease) []chat.Message {
	all := s.rows().History(l.Number)
	return slices.DeleteFunc(all, func(m chat.Message) bool { return m.Turn != l.Turn || m.Step > l.Step })
}
