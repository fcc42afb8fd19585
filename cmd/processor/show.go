package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"processor/internal/bus"
	"processor/internal/chat"
)

// ShowCmd prints a chat.
type ShowCmd struct {
	ID   chat.ID `arg:"" help:"The chat."`
	JSON bool    `name:"json" help:"Print the chat and its messages as one JSON object."`

	NATSFlags `group:"NATS"`
}

// Run prints it.
func (c *ShowCmd) Run(ctx context.Context, std *Streams) error {
	b, err := c.connect(ctx, "show")
	if err != nil {
		return err
	}
	defer b.Close()
	s, err := readChat(ctx, b, c.ID)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(std.Out, s)
	}
	var page strings.Builder
	showChat(&page, s, time.Local)
	_, err = io.WriteString(std.text(), page.String())
	return err
}

// readChat reads all pages. The row is that of the last one.
func readChat(ctx context.Context, b *bus.Bus, id chat.ID) (chat.Snapshot, error) {
	all := chat.Snapshot{Messages: []chat.Message{}}
	for after := int64(0); ; {
		s, err := feed{b}.Snapshot(ctx, chat.MessagesRequest{Chat: id, After: after, Limit: pageLimit})
		if err != nil {
			return all, err
		}
		all.Chat, all.Partial = s.Chat, s.Partial
		all.Messages = append(all.Messages, s.Messages...)
		if s.Next == 0 {
			return all, nil
		}
		after = s.Next
	}
}

func showChat(w io.Writer, s chat.Snapshot, zone *time.Location) {
	c := s.Chat
	facts := []string{string(c.ID), statusOf(c), cmp.Or(c.Model, "no model"), "since " + c.CreatedAt.In(zone).Format(time.DateTime)}
	if c.Title != "" {
		facts = append(facts, oneLine(c.Title, chat.MaxTitle))
	}
	if c.Worker != nil {
		facts = append(facts, "on "+string(*c.Worker))
	}
	fmt.Fprintln(w, strings.Join(facts, " · "))
	if c.System != "" {
		section(w, "system", c.System)
	}
	for _, m := range s.Messages {
		section(w, heading(m, zone), textOf(m.Parts))
	}
	if s.Partial != nil {
		section(w, "assistant, so far", textOf(s.Partial.Parts))
	}
	if c.Status == chat.Parked && c.LastError != nil {
		section(w, "failed", c.LastError.Code+": "+c.LastError.Message+"\nTry again with: processor retry "+string(c.ID))
	}
	if c.Queued > 0 {
		section(w, fmt.Sprintf("%d in the queue", c.Queued), "")
	}
}

func section(w io.Writer, head, text string) {
	fmt.Fprintf(w, "\n── %s\n", head)
	if text != "" {
		fmt.Fprintln(w, strings.TrimSuffix(text, "\n"))
	}
}

// heading says which message it is, who speaks, when, and how the turn ended.
func heading(m chat.Message, zone *time.Location) string {
	facts := []string{string(m.Role), m.CreatedAt.In(zone).Format(time.TimeOnly)}
	if m.ID != nil {
		facts = slices.Insert(facts, 0, strconv.FormatInt(*m.ID, 10))
	}
	if m.Model != "" {
		facts = append(facts, oneLine(m.Model, 60))
	}
	if m.Usage != nil {
		facts = append(facts, fmt.Sprintf("%d in, %d out", m.Usage.InputTokens, m.Usage.OutputTokens))
	}
	if m.Finish != "" && m.Finish != chat.Stop {
		facts = append(facts, string(m.Finish))
	}
	return strings.Join(facts, " · ")
}

// textOf is what a message says, tools included.
func textOf(parts []chat.Part) string {
	var lines []string
	for _, p := range parts {
		switch p.Type {
		case chat.ToolCallPart:
			lines = append(lines, fmt.Sprintf("calls %s %s", p.Name, p.Input))
		case chat.ToolResultPart:
			lines = append(lines, fmt.Sprintf("%s gave: %s", cmp.Or(p.Name, p.CallID), p.Text))
		case chat.ReasoningPart:
			lines = append(lines, "(reasoning) "+p.Text)
		case chat.TextPart:
			lines = append(lines, p.Text)
		}
	}
	return strings.Join(lines, "\n")
}
