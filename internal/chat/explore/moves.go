package explore

import (
	"cmp"
	"fmt"
	"slices"

	"processor/internal/chat"
	"processor/internal/chat/chattest"
)

// kind says whose move it is.
type kind byte

const (
	system  kind = iota // what replicas and sweeper do by themselves, sooner or later
	chance              // what others do: the user, a process that was frozen
	trouble             // what goes wrong; a path may have so many
)

// move is one thing that can happen next. An error from it is a violation.
type move struct {
	kind kind
	name string
	do   func(s *state) error
}

// moves lists all that can happen in a state, in an order that depends on nothing else.
func (s *state) moves(rows chattest.Rows) []move {
	c, _ := rows.Chat(subject)
	all := append(s.usersMoves(c.Chat, rows), s.busMoves(rows)...)
	for i := range s.procs {
		all = append(all, s.processMoves(i, c.Chat, rows)...)
	}
	all = append(all, s.sweepersMoves(c.Chat, rows)...)
	slices.SortStableFunc(all, func(a, b move) int { return cmp.Compare(a.kind, b.kind) })
	return all
}

func (s *state) usersMoves(c chat.Chat, rows chattest.Rows) (all []move) {
	switch len(s.accepted) {
	case 0:
		all = append(all, move{chance, "the user sends the first message", send(first, chat.BusyQueue)})
		all = append(all, s.openingMoves(c, first)...)
	case 1:
		all = append(all,
			move{chance, "the user sends the second message", send(second, chat.BusyQueue)},
			move{chance, "the user sends the second message and interrupts", send(second, chat.BusyInterrupt)})
		all = append(all, s.openingMoves(c, second)...)
	}
	switch {
	case c.Status == chat.Pending, c.Status == chat.Running && !c.InterruptRequested():
		all = append(all, move{chance, "the user interrupts", interrupt})
	case c.Status == chat.Parked:
		all = append(all, move{trouble, "the user retries", retry})
	}
	if !s.truncated {
		for _, m := range rows.History(c.Number) {
			if m.Role == chat.User {
				all = append(all, move{trouble, "the user cuts the history before the message " + m.ClientID, truncate(m)})
			}
		}
	}
	return all
}

// openingMoves are sends to a replica that takes chats. To a chat that is busy they are sends like any other.
func (s *state) openingMoves(c chat.Chat, client string) (all []move) {
	for i, p := range s.procs {
		if c.Status != chat.Waiting || p.draining {
			continue
		}
		what := fmt.Sprintf("the user sends the %s message to replica %d, which begins its turn", client, i)
		all = append(all, move{chance, what, open(client, i, true)}, move{trouble, what + ", the reply is lost", open(client, i, false)})
	}
	return all
}

func (s *state) busMoves(rows chattest.Rows) (all []move) {
	if s.bus == none {
		return []move{{trouble, "a dispatch comes late, or again", func(s *state) error { s.bus = ready; s.outdate(); return nil }}}
	}
	all = append(all, move{trouble, "the dispatch is lost, or the bus wiped", func(s *state) error { s.bus = none; s.outdate(); return nil }})
	if s.bus == inFlight {
		over := move{system, "the time to ack is over", func(s *state) error { s.bus = ready; return nil }}
		for _, p := range s.procs {
			if p.held == current && !lost(rows, p) {
				over.kind = trouble
			}
		}
		all = append(all, over)
	}
	return all
}

// processMoves: who was declared lost may be frozen for good, so nobody waits for its moves while there is another.
func (s *state) processMoves(i int, c chat.Chat, rows chattest.Rows) (all []move) {
	p, frozen := s.procs[i], lost(rows, s.procs[i]) && !lost(rows, s.procs[1-i])
	add := func(k kind, what string, do func(s *state) error) {
		if k == system && frozen {
			k = chance
		}
		all = append(all, move{k, fmt.Sprintf("replica %d %s", i, what), do})
	}
	if p.run.is() || p.owns(c) {
		s.fates(i, add)
	}
	if s.bus == ready && p.held == nothing && !p.draining {
		add(system, "is given the dispatch", func(s *state) error { s.bus = inFlight; s.procs[i].held = current; return nil })
	}
	if p.held != nothing && p.waiting.Epoch <= 0 {
		add(system, "claims", func(s *state) error { return s.claim(i, true) })
		add(trouble, "claims, the reply is lost", func(s *state) error { return s.claim(i, false) })
	}
	s.runsMoves(p.run, i, add)
	s.beatsMoves(i, c, lost(rows, p), add)
	return all
}

func lost(rows chattest.Rows, p process) bool {
	w, ok := rows.Worker(p.id)
	return !ok || w.LostAt != nil
}

type adder func(k kind, what string, do func(s *state) error)

// fates are what can happen to a process. Those of an idle one change nothing for the chat.
func (s *state) fates(i int, add adder) {
	add(trouble, "crashes", func(s *state) error { return s.start(i) })
	if !s.procs[i].draining {
		add(trouble, "is told to shut down", func(s *state) error { return s.drain(i) })
	}
}

// runsMoves are the writes of a run. What the model says is anybody's guess, so it may make any of them at any time.
func (s *state) runsMoves(r run, i int, add adder) {
	writes := func(k kind, t chat.Transition) {
		add(k, "writes "+string(t), func(s *state) error { return s.write(i, t, true) })
		add(trouble, "writes "+string(t)+", the reply is lost", func(s *state) error { return s.write(i, t, false) })
	}
	switch {
	case !r.is():
		return
	case r.unknown != "":
		add(system, "repeats its "+string(r.unknown), func(s *state) error { return s.write(i, r.unknown, true) })
		return
	}
	writes(system, chat.End)
	if r.lease.Step < s.Steps {
		writes(system, chat.Commit)
	}
	if s.procs[i].draining {
		writes(system, chat.Yield)
	}
	writes(trouble, chat.Fail)
	writes(trouble, chat.Backoff)
}

// beatsMoves are what a heartbeat finds out, and the end of a drain.
func (s *state) beatsMoves(i int, c chat.Chat, lost bool, add adder) {
	p := s.procs[i]
	switch {
	case lost:
		add(system, "hears that it is lost, and registers again", func(s *state) error { return s.lost(i) })
	case s.Flaws.NeverLetGo:
	case p.owns(c) && p.run.lease.Epoch != c.Epoch:
		add(system, "yields what it does not run", func(s *state) error { return s.letGo(i, c) })
	case !p.owns(c) && p.run.is() && p.run.unknown == "":
		add(system, "drops what it does not own", func(s *state) error { s.end(i); return nil })
	}
	if p.draining && (!p.run.is() || p.run.unknown != "") {
		add(system, "releases what is left, and exits", func(s *state) error { return s.leave(i) })
	}
}
