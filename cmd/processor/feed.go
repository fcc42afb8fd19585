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
	return ask[chat.Snapshot](ctx, f.Bus, "chats.snapshot", r)
}

// watcher is one for people: what it lives through is told as a note.
func watcher(b *bus.Bus, std *Streams) chat.Watcher {
	return chat.Watcher{Feed: feed{b}, Compare: chat.DefaultTiming().Compare, Trouble: func(err error) { std.note("%v, trying on…", err) }}
}
