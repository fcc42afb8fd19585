package store_test

import (
	"fmt"
	"slices"
	"testing"

	"processor/internal/chat"
)

func TestALookFindsWhatWaitsForAnOwner(t *testing.T) {
	t.Parallel()
	s := open(t)
	if err := s.Register(t.Context(), chat.Worker{ID: "w"}); err != nil {
		t.Fatal(err)
	}
	var want []chat.ID
	for i := range 12 {
		id := chat.ID(fmt.Sprintf("pending-%02d", i))
		place(t, s.Store, id, chat.Pending)
		want = append(want, id)
	}
	for _, status := range []chat.Status{chat.Waiting, chat.Running, chat.Parked} {
		place(t, s.Store, chat.ID(status), status)
	}
	look := func(limit int) []chat.ID {
		t.Helper()
		found, err := s.Pending(t.Context(), limit)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(found)
		return found
	}
	if found := look(100); !slices.Equal(found, want) {
		t.Errorf("found %v, want %v", found, want)
	}
	// Of those that wait longest, which were placed first.
	if found := look(2); len(slices.Compact(found)) != 2 || found[1] >= "pending-08" {
		t.Errorf("found %v, want two of the first eight", found)
	}
}
