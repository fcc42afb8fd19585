package main

import (
	"context"

	"processor/internal/bus"
	"processor/internal/chat"
)

// feed is what a client outside of a replica watches chats through: events from the bus, snapshots from the API.
type feed struct{ *bus.Bus }

var _ chat.Feed = feed{}

// Snapshot implements chat.Feed.
func (f feed) Snapshot(ctx context.Context, r chat.MessagesRequest) (chat.Snapshot, error) {
	var s chat.Snapshot
	err := f.Call(ctx, "chats.snapshot", r, &s)
	return s, err
}
