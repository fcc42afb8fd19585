package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"processor/internal/chat"
	"processor/internal/chat/chattest"
	"processor/internal/store"
)

// player makes moves on one chat and remembers which messages were accepted.
type player struct {
	lease    chat.Lease
	mu       sync.Mutex
	accepted map[string]bool
	deleted  atomic.Bool
	// first is the chat's first message, before which truncations cut; what follows it may go then.
	first     int64
	truncated atomic.Bool
	count     atomic.Int64
}

func (p *player) send(ctx context.Context, s *store.Store, busy chat.Busy) error {
	id := fmt.Sprint("client-", p.count.Add(1))
	_, err := s.Send(ctx, chat.NewMessage{Chat: p.lease.Chat, Parts: question, ClientID: id, Busy: busy}, nil)
	if err == nil {
		p.mu.Lock()
		p.accepted[id] = true
		p.mu.Unlock()
	}
	return err
}

// moves are every transition that two transactions can make on one chat.
func (p *player) moves() map[chat.Transition]func(context.Context, *store.Store) error {
	return map[chat.Transition]func(context.Context, *store.Store) error{
		chat.Send:           func(ctx context.Context, s *store.Store) error { return p.send(ctx, s, chat.BusyQueue) },
		"interrupting send": func(ctx context.Context, s *store.Store) error { return p.send(ctx, s, chat.BusyInterrupt) },
		chat.Claim:          p.claim,
		chat.Commit:         func(ctx context.Context, s *store.Store) error { _, err := s.Commit(ctx, p.lease, step); return err },
		chat.End:            func(ctx context.Context, s *store.Store) error { _, err := s.Finish(ctx, p.lease, reply); return err },
		chat.Fail:           func(ctx context.Context, s *store.Store) error { _, err := s.Fail(ctx, p.lease, failure); return err },
		chat.Yield:          func(ctx context.Context, s *store.Store) error { _, err := s.Yield(ctx, p.lease); return err },
		chat.Backoff: func(ctx context.Context, s *store.Store) error {
			_, err := s.Backoff(ctx, p.lease, time.Minute, chat.TurnError{})
			return err
		},
		chat.Interrupt: func(ctx context.Context, s *store.Store) error {
			_, err := s.Interrupt(ctx, p.lease.Chat, 0, nil)
			return err
		},
		chat.Retry: func(ctx context.Context, s *store.Store) error { _, err := s.Retry(ctx, p.lease.Chat); return err },
		chat.Update: func(ctx context.Context, s *store.Store) error {
			_, err := s.Update(ctx, chat.Labelling{Chat: p.lease.Chat, Metadata: []byte(`{}`)})
			return err
		},
		chat.Truncate: func(ctx context.Context, s *store.Store) error {
			_, err := s.Truncate(ctx, chat.Truncation{Chat: p.lease.Chat, Message: p.first})
			p.truncated.Store(p.truncated.Load() || err == nil)
			return err
		},
		chat.Delete: func(ctx context.Context, s *store.Store) error {
			_, err := s.Delete(ctx, p.lease.Chat)
			p.deleted.Store(p.deleted.Load() || err == nil)
			return err
		},
	}
}

// claim expects to see all that happened before: a history that ends with the turn that it has to answer.
func (p *player) claim(ctx context.Context, s *store.Store) error {
	c, err := s.Claim(ctx, p.lease.Chat, "x", true, history)
	if err != nil {
		return err
	}
	if n := len(c.History); n == 0 || c.History[n-1].Turn != c.Chat.Turn {
		return fmt.Errorf("claimed turn %d with an old history of %d messages", c.Chat.Turn, n)
	}
	return nil
}

var (
	step    = []chat.Message{{Role: chat.Assistant, Parts: []chat.Part{{Type: chat.TextPart, Text: "a step"}}}}
	failure = []chat.Message{{Role: chat.Assistant, Error: &chat.TurnError{Code: "auth", Message: "no"}}}
)

