package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

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
