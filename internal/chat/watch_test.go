package chat_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"processor/internal/chat"
)

// burst is a feed that has some events at hand.
type burst struct {
	row    chat.Chat
	events chan chat.Event
}

func (b burst) Subscribe(context.Context, chat.ID) (<-chan chat.Event, func(), error) {
	return b.events, func() {}, nil
}

func (b burst) Snapshot(context.Context, chat.MessagesRequest) (chat.Snapshot, error) {
	return chat.Snapshot{Chat: b.row}, nil
}

func TestAWatcherRestsWhenNothingIsAtHand(t *testing.T) {
	t.Parallel()
	feed := burst{chat.Chat{ID: "a", Number: 1, Version: 1, Turn: 1, Epoch: 1, Status: chat.Running}, make(chan chat.Event, 3)}
	for seq := range int64(3) {
		feed.events <- chat.Event{Type: chat.DeltaEvent, Chat: "a", Number: 1, Turn: 1, Version: 1, Epoch: 1, Seq: seq + 1, Delta: &chat.Delta{Kind: chat.TextDelta, Text: "x"}}
	}
	enough := errors.New("enough")
	var log []string
	watcher := chat.Watcher{Feed: feed, Compare: time.Hour, Rest: func() error {
		log = append(log, "rest")
		if len(log) >= 7 {
			return enough
		}
		return nil
	}}
	err := watcher.Watch(t.Context(), "a", 0, func(e chat.Event) error { log = append(log, string(e.Type)); return nil })
	if !errors.Is(err, enough) {
		t.Errorf("the watch ended with %v", err)
	}
	// It rests before it subscribes, before it reads the row, and when the burst is over.
	if d := cmp.Diff([]string{"rest", "rest", "status", "delta", "delta", "delta", "rest"}, log); d != "" {
		t.Error(d)
	}
}

// A feed ends with its context, and may be the first of the two that the watcher sees.
func TestAWatchWhoseContextEndedSaysSo(t *testing.T) {
	t.Parallel()
	over := errors.New("over")
	for range 50 { // whichever of the two is seen first
		ctx, cancel := context.WithCancelCause(t.Context())
		feed := burst{chat.Chat{ID: "a", Number: 1, Version: 1, Status: chat.Waiting}, make(chan chat.Event)}
		err := chat.Watcher{Feed: feed, Compare: time.Hour}.Watch(ctx, "a", 0, func(chat.Event) error {
			cancel(over)
			close(feed.events)
			return nil
		})
		if !errors.Is(err, over) {
			t.Fatalf("the watch ended with %v, want what ended its context", err)
		}
	}
}