// place brings a new chat into a status, with a message in the queue where the status has one.
func place(t *testing.T, s *store.Store, id chat.ID, status chat.Status) *player {
	t.Helper()
	ctx := t.Context()
	p := &player{accepted: map[string]bool{}, lease: chat.Lease{Chat: id, Worker: "w"}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.Create(ctx, chat.NewChat{ID: id})
	must(err)
	must(p.send(ctx, s, chat.BusyQueue))
	c, err := s.Claim(ctx, id, "w", true, history)
	must(err)
	p.first = *c.History[0].ID
	p.lease = chat.Lease{Chat: id, Number: c.Chat.Number, Worker: "w", Epoch: c.Chat.Epoch, Turn: 1}
	if status != chat.Waiting {
		must(p.send(ctx, s, chat.BusyQueue))
	}
	switch status {
	case chat.Waiting:
		_, err = s.Finish(ctx, p.lease, reply)
	case chat.Pending:
		_, err = s.Yield(ctx, p.lease)
	case chat.Parked:
		_, err = s.Fail(ctx, p.lease, failure)
	case chat.Running:
	}
	must(err)
	return p
}

func TestTwoTransactionsThatMeetOnAChatLeaveItSound(t *testing.T) {
	t.Parallel()
	s := open(t)
	for _, w := range []chat.WorkerID{"w", "x"} {
		if err := s.Register(t.Context(), chat.Worker{ID: w}); err != nil {
			t.Fatal(err)
		}
	}
	for _, status := range chat.Statuses() {
		for first := range (&player{}).moves() {
			for second := range (&player{}).moves() {
				meet(t, s, status, first, second)
			}
		}
	}
}

// meet makes two moves: the first one's transaction is open until the second one waits for it, or is done without.
func meet(t *testing.T, s *testStore, status chat.Status, first, second chat.Transition) {
	t.Helper()
	what := fmt.Sprintf("%s, then %s, of a chat that is %s", string(first), string(second), status)
	p := place(t, s.Store, "chat", status)
	within, tx, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sound(t, what, p.moves()[first](t.Context(), within))
	done := make(chan error, 1)
	go func() { done <- p.moves()[second](t.Context(), s.Store) }()
	finished, outcome := awaitBlocked(t, s, tx.Conn().PgConn().PID(), done)
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if !finished {
		outcome = <-done
	}
	sound(t, what, outcome)
	s.check(t, what, p)
	if _, err := s.Delete(t.Context(), "chat"); err != nil && !p.deleted.Load() {
		t.Errorf("%s: %v", what, err)
	}
}

// sound fails on what is no refusal.
func sound(t *testing.T, what string, err error) {
	t.Helper()
	var refusal *chat.Error
	for _, allowed := range []error{chat.ErrFenced, chat.ErrInterrupted, chat.ErrNothingToDo} {
		if errors.Is(err, allowed) {
			return
		}
	}
	if err != nil && !errors.As(err, &refusal) {
		t.Errorf("%s: %v", what, err)
	}
}

// awaitBlocked returns when somebody waits for the transaction of pid, or the move that could wait is done.
func awaitBlocked(t *testing.T, s *testStore, pid uint32, done <-chan error) (finished bool, outcome error) {
	t.Helper()
	for {
		select {
		case err := <-done:
			return true, err
		case <-t.Context().Done():
			t.Fatal("nobody waits and nobody is done")
		default:
		}
		var blocked bool
		err := s.pool.QueryRow(t.Context(), `select exists (select from pg_stat_activity a
			where a.wait_event_type = 'Lock' and $1 = any(pg_blocking_pids(a.pid)))`, int32(pid)).Scan(&blocked)
		if err != nil {
			t.Fatal(err)
		}
		if blocked {
			return false, nil
		}
	}
}

// check expects the invariants, and every accepted message exactly once, unless the history was cut before it.
func (s *testStore) check(t *testing.T, what string, p *player) {
	t.Helper()
	rows, err := s.Rows(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := chattest.CheckInvariants(rows); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	if p.deleted.Load() {
		return
	}
	c, ok := rows.Chat(p.lease.Chat)
	if !ok {
		t.Errorf("%s: the chat is gone", what)
		return
	}
	times := map[string]int{}
	for _, m := range append(rows.History(c.Chat.Number), rows.Waiting(c.Chat.Number)...) {
		times[m.ClientID]++
	}
	for id := range p.accepted {
		cut := p.truncated.Load() && id != "client-1" && times[id] == 0
		if times[id] != 1 && !cut {
			t.Errorf("%s: message %s was accepted and is there %d times", what, id, times[id])
		}
	}
}

// A replica that was declared lost gives a chat back just when a sweep is at it, and another one claims it before the sweep locks it. The sweep goes by what it
// locks: the chat has a live owner.
func TestASweepLeavesAChatThatHasJustFoundAnOwner(t *testing.T) {
	t.Parallel()
	s := open(t)
	for _, w := range []chat.WorkerID{"w", "x"} {
		if err := s.Register(t.Context(), chat.Worker{ID: w}); err != nil {
			t.Fatal(err)
		}
	}
	place(t, s.Store, "first", chat.Running)
	p := place(t, s.Store, "second", chat.Running)
	// Rows are locked and changed one by one, so a sweep that is held up at the first one has seen the second, and not locked it.
	const gate = 4711
	s.exec(t, `create function wait_at_the_gate() returns trigger language plpgsql as $$ begin perform pg_advisory_xact_lock(4711); return new; end $$`)
	s.exec(t, `create trigger wait_at_the_gate before update on processor.chats for each row when (old.id = 'first') execute function wait_at_the_gate()`)
	s.exec(t, `update processor.workers set lost_at = now(), lost_cause = 'age' where id = 'w'`)
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `select pg_advisory_xact_lock($1)`, gate); err != nil {
		t.Fatal(err)
	}
	var swept chat.Report
	done := make(chan error, 1)
	go func() {
		var err error
		swept, err = s.Sweep(t.Context(), chat.Pass{SuspectAfter: time.Hour, RedispatchAfter: time.Second, Batch: 10})
		done <- err
	}()
	if finished, err := awaitBlocked(t, s, tx.Conn().PgConn().PID(), done); finished {
		t.Fatalf("the sweep did not come to the gate: %v", err)
	}
	if _, err := s.Yield(t.Context(), p.lease); err != nil {
		t.Fatal(err)
	}
	claimed, err := s.Claim(t.Context(), "second", "x", true, history)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(tx.Commit(t.Context()), <-done); err != nil {
		t.Fatal(err)
	}
	if len(swept.Recovered) != 1 || swept.Recovered[0].Chat.ID != "first" || swept.Recovered[0].Worker != "w" || swept.Recovered[0].Cause != chat.LostAge {
		t.Errorf("recovered %+v, want the first chat from w alone", swept.Recovered)
	}
	if now, err := s.Get(t.Context(), "second"); err != nil || now.Epoch != claimed.Chat.Epoch || now.Status != chat.Running {
		t.Errorf("the chat that x claimed in epoch %d: %+v, %v", claimed.Chat.Epoch, now, err)
	}
	s.check(t, "after the sweep", p)
}

func TestOfTwentyWorkersThatRaceForAChatOneClaimsIt(t *testing.T) {
	t.Parallel()
	s := open(t)
	if err := s.Register(t.Context(), chat.Worker{ID: "w"}); err != nil {
		t.Fatal(err)
	}
	p := place(t, s.Store, "chat", chat.Waiting)
	for round := range 5 {
		if err := p.send(t.Context(), s.Store, chat.BusyQueue); err != nil {
			t.Fatal(err)
		}
		winner := race(t, s.Store, round)
		if _, err := s.Finish(t.Context(), winner, reply); err != nil {
			t.Fatal(err)
		}
	}
	s.check(t, "after the races", p)
}

func race(t *testing.T, s *store.Store, round int) (winner chat.Lease) {
	t.Helper()
	const many = 20
	leases := make(chan chat.Lease, many)
	var wg sync.WaitGroup
	for i := range many {
		worker := chat.WorkerID(fmt.Sprint("worker-", round, "-", i))
		if err := s.Register(t.Context(), chat.Worker{ID: worker}); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			c, err := s.Claim(t.Context(), "chat", worker, false, history)
			switch {
			case err == nil:
				leases <- chat.Lease{Chat: "chat", Number: c.Chat.Number, Worker: worker, Epoch: c.Chat.Epoch, Turn: c.Chat.Turn}
			case !errors.Is(err, chat.ErrNothingToDo):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(leases) != 1 {
		t.Fatalf("%d of %d workers claimed the chat", len(leases), many)
	}
	return <-leases
}

func TestAClientIDThatIsSentManyTimesAtOnceIsOneMessage(t *testing.T) {
	t.Parallel()
	s := open(t)
	if err := s.Register(t.Context(), chat.Worker{ID: "w"}); err != nil {
		t.Fatal(err)
	}
	for i, status := range chat.Statuses() {
		id := chat.ID(fmt.Sprint("chat-", i))
		p := place(t, s.Store, id, status)
		var fresh atomic.Int64
		var wg sync.WaitGroup
		for i := range 20 {
			busy := []chat.Busy{chat.BusyQueue, chat.BusyInterrupt}[i%2]
			wg.Go(func() {
				sent, err := s.Send(t.Context(), chat.NewMessage{Chat: id, Parts: question, ClientID: "same", Busy: busy}, nil)
				if err != nil {
					t.Error(err)
				}
				if !sent.Duplicate {
					fresh.Add(1)
				}
			})
		}
		wg.Wait()
		if fresh.Load() != 1 {
			t.Errorf("%s: %d of 20 sends were the first", status, fresh.Load())
		}
		p.accepted["same"] = true
		s.check(t, string(status), p)
	}
}
