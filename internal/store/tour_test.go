package store_test

import (
	"fmt"
	"iter"
	"testing"
	"time"

	"processor/internal/chat"
	"processor/internal/store"
)

// tour makes every call of a store on one chat, in an order in which each does something.
func tour(t *testing.T, s *store.Store, name string) iter.Seq2[string, func() error] {
	t.Helper()
	ctx := t.Context()
	id := chat.ID(name)
	l := chat.Lease{Chat: id, Worker: "w"}
	hold := func(c chat.Chat) { l.Number, l.Epoch, l.Turn, l.Step = c.Number, c.Epoch, c.Turn, c.Step }
	clients := 0
	send := func(busy chat.Busy) func() error {
		return func() error {
			clients++
			_, err := s.Send(ctx, chat.NewMessage{Chat: id, Parts: question, ClientID: fmt.Sprint(clients), Busy: busy}, nil)
			return err
		}
	}
	claim := func() error {
		c, err := s.Claim(ctx, id, "w", false, history)
		hold(c.Chat)
		return err
	}
	moved := func(out chat.Outcome, err error) error {
		hold(out.Chat)
		return err
	}
	moves := []struct {
		name string
		move func() error
	}{
		{"create", func() error { _, err := s.Create(ctx, chat.NewChat{ID: id}); return err }},
		{"send", send(chat.BusyQueue)},
		{"claim", claim},
		{"queue", send(chat.BusyQueue)},
		{"commit", func() error { return moved(s.Commit(ctx, l, step)) }},
		{"backoff", func() error { return moved(s.Backoff(ctx, l, time.Minute, chat.TurnError{})) }},
		{"finish", func() error { return moved(s.Finish(ctx, l, reply)) }},
		{"yield", func() error { return moved(s.Yield(ctx, l)) }},
		{"interrupting send", send(chat.BusyInterrupt)},
		{"interrupt", func() error { _, err := s.Interrupt(ctx, id, 0, nil); return err }},
		{"send again", send(chat.BusyQueue)},
		{"claim again", claim},
		{"interrupt a running chat", func() error { _, err := s.Interrupt(ctx, id, 0, nil); return err }},
		{"finish as interrupted", func() error { return moved(s.Finish(ctx, l, reply)) }},
		{"send once more", send(chat.BusyQueue)},
		{"claim once more", claim},
		{"fail", func() error { _, err := s.Fail(ctx, l, failure); return err }},
		{"retry", func() error { _, err := s.Retry(ctx, id); return err }},
		{"get", func() error { _, err := s.Get(ctx, id); return err }},
		{"snapshot", func() error { _, err := s.Snapshot(ctx, id, 0, 50); return err }},
		{"list", func() error { _, err := s.List(ctx, chat.Filter{Limit: 5}); return err }},
		{"workers", func() error { _, err := s.Workers(ctx); return err }},
		{"beat", func() error { _, err := s.Beat(ctx, "w", 1, false); return err }},
		{"pending", func() error { _, err := s.Pending(ctx, 5); return err }},
		{"owned", func() error { _, err := s.Owned(ctx, "w"); return err }},
		{"release", func() error { _, err := s.Release(ctx, "w"); return err }},
		{"delete", func() error { _, err := s.Delete(ctx, id); return err }},
	}
	return func(yield func(string, func() error) bool) {
		for _, m := range moves {
			if !yield(m.name, m.move) {
				return
			}
		}
	}
}
