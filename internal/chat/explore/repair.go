package explore

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"processor/internal/chat"
	"processor/internal/chat/chattest"
)

// lost is the beat of a worker that somebody declared lost: its runs end, and the process gets another name.
func (s *state) lost(i int) error {
	b, err := s.store().Beat(s.ctx, s.procs[i].id, 0, s.procs[i].draining)
	if err != nil || !b.Lost {
		return errors.Join(err, errors.New("I2: a lost worker may go on"))
	}
	s.nak(i)
	return s.start(i)
}

// letGo is Processor.letGo: a chat that nobody runs here goes back.
func (s *state) letGo(i int, c chat.Chat) error {
	l := chat.Lease{Chat: subject, Number: c.Number, Worker: s.procs[i].id, Epoch: c.Epoch, Turn: c.Turn, Step: c.Step}
	out, err := s.store().Yield(s.ctx, l)
	s.ring(out.Chat)
	return err
}

// leave is the end of a shutdown: the sweeper's release, then the worker's row.
func (s *state) leave(i int) error {
	s.nak(i)
	id := s.procs[i].id
	released, err := s.store().Release(s.ctx, id)
	for _, o := range released {
		s.ring(o.Chat)
	}
	return errors.Join(err, s.start(i), s.store().Unregister(s.ctx, id))
}

// sweepersMoves: one sweeper is always there, since every replica has one. Where it has nothing to do, still looks that it does nothing.
func (s *state) sweepersMoves(c chat.Chat, rows chattest.Rows) (all []move) {
	if s.neglected(c, rows) {
		all = append(all, move{system, "the sweeper looks", func(s *state) error { return s.sweep(chat.Pass{}) }})
	}
	for _, w := range rows.Workers {
		if w.LostAt != nil || !s.matters(w.ID, c) {
			continue
		}
		provable := s.provable(w.ID)
		all = append(all,
			move{provable, fmt.Sprintf("nobody answers the probes of %s", w.ID), func(s *state) error { return s.judge(w.ID, chat.LostGone) }},
			move{provable, fmt.Sprintf("the beat of %s is old enough", w.ID), func(s *state) error { return s.judge(w.ID, chat.LostAge) }})
	}
	return all
}

// neglected: a sweep without any new evidence has something to do.
func (s *state) neglected(c chat.Chat, rows chattest.Rows) bool {
	switch c.Status {
	case chat.Pending:
		return s.bus == none
	case chat.Running:
		w, ok := rows.Worker(*c.Worker)
		return !ok || w.LostAt != nil
	default:
		return false
	}
}

// provable says what it takes to find a worker lost: nothing but time if its process is gone; else it is frozen, or cut off.
func (s *state) provable(id chat.WorkerID) kind {
	if s.procs[0].id == id || s.procs[1].id == id {
		return trouble
	}
	return system
}

// matters: the loss of a process that has nothing to do with the chat changes nothing for it.
func (s *state) matters(id chat.WorkerID, c chat.Chat) bool {
	idle := func(p process) bool { return p.id == id && p.held == nothing && !p.run.is() && !p.owns(c) }
	return !slices.ContainsFunc(s.procs[:], idle)
}

// long is longer than any age that a sweep asks for.
const long = time.Hour

// judge lets one worker's beat grow old while all others beat, and sweeps. Afterwards no time has passed.
func (s *state) judge(id chat.WorkerID, cause chat.LostCause) error {
	db := s.store()
	beat := func() (err error) {
		for _, w := range s.rows().Workers {
			if w.ID != id && w.LostAt == nil {
				_, failed := db.Beat(s.ctx, w.ID, 0, w.Draining)
				err = errors.Join(err, failed)
			}
		}
		return err
	}
	pass := chat.Pass{Gone: []chat.WorkerID{id}}
	if cause == chat.LostAge {
		pass = chat.Pass{LostAfter: long}
	}
	err := errors.Join(db.Elapse(s.ctx, long), beat(), s.sweep(pass), db.Elapse(s.ctx, -long), beat(), db.Anew(s.ctx))
	c := s.row()
	if c.Worker != nil && *c.Worker == id {
		err = errors.Join(err, fmt.Errorf("I3: %s is lost and keeps the chat", id))
	}
	return err
}

// sweep is Sweeper.passes. The waits between two looks for the same dispatch are left out: it looks whenever it may.
func (s *state) sweep(pass chat.Pass) error {
	db, before := s.store(), s.rows()
	pass.SuspectAfter, pass.Batch = long, 10
	report, err := db.Sweep(s.ctx, pass)
	for _, r := range report.Recovered {
		s.ring(r.Chat)
	}
	var published []chat.Number
	for _, stale := range report.Stale {
		if s.bus == none && !s.Flaws.NeverRedispatch {
			s.ring(s.row())
			published = append(published, stale.Number)
		}
	}
	return errors.Join(err, chattest.CheckIdle(before, s.rows()), s.swept(), db.Dispatched(s.ctx, published, nil, 0, 0), db.Anew(s.ctx))
}

// swept: nothing is neglected after a sweep (I3).
func (s *state) swept() error {
	if c := s.row(); s.neglected(c, s.rows()) && !s.Flaws.NeverRedispatch {
		return fmt.Errorf("I3: the sweep left a chat %s", c.Status)
	}
	return nil
}

// tidy forgets the workers that can do nothing any more: there is no process, and no chat. Prune removes their rows after a day.
func (s *state) tidy(rows chattest.Rows) error {
	c, _ := rows.Chat(subject)
	for _, w := range rows.Workers {
		owner := c.Chat.Worker != nil && *c.Chat.Worker == w.ID
		if owner || w.ID == s.procs[0].id || w.ID == s.procs[1].id {
			continue
		}
		if err := s.store().Unregister(s.ctx, w.ID); err != nil {
			return err
		}
	}
	return nil
}
