package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"processor/internal/bus"
	"processor/internal/chat"
)

// WatchCmd follows what happens.
type WatchCmd struct {
	ID    chat.ID `arg:"" optional:"" help:"The chat, from its first message on; the live events of all chats unless given."`
	After int64   `name:"after" placeholder:"N" help:"Begin after the message with this number."`

	OutputFlags
	NATSFlags `group:"NATS"`
}

// Run follows until Ctrl-C, or until the chat is removed.
func (c *WatchCmd) Run(ctx context.Context, std *Streams) error {
	b, err := c.connect(ctx, "watch")
	if err != nil {
		return err
	}
	defer b.Close()
	if c.ID == "" {
		return c.all(ctx, b, std)
	}
	emit := (&viewer{print: printer{w: std.text()}, zone: time.Local}).take
	if c.JSON {
		emit = func(e chat.Event) error { return printJSON(std.Out, e) }
	}
	return watcher(b, std).Watch(ctx, c.ID, c.After, emit)
}

// all follows the live events of all chats. They are no transcript: what happens while the connection is down is not seen.
func (c *WatchCmd) all(ctx context.Context, b *bus.Bus, std *Streams) error {
	std.note("watching all chats…")
	for {
		events, stop, err := b.SubscribeAll(ctx)
		switch {
		case errors.Is(err, bus.ErrDisconnected):
			if !pause(ctx, time.Second) {
				return context.Cause(ctx)
			}
			continue
		case err != nil:
			return err
		}
		for e := range events {
			if err := c.one(std, e); err != nil {
				stop()
				return err
			}
		}
		stop()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		std.warn("some events were missed: the connection was lost, or this reader is too slow")
	}
}

func (c *WatchCmd) one(std *Streams, e chat.Event) error {
	if c.JSON {
		return printJSON(std.Out, e)
	}
	_, err := fmt.Fprintln(std.Out, eventLine(e, time.Local))
	return err
}

// eventLine is an event of any chat in one line.
func eventLine(e chat.Event, zone *time.Location) string {
	facts := []string{e.At.In(zone).Format("15:04:05.000"), string(e.Chat), string(e.Type)}
	switch {
	case e.Delta != nil:
		facts = append(facts, fmt.Sprintf("%q", oneLine(e.Delta.Text, 60)))
	case e.Message != nil:
		facts = append(facts, string(e.Message.Role), string(e.Message.Finish), fmt.Sprintf("%q", oneLine(e.Message.Text(), 60)))
	case e.Retry != nil:
		facts = append(facts, fmt.Sprintf("attempt %d, %s", e.Retry.Attempt, e.Retry.Error))
	case e.Type == chat.StatusEvent:
		facts = append(facts, statusChange(e))
	}
	return strings.Join(strings.Fields(strings.Join(facts, " ")), " ")
}

func statusChange(e chat.Event) string {
	line := string(e.Status)
	if e.Worker != nil {
		line += " on " + string(*e.Worker)
	}
	if e.Reason != "" {
		line += " (" + oneLine(e.Reason, 40) + ")"
	}
	return line
}

// viewer shows one chat as people read it: its messages, and the answer as it comes.
type viewer struct {
	print    printer
	zone     *time.Location
	speaking bool // an answer has its heading
}

func (v *viewer) take(e chat.Event) error {
	switch e.Type {
	case chat.DeltaEvent:
		if e.Delta.Kind != chat.TextDelta {
			return nil
		}
		if err := v.speak(); err != nil {
			return err
		}
		return v.print.delta(e.Delta.Text)
	case chat.VoidEvent:
		v.print.void()
		return v.line("the answer so far is void")
	case chat.RetryEvent:
		return v.line(fmt.Sprintf("the model failed (%s), attempt %d at %s", e.Retry.Error, e.Retry.Attempt+1, e.Retry.At.In(v.zone).Format(time.TimeOnly)))
	case chat.MessageEvent:
		return v.message(*e.Message)
	case chat.StatusEvent:
		return v.line(statusChange(e))
	case chat.RemovedEvent:
		if e.RemovedFrom == e.MessageID {
			return v.line(fmt.Sprintf("message %d was removed", e.MessageID))
		}
		return v.line(fmt.Sprintf("the messages from %d to %d were removed", e.RemovedFrom, e.MessageID))
	case chat.DeletedEvent:
		return v.line("the chat was removed")
	}
	return nil
}

func (v *viewer) message(m chat.Message) error {
	if m.Role == chat.Assistant && v.speaking {
		v.speaking = false
		if err := v.print.commit(m.Text(), m.Finish); err != nil || m.Finish == "" {
			return err
		}
		return v.line(heading(m, v.zone))
	}
	if err := v.line(heading(m, v.zone)); err != nil {
		return err
	}
	if err := v.print.write(textOf(m.Parts)); err != nil {
		return err
	}
	v.print.shown = nil
	return v.print.newline()
}

// speak puts a heading above an answer that begins.
func (v *viewer) speak() error {
	if v.speaking {
		return nil
	}
	v.speaking = true
	return v.line("assistant")
}

// line says what happens, on a line of its own.
func (v *viewer) line(what string) error {
	if err := v.print.newline(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(v.print.w, "── %s\n", what)
	return err
}
