package main

import (
	"context"
	"fmt"

	"processor/internal/bus"
	"processor/internal/chat"
)

// RmCmd removes chats.
type RmCmd struct {
	IDs []chat.ID `arg:"" name:"id" help:"The chats. One that is busy is removed as well: its replica stops."`

	OutputFlags
	NATSFlags `group:"NATS"`
}

// Run removes them one after another, and goes on after one that is not there.
func (c *RmCmd) Run(ctx context.Context, std *Streams) error {
	b, err := c.connect(ctx, "rm")
	if err != nil {
		return err
	}
	defer b.Close()
	var failed error
	for _, id := range c.IDs {
		if err := remove(ctx, b, id); err != nil {
			std.fail(err)
			failed = errSaid
			continue
		}
		if err := c.say(std, id); err != nil {
			return err
		}
	}
	return failed
}

func (c *RmCmd) say(std *Streams, id chat.ID) error {
	if c.JSON {
		return printJSON(std.Out, map[string]chat.ID{"removed": id})
	}
	_, err := fmt.Fprintln(std.Out, "removed", id)
	return err
}

func remove(ctx context.Context, b *bus.Bus, id chat.ID) error {
	_, err := ask[chat.DeleteReply](ctx, b, "chats.delete", chat.ChatRequest{Chat: id})
	return err
}
