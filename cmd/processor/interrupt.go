package main

import (
	"context"
	"fmt"

	"processor/internal/chat"
)

// InterruptCmd stops the turn of a chat.
type InterruptCmd struct {
	ID   chat.ID `arg:"" help:"The chat."`
	Turn int     `name:"turn" placeholder:"N" help:"Only if this is the current turn."`

	OutputFlags
	NATSFlags `group:"NATS"`
}

// Run asks the turn to stop.
func (c *InterruptCmd) Run(ctx context.Context, std *Streams) error {
	return c.act(ctx, std, c.OutputFlags, c.ID, "chats.interrupt", chat.InterruptRequest{Chat: c.ID, Turn: c.Turn}, interrupted)
}

func interrupted(before, after chat.Chat) string {
	switch {
	case after.Status == chat.Running && after.InterruptRequested():
		return fmt.Sprintf("turn %d was asked to stop", after.Turn)
	case after.Version == before.Version:
		return fmt.Sprintf("nothing to stop: the chat is %s, turn %d", after.Status, after.Turn)
	default:
		return fmt.Sprintf("turn %d was stopped; the chat is %s", before.Turn, after.Status)
	}
}

// act asks for a change of one chat, and says what it did by comparing.
func (f NATSFlags) act(ctx context.Context, std *Streams, o OutputFlags, id chat.ID, subject string, request any, say func(before, after chat.Chat) string) error {
	b, err := f.connect(ctx, subject)
	if err != nil {
		return err
	}
	defer b.Close()
	before, err := ask[chat.ChatReply](ctx, b, "chats.get", chat.ChatRequest{Chat: id})
	if err != nil {
		return err
	}
	after, err := ask[chat.ChatReply](ctx, b, subject, request)
	if err != nil {
		return err
	}
	if o.JSON {
		return printJSON(std.Out, after.Chat)
	}
	_, err = fmt.Fprintln(std.Out, say(before.Chat, after.Chat))
	return err
}
