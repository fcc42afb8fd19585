package bus_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"processor/internal/bus"
	"processor/internal/chat"
)

func TestDispatchMakesAMissingStream(t *testing.T) {
	t.Parallel()
	k := setup(t)
	if err := k.js.DeleteStream(t.Context(), bus.ChatsStream); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, id := range ids("chat", 50) {
		wg.Go(func() {
			if err := k.bus.Dispatch(t.Context(), id, false); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := k.pending(t); n != 50 {
		t.Errorf("the stream holds %d, want 50", n)
	}
}

func TestDispatchWhileTheServerIsAwaySaysSoAtOnce(t *testing.T) {
	t.Parallel()
	k := setup(t)
	k.server.Halt()
	eventually(t, "disconnected", func() bool { return !k.bus.Connected() })
	// Who waits for an answer gets a time-out.
	if err := k.bus.Dispatch(t.Context(), "chat", false); !errors.Is(err, bus.ErrDisconnected) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if !k.bus.ConnectedSince().IsZero() {
		t.Error("connected since some time, though it is not")
	}
}

// A ring while the connection is down is kept for its return.
func TestARingOutlivesAShortOutage(t *testing.T) {
	t.Parallel()
	k := setup(t)
	k.server.Halt()
	eventually(t, "disconnected", func() bool { return !k.bus.Connected() })
	k.bus.Ring("chat", true)
	if err := k.server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "reconnected", k.bus.Connected)
	eventually(t, "the ring arrived", func() bool { return k.pending(t) == 1 })
}

func TestPurgeRemovesAChatFromBothStreams(t *testing.T) {
	t.Parallel()
	k := setup(t)
	for _, id := range []chat.ID{"gone", "stays"} {
		dispatch(t, k.bus, false, id)
		dispatch(t, k.bus, true, id)
		k.bus.SavePartial(chat.Partial{Chat: id, Epoch: 7})
		eventually(t, "the partial is saved", func() bool {
			_, ok, err := k.bus.LastPartial(t.Context(), id)
			return ok && err == nil
		})
	}
	if err := k.bus.Purge(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	missing, present, err := k.bus.Missing(t.Context(), []chat.Stale{{Chat: "gone"}, {Chat: "stays"}})
	if err != nil || len(missing) != 1 || missing[0].Chat != "gone" || len(present) != 1 {
		t.Errorf("missing %v, present %v, %v", missing, present, err)
	}
	if _, ok, err := k.bus.LastPartial(t.Context(), "gone"); ok || err != nil {
		t.Errorf("the partial is still there, or %v", err)
	}
	if _, ok, err := k.bus.LastPartial(t.Context(), "stays"); !ok || err != nil {
		t.Errorf("the other partial is gone, or %v", err)
	}
	for _, stream := range []string{bus.ChatsStream, bus.PartialsStream} {
		if err := k.js.DeleteStream(t.Context(), stream); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.bus.Purge(t.Context(), "stays"); err != nil {
		t.Errorf("purge without streams: %v", err)
	}
}

// A stream is deleted only if dispatches went unanswered all the time, not because two of them did with hours between.
func TestTimeOutsFarApartAreNoBrokenStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s bus.Stuck
		late := fmt.Errorf("no ack: %w", context.DeadlineExceeded)
		for _, step := range []struct {
			after time.Duration
			err   error
			want  time.Duration
		}{
			{0, late, 0},
			{time.Hour, late, 0},
			{4 * time.Second, late, 4 * time.Second},
			{8 * time.Second, late, 12 * time.Second},
			{time.Second, nil, 0},
			{time.Second, late, 0},
			{time.Second, late, time.Second},
		} {
			<-time.After(step.after)
			if got := s.Since(step.err); got != step.want {
				t.Errorf("%s later, after %v: unanswered for %s, want %s", step.after, step.err, got, step.want)
			}
		}
	})
}
