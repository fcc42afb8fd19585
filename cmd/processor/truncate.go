package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"processor/internal/chat"
)

// TruncateCmd edits what somebody said, or has it answered again.
type TruncateCmd struct {
	ID      chat.ID  `arg:"" help:"The chat."`
	Message int64    `arg:"" help:"The number of a user's message, as show has it."`
	Text    []string `arg:"" optional:"" help:"What the message says from now on; what it said unless given."`

	Model     string `name:"model" placeholder:"PROVIDER/MODEL" help:"Answers this message; the chat's own unless given."`
	IfVersion int64  `name:"if-version" placeholder:"N" help:"Only if this is the chat's version still, as ls --json has it."`

	OutputFlags
	NATSFlags `group:"NATS"`
}

// Help says more than a line per flag can.
func (c *TruncateCmd) Help() string {
	return "Removes the message and all that was said after it, whatever the chat does at the moment, and sends it again under another number: " +
		"with the text that is given, or as it was, for another answer. What waits in the chat's queue stays there. What was removed is gone. " +
		"Follow the answer with watch. With --json it prints one object with the chat and the message."
}

// Run cuts the history, and says what became of the message.
func (c *TruncateCmd) Run(ctx context.Context, std *Streams) error {
	r := chat.TruncateRequest{Chat: c.ID, Message: c.Message, Model: c.Model, Version: c.IfVersion}
	if len(c.Text) > 0 {
		text := strings.Join(c.Text, " ")
		if err := checkText(text); err != nil {
			return err
		}
		r.Text = &text
	}
	b, err := c.connect(ctx, "truncate")
	if err != nil {
		return err
	}
	defer b.Close()
	reply, err := ask[chat.TruncateReply](ctx, b, "chats.truncate", r)
	var refusal *chat.Error
	switch {
	case errors.As(err, &refusal) && refusal.Field == "message":
		return fmt.Errorf("%s: see the numbers with `processor show %s`", refusal.Message, c.ID)
	case err != nil:
		return err
	case c.JSON:
		return printJSON(std.Out, reply)
	}
	_, err = fmt.Fprintf(std.Out, "the messages from %d on were removed; what was %d is %d now, and turn %d answers it\n", c.Message, c.Message, *reply.Message.ID, reply.Message.Turn)
	return err
}
