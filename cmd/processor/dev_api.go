package main

import (
	"cmp"
	"context"
	"fmt"
	"os"

	"processor/internal/bus"
	"processor/internal/chat"
	"processor/internal/chat/llm"
	"processor/internal/store"
)

// openAPI makes what dev serves by itself, on connections of its own: it outlives a killed replica, and so do the streams of its clients.
func (c *DevCmd) openAPI(ctx context.Context, d *dev) (closeAll func(), err error) {
	timing, err := c.Timing()
	if err != nil {
		return nil, err
	}
	st, err := store.Open(ctx, store.Config{URL: d.database, Pool: c.DatabasePool, Timing: timing, Name: "processor dev", Logger: d.logger})
	if err != nil {
		return nil, err
	}
	b, err := bus.Connect(ctx, bus.Config{
		URL: d.natsURL, Name: "processor dev", Logger: d.logger,
		Pending: true, AckWait: timing.AckWait, Replicas: c.StreamReplicas, PartialsMaxBytes: int64(c.PartialsMaxBytes),
	})
	if err != nil {
		st.Close()
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	models := llm.New(c.Config(os.Getenv), d.logger)
	defer models.Close() // only asked for its default
	g, err := httpService{
		flags: c.HTTPFlags, local: isLoopback(d.http), bus: b, timing: timing, drain: d.draining, ready: d.ready, registry: newDevRegistry(), logger: d.logger,
		service: chat.NewService(st, b, chat.ServiceConfig{DefaultModel: cmp.Or(c.Model, models.Default()), Logger: d.logger}),
	}.handler()
	if err != nil {
		b.Close()
		st.Close()
		return nil, err
	}
	d.handler = g
	return func() { b.Close(); st.Close() }, nil
}
