package explore

import (
	"errors"
	"fmt"
	"slices"

	"processor/internal/chat"
	"processor/internal/chat/chattest"
)

func text(client string, busy chat.Busy) chat.NewMessage {
	return chat.NewMessage{Chat: subject, ClientID: client, Parts: []chat.Part{{Type: chat.TextPart, Text: client}}, Busy: busy}
}

// send accepts a message. Commit, then publish.
func send(client string, busy chat.Busy) func(*state) error {
	return func(s *state) error {
		sent, err := s.store().Send(s.ctx, text(client, busy), nil)
		s.ring(sent.Chat)
		s.accepted = append(s.accepted[:len(s.accepted):len(s.accepted)], client)
		return err
	}
}

// open is Processor.Open: it accepts a message by way of a replica, which begins the turn if there is one to begin. Without the store's reply the
// replica knows of no run, and nobody rings.
func open(client string, i int, replied bool) func(*state) error {
	return func(s *state) error {
		p := &s.procs[i]
		sent, _, err := s.store().OpenTurn(s.ctx, text(client, chat.BusyQueue), p.id, budget())
		s.accepted = append(s.accepted[:len(s.accepted):len(s.accepted)], client)
		switch {
		case err != nil || !replied:
		case sent.From == chat.Waiting && sent.Chat.Status == chat.Running:
			p.takes(sent.Chat)
		default:
			s.ring(sent.Chat)
		}
		return err
	}
}

func interrupt(s *state) error {
	out, err := s.store().Interrupt(s.ctx, subject, 0, nil)
	s.ring(out.Chat)
	return err
}

func retry(s *state) error {
	out, err := s.store().Retry(s.ctx, subject)
	s.ring(out.Chat)
	return err
}

// truncate sends a message again, and takes back what followed it.
func truncate(m chat.Message) func(*state) error {
	return func(s *state) error {
		history := s.rows().History(s.row().Number)
		out, err := s.store().Truncate(s.ctx, chat.Truncation{Chat: subject, Message: *m.ID})
		s.ring(out.Chat)
		s.truncated = true
		var left []string
		for _, client := range s.accepted {
			gone := func(h chat.Message) bool { return h.ClientID == client && *h.ID > *m.ID }
			if !slices.ContainsFunc(history, gone) {
				left = append(left, client)
			}
		}
		s.accepted = left
		return err
	}
}

// still tries all that must change nothing in this state: what is sent twice, refused, meant for another turn, or swept without need.
func (s *state) still(rows chattest.Rows) error {
	c := s.row()
	t := s.next()
	db, before := t.store(), t.db.Key()
	var errs []error
	for _, client := range s.accepted {
		sent, err := db.Send(s.ctx, text(client, chat.BusyInterrupt), nil)
		if err != nil || !sent.Duplicate {
			errs = append(errs, fmt.Errorf("I4: message %q is sent again: %w, duplicate %t", client, err, sent.Duplicate))
		}
	}
	if c.Turn > 1 {
		_, err := db.Interrupt(s.ctx, subject, c.Turn-1, nil)
		errs = append(errs, err)
	}
	if c.Status != chat.Parked {
		_, err := db.Retry(s.ctx, subject)
		errs = append(errs, err)
	}
	if c.Status == chat.Parked || c.Status == chat.Waiting {
		_, err := db.Interrupt(s.ctx, subject, 0, nil)
		errs = append(errs, err)
	}
	if c.Status == chat.Pending || c.Status == chat.Running {
		var refused *chat.Error
		if _, err := db.Send(s.ctx, text("third", chat.BusyReject), nil); !errors.As(err, &refused) {
			errs = append(errs, fmt.Errorf("a sender that wants no queue: %w", err))
		}
	}
	if c.Status != chat.Pending && !s.neglected(c, rows) {
		errs = append(errs, t.sweep(chat.Pass{}))
	}
	if after := db.Key(); after != before {
		errs = append(errs, fmt.Errorf("what must change nothing changes the store:\n%s\n%s", before, after))
	}
	return errors.Join(errs...)
}
