package explore

import (
	"errors"
	"fmt"

	"processor/internal/chat"
	"processor/internal/chat/chattest"
)

// stepped checks one move that wrote to the store.
func stepped(before, after chattest.Rows, m move) error {
	b, _ := before.Chat(subject)
	a, _ := after.Chat(subject)
	return errors.Join(chattest.CheckStep(before, after), asked(b.Chat, a.Chat, m))
}

// asked: only a user asks a turn to stop, and what was asked is not forgotten before the turn is over.
func asked(b, a chat.Chat, m move) error {
	over := a.Turn != b.Turn || a.Status == chat.Waiting || a.Status == chat.Parked
	switch {
	case a.InterruptRequested() && (a.Turn != b.Turn || !b.InterruptRequested()) && m.kind != chance:
		return fmt.Errorf("I4: turn %d is to stop, and nobody asked for it", a.Turn)
	case b.InterruptRequested() && !over && !a.InterruptRequested():
		return fmt.Errorf("I4: turn %d was asked to stop, and that is forgotten", a.Turn)
	}
	return nil
}

// sound checks one state.
func (s *state) sound(rows chattest.Rows) error {
	return errors.Join(chattest.CheckInvariants(rows), s.kept(rows), s.fenced(), s.still(rows))
}

// kept: each accepted message is in the history or in the queue, once.
func (s *state) kept(rows chattest.Rows) error {
	count := map[string]int{}
	for _, list := range [][]chattest.MessageRow{rows.Messages, rows.Queue} {
		for _, m := range list {
			count[m.Message.ClientID]++
		}
	}
	for _, client := range s.accepted {
		if count[client] != 1 {
			return fmt.Errorf("I4: the message %q was accepted and is there %d times", client, count[client])
		}
	}
	return nil
}

// fenced: of all who believe to own the chat at most one may write, and only under the row's own lease (I2).
func (s *state) fenced() error {
	c, owners := s.row(), 0
	for i := range s.procs {
		for _, l := range []chat.Lease{s.procs[i].run.lease, s.procs[i].waiting} {
			if l.Epoch == 0 {
				continue
			}
			if covers(c, l) {
				owners++
				continue
			}
			t := s.next()
			if _, err := t.writes(l, chat.Commit); err == nil && t.row().Version != c.Version {
				return fmt.Errorf("I2: a write under the lease %+v is accepted, the row is of %s in epoch %d, turn %d, step %d",
					l, owner(c), c.Epoch, c.Turn, c.Step)
			}
		}
	}
	if owners > 1 {
		return fmt.Errorf("I2: %d runs have the lease of epoch %d", owners, c.Epoch)
	}
	return nil
}

func covers(c chat.Chat, l chat.Lease) bool {
	return c.Status == chat.Running && *c.Worker == l.Worker && c.Epoch == l.Epoch && c.Turn == l.Turn && c.Step == l.Step
}

func owner(c chat.Chat) chat.WorkerID {
	if c.Worker == nil {
		return "nobody"
	}
	return *c.Worker
}
