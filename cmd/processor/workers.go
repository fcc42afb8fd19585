package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"processor/internal/chat"
)

// WorkersCmd lists the replicas.
type WorkersCmd struct {
	OutputFlags
	NATSFlags `group:"NATS"`
}

// Run lists.
func (c *WorkersCmd) Run(ctx context.Context, std *Streams) error {
	b, err := c.connect(ctx, "workers")
	if err != nil {
		return err
	}
	defer b.Close()
	reply, err := ask[chat.WorkersReply](ctx, b, "chats.workers", chat.WorkersRequest{})
	if err != nil {
		return err
	}
	heads := []string{"NAME", "STATUS", "RUNNING", "HOST", "PID", "BUILD", "UP", "HEARTBEAT", "ID"}
	now := time.Now()
	return list(std.Out, c.OutputFlags, reply.Workers, heads, func(w chat.Worker) []string { return workerRow(w, now) })
}

func workerRow(w chat.Worker, now time.Time) []string {
	status := string(w.Status)
	if w.Draining {
		status += " (draining)"
	}
	beat := (time.Duration(w.HeartbeatAge) * time.Millisecond).Round(100 * time.Millisecond)
	return []string{
		oneLine(w.Name, 40), status, fmt.Sprintf("%d/%d", w.Running, w.Slots), oneLine(w.Host, 40), strconv.Itoa(w.PID),
		oneLine(w.Build, 40), age(w.StartedAt, now), beat.String() + " ago", string(w.ID),
	}
}
