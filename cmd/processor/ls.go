package main

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"time"

	"processor/internal/bus"
	"processor/internal/chat"
)

// LsCmd lists chats.
type LsCmd struct {
	Status chat.Status `name:"status" placeholder:"STATUS" help:"Only chats that are waiting, pending, running or error."`
	Tenant string      `name:"tenant" placeholder:"TENANT" help:"Only chats of this tenant."`
	Limit  int         `name:"limit" default:"50" placeholder:"N" help:"How many chats at most, newest first; 0 for all."`

	OutputFlags
	NATSFlags `group:"NATS"`
}

// Validate is called by the command line's parser.
func (c *LsCmd) Validate() error {
	if c.Limit < 0 {
		return fmt.Errorf("--limit must not be negative, is %d", c.Limit)
	}
	return nil
}

// pageLimit is the most that the API lists at once.
const pageLimit = 200

// Run lists.
func (c *LsCmd) Run(ctx context.Context, std *Streams) error {
	b, err := c.connect(ctx, "ls")
	if err != nil {
		return err
	}
	defer b.Close()
	chats, more, err := c.chats(ctx, b)
	if err != nil {
		return err
	}
	heads := []string{"ID", "STATUS", "TURN", "QUEUED", "MODEL", "CHANGED", "TITLE"}
	now := time.Now()
	if err := list(std.Out, c.OutputFlags, chats, heads, func(c chat.Chat) []string { return chatRow(c, now) }); err != nil {
		return err
	}
	if more {
		std.note("there are more: --limit says how many are listed, 0 lists all")
	}
	return nil
}

// chats follows the pages until there are enough, and says whether more exist.
func (c *LsCmd) chats(ctx context.Context, b *bus.Bus) (all []chat.Chat, more bool, err error) {
	r := chat.ListRequest{Status: c.Status, Tenant: c.Tenant}
	for {
		r.Limit = pageLimit
		if c.Limit > 0 {
			r.Limit = min(pageLimit, c.Limit-len(all))
		}
		page, err := ask[chat.ListReply](ctx, b, "chats.list", r)
		if err != nil {
			return nil, false, err
		}
		all = append(all, page.Chats...)
		if page.Next == "" || c.Limit > 0 && len(all) >= c.Limit {
			return all, page.Next != "", nil
		}
		r.Cursor = page.Next
	}
}

func chatRow(c chat.Chat, now time.Time) []string {
	return []string{
		string(c.ID), statusOf(c), strconv.Itoa(c.Turn), strconv.Itoa(c.Queued), cmp.Or(oneLine(c.Model, 40), "-"),
		age(c.UpdatedAt, now), cmp.Or(oneLine(c.Title, 60), "-"),
	}
}

// statusOf is a status with what a person asks next: by whom, or why.
func statusOf(c chat.Chat) string {
	switch {
	case c.Status == chat.Parked && c.LastError != nil:
		return "error (" + c.LastError.Code + ")"
	case c.InterruptRequested():
		return string(c.Status) + " (stopping)"
	case c.Attempts > 0 && c.Status != chat.Waiting:
		return string(c.Status) + " (attempt " + strconv.Itoa(c.Attempts+1) + ")"
	default:
		return string(c.Status)
	}
}
