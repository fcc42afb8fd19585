package bus_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"processor/internal/bus"
	"processor/internal/chat"
)

func stale(chats ...chat.ID) []chat.Stale {
	var out []chat.Stale
	for _, id := range chats {
		out = append(out, chat.Stale{Chat: id})
	}
	return out
}

func TestMissingFindsWhatTheStreamDoesNotHold(t *testing.T) {
	t.Parallel()
	k := setup(t)
	there, away := ids("there", 300), ids("away", 300)
	for i, id := range there {
		dispatch(t, k.bus, i%2 == 0, id)
	}
	missing, present, err := k.bus.Missing(t.Context(), append(stale(there...), stale(away...)...))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(stale(away...), missing) + cmp.Diff(stale(there...), present); d != "" {
		t.Error(d)
	}
	if m, p, err := k.bus.Missing(t.Context(), nil); m != nil || p != nil || err != nil {
		t.Errorf("of nothing: %v, %v, %v", m, p, err)
	}
}

// A chat that a replica has fetched and not claimed yet has a dispatch.
func TestADeliveredDispatchIsNotMissing(t *testing.T) {
	t.Parallel()
	k := setup(t)
	got := make(chan bus.Delivery, 1)
	deliver(t, k.bus, chat.NewSlots(1), func(_ context.Context, d bus.Delivery) { got <- d })
	dispatch(t, k.bus, false, "chat")
	d := receive(t, got)
	if missing, _, err := k.bus.Missing(t.Context(), stale("chat")); len(missing) != 0 || err != nil {
		t.Errorf("missing %v, %v", missing, err)
	}
	d.Ack()
	eventually(t, "it is missing", func() bool {
		missing, _, err := k.bus.Missing(t.Context(), stale("chat"))
		return len(missing) == 1 && err == nil
	})
}

func TestMissingWithoutAnAnswerIsAnError(t *testing.T) {
	t.Parallel()
	k := setup(t)
	if err := k.js.DeleteStream(t.Context(), bus.ChatsStream); err != nil {
		t.Fatal(err)
	}
	if m, p, err := k.bus.Missing(t.Context(), stale("chat")); err == nil {
		t.Errorf("without a stream: %v, %v", m, p)
	}
	k.server.Halt()
	if m, p, err := k.bus.Missing(t.Context(), stale("chat")); err == nil {
		t.Errorf("without a server: %v, %v", m, p)
	}
	if s, err := k.bus.Stream(t.Context()); err == nil {
		t.Errorf("identity without a server: %v", s)
	}
}

func TestAStreamMadeAgainHasAnotherIdentity(t *testing.T) {
	t.Parallel()
	k := setup(t)
	dispatch(t, k.bus, false, "chat")
	before, err := k.bus.Stream(t.Context())
	if err != nil || before.Empty {
		t.Fatalf("before: %v, %v", before, err)
	}
	if err := k.server.Wipe(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new stream is seen", func() bool {
		after, err := k.bus.Stream(t.Context())
		return err == nil && after.Empty && after.Created.After(before.Created)
	})
	if missing, _, err := k.bus.Missing(t.Context(), stale("chat")); len(missing) != 1 || err != nil {
		t.Errorf("missing %v, %v", missing, err)
	}
}
