package store_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"processor/internal/chat"
	"processor/internal/store"
)

// flights records which chats flew together; a flight waits until the gate is opened for it.
type flights struct {
	mu   sync.Mutex
	all  [][]string
	gate chan error
}

func (f *flights) carry(_ context.Context, calls []*store.Call) error {
	var ids []string
	for _, c := range calls {
		ids = append(ids, string(c.Chat))
	}
	f.mu.Lock()
	f.all = append(f.all, ids)
	f.mu.Unlock()
	return <-f.gate
}

// left are the flights so far. A later one may leave at any moment.
func (f *flights) left() [][]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.all)
}

func TestALoneCallNeverWaitsForOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &flights{gate: make(chan error, 3)}
		g := store.NewGroup(f.carry)
		for i := range 3 {
			f.gate <- nil
			if err := g.Do(t.Context(), &store.Call{Chat: chat.ID(fmt.Sprint(i))}); err != nil {
				t.Error(err)
			}
		}
		if len(f.left()) != 3 {
			t.Errorf("flights %v, want three of one call each", f.left())
		}
	})
}

func TestCallsGatherWhileAnotherIsUnderWayOneOfEachChat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &flights{gate: make(chan error)}
		g := store.NewGroup(f.carry)
		var wg sync.WaitGroup
		for _, id := range []chat.ID{"first", "a", "b", "a", "c"} {
			wg.Go(func() {
				if err := g.Do(t.Context(), &store.Call{Chat: id}); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		for range 3 {
			f.gate <- nil
			synctest.Wait()
		}
		wg.Wait()
		if want := [][]string{{"first"}, {"a", "b", "c"}, {"a"}}; fmt.Sprint(f.left()) != fmt.Sprint(want) {
			t.Errorf("flights %v, want %v", f.left(), want)
		}
	})
}

func TestAFlightThatWasUndoneIsRepeatedCallByCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bad := &pgconn.PgError{Code: "22P05"}
		f := &flights{gate: make(chan error)}
		g := store.NewGroup(f.carry)
		var wg sync.WaitGroup
		var mu sync.Mutex
		outcomes := map[chat.ID]error{}
		for _, id := range []chat.ID{"first", "a", "b"} {
			wg.Go(func() {
				err := g.Do(t.Context(), &store.Call{Chat: id})
				mu.Lock()
				defer mu.Unlock()
				outcomes[id] = err
			})
			synctest.Wait()
		}
		for _, err := range []error{nil, bad, nil, bad} {
			f.gate <- err
			synctest.Wait()
		}
		wg.Wait()
		if outcomes["first"] != nil || outcomes["a"] != nil || !errors.Is(outcomes["b"], bad) {
			t.Errorf("outcomes %v, want only b to fail", outcomes)
		}
	})
}

func TestACallWhoseContextEndsLeavesTheOthersAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &flights{gate: make(chan error)}
		g := store.NewGroup(f.carry)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = g.Do(t.Context(), &store.Call{Chat: "first"}) })
		synctest.Wait()
		wg.Go(func() {
			if err := g.Do(ctx, &store.Call{Chat: "gone"}); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want that the context was cancelled", err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if err := g.Do(t.Context(), &store.Call{Chat: "stays"}); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		f.gate <- nil
		synctest.Wait()
		f.gate <- nil
		wg.Wait()
		if !slices.Equal(f.left()[1], []string{"stays"}) {
			t.Errorf("flights %v, want the call that stayed alone in the second", f.left())
		}
	})
}

func TestALeaderWhoseContextEndsStillCarriesTheOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		gate := make(chan struct{})
		g := store.NewGroup(func(ctx context.Context, _ []*store.Call) error {
			<-gate
			return ctx.Err()
		})
		var wg sync.WaitGroup
		wg.Go(func() { _ = g.Do(t.Context(), &store.Call{Chat: "first"}) })
		synctest.Wait()
		wg.Go(func() { _ = g.Do(ctx, &store.Call{Chat: "leader"}) })
		synctest.Wait()
		wg.Go(func() {
			if err := g.Do(t.Context(), &store.Call{Chat: "other"}); err != nil {
				t.Errorf("the other call failed: %v", err)
			}
		})
		synctest.Wait()
		gate <- struct{}{}
		synctest.Wait()
		cancel()
		synctest.Wait()
		gate <- struct{}{}
		wg.Wait()
	})
}

