package main

import (
	"context"
	"fmt"

	"processor/internal/chat"
)

// RetryCmd opens the failed turn of a chat again.
type RetryCmd struct {
	ID chat.ID `arg:"" help:"The chat."`

	OutputFlags
	NATSFlags `group:"NATS"`
}

// Run opens the turn.
func (c *RetryCmd) Run(ctx context.Context, std *Streams) error {
	return c.act(ctx, std, c.OutputFlags, c.ID, "chats.retry", chat.ChatRequest{Chat: c.ID}, retried)
}

func retried(before, after chat.Chat) string {
	if before.Status != chat.Parked {
		return fmt.Sprintf("nothing to try again: the chat is %s", after.Status)
	}
	return fmt.Sprintf("turn %d is tried again", after.Turn)
}