func TestLateCallsLeaveBesideAFlightThatIsHeldUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &flights{gate: make(chan error)}
		g := store.NewGroup(f.carry)
		g.SetFlights(2)
		var wg sync.WaitGroup
		call := func(id chat.ID) {
			wg.Go(func() {
				if err := g.Do(t.Context(), &store.Call{Chat: id}); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		for _, id := range []chat.ID{"a", "b", "c", "d", "e", "f"} { // a and b leave alone, as there is little to do
			call(id)
		}
		f.gate <- nil // c to f leave together
		synctest.Wait()
		f.gate <- nil // of a and b the other one, which nobody follows
		synctest.Wait()
		call("g") // waits, as a larger one is under way
		if len(f.left()) != 3 {
			t.Fatalf("flights %v, want three", f.left())
		}
		<-time.After(time.Second)
		synctest.Wait()
		if want := "[[a] [b] [c d e f] [g]]"; fmt.Sprint(f.left()) != want {
			t.Errorf("flights %v, want %v", f.left(), want)
		}
		f.gate <- nil
		f.gate <- nil
		wg.Wait()
	})
}

// TestAFinishThatGivesUpLooksAtNothingThatItsFlightWrites: a final write has a deadline of its own, and its flight may be held up by another
// chat's row for longer. The race detector sees who looks too late.
func TestAFinishThatGivesUpLooksAtNothingThatItsFlightWrites(t *testing.T) {
	t.Parallel()
	s := open(t)
	if err := s.Register(t.Context(), chat.Worker{ID: "w"}); err != nil {
		t.Fatal(err)
	}
	const alone, together = 2, 6 // two flights of one, and one of all that come meanwhile
	leases := make([]chat.Lease, alone+together)
	for i := range leases {
		leases[i] = running(t, s.Store, chat.ID(fmt.Sprint(i)))
	}
	held := []pgx.Tx{hold(t, s, leases[:alone]), hold(t, s, leases[alone:])}
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan struct{}, together)
	var wg sync.WaitGroup
	for i, l := range leases {
		switch {
		case i < alone:
			wg.Go(func() { _, _ = s.Finish(t.Context(), l, reply) })
			awaitWaiters(t, s, held[0], i+1)
		case i == alone: // it leads the others
			wg.Go(func() { _, _ = s.Finish(t.Context(), l, reply) })
			awaitGathered(t, s, 1)
		default:
			wg.Go(func() { _, _ = s.Finish(leaving{ctx, left}, l, reply) })
			awaitGathered(t, s, i-alone+1)
		}
	}
	if err := held[0].Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitWaiters(t, s, held[1], 1)
	cancel()
	for range together - 1 {
		<-left
	}
	if err := held[1].Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
}

// running is a chat that w runs, with nothing in its queue.
func running(t *testing.T, s *store.Store, id chat.ID) chat.Lease {
	t.Helper()
	if _, err := s.Create(t.Context(), chat.NewChat{ID: id, Message: &chat.NewMessage{Chat: id, Parts: question, ClientID: "m"}}); err != nil {
		t.Fatal(err)
	}
	c, err := s.Claim(t.Context(), id, "w", true, history)
	if err != nil {
		t.Fatal(err)
	}
	return chat.Lease{Chat: id, Number: c.Chat.Number, Worker: "w", Epoch: c.Chat.Epoch, Turn: 1}
}

// leaving is a context that says when its caller asks why it ended.
type leaving struct {
	context.Context
	left chan<- struct{}
}

func (c leaving) Value(key any) any {
	if c.Err() != nil {
		select {
		case c.left <- struct{}{}:
		default:
		}
	}
	return c.Context.Value(key)
}

func hold(t *testing.T, s *testStore, leases []chat.Lease) pgx.Tx {
	t.Helper()
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range leases {
		if _, err := tx.Exec(t.Context(), `select from processor.chats where number = $1 for update`, l.Number); err != nil {
			t.Fatal(err)
		}
	}
	return tx
}

// awaitWaiters returns when so many wait for a transaction.
func awaitWaiters(t *testing.T, s *testStore, tx pgx.Tx, n int) {
	t.Helper()
	for waiting := 0; waiting < n; {
		err := s.pool.QueryRow(t.Context(), `select count(*) from pg_stat_activity a
			where a.wait_event_type = 'Lock' and $1 = any(pg_blocking_pids(a.pid))`, int32(tx.Conn().PgConn().PID())).Scan(&waiting)
		if err != nil {
			t.Fatal(err)
		}
	}
}

func awaitGathered(t *testing.T, s *testStore, n int) {
	t.Helper()
	for s.Gathered() < n {
		if t.Context().Err() != nil {
			t.Fatal("nobody waits for a flight")
		}
		runtime.Gosched()
	}
}
