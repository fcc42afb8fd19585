package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"processor/internal/bus"
	"processor/internal/chat"
	"processor/internal/chat/llm"
	"processor/internal/store"
)

// Run runs one replica until it is told to stop.
func (c *RunCmd) Run(ctx context.Context, std *Streams) error {
	defer paceHeap()()
	defer outliveReaders()()
	logger := c.Logger(std.Err)
	timing, err := c.Timing()
	if err != nil {
		return err
	}
	worker, err := c.worker()
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)

	st, err := store.Open(ctx, store.Config{URL: c.DatabaseURL, Pool: c.DatabasePool, Timing: timing, Name: "processor " + worker.Name, Logger: logger})
	if err != nil {
		return err
	}
	defer st.Close()
	if err := awaitSchema(ctx, st, signals, logger); err != nil {
		return err
	}

	b, err := bus.Connect(ctx, bus.Config{
		URL: c.NATSURL, Creds: c.NATSCreds, CA: c.NATSCA, Cert: c.NATSCert, Key: c.NATSKey, Name: "processor " + worker.Name, Logger: logger,
		Pending: true, AckWait: timing.AckWait, Replicas: c.StreamReplicas, PartialsMaxBytes: int64(c.PartialsMaxBytes),
	})
	if err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	defer b.Close()

	models := llm.New(c.Config(os.Getenv), logger)
	defer models.Close()

	var ln net.Listener
	if c.HTTP != "" {
		if ln, err = listen(c.HTTP); err != nil {
			return err
		}
	}
	logger.Info("starting", "name", worker.Name, "build", worker.Build, "slots", worker.Slots, "timing", timing)
	return newReplica(st, b, settings{
		worker: worker, timing: timing, budget: c.Budget(), maxTokens: c.MaxTokens,
		defaultModel: cmp.Or(c.Model, models.Default()), models: c.wrapped(models),
		retain: c.Retain, http: ln, api: c.HTTPFlags, leashed: c.Leash, signals: signals, logger: logger,
	}).Run(ctx)
}

// awaitSchema waits for a database that is not there yet, and refuses a schema that this program can't run against.
func awaitSchema(ctx context.Context, st *store.Store, signals <-chan os.Signal, logger *slog.Logger) error {
	for {
		state, err := st.Check(ctx)
		if err == nil {
			return state.Err()
		}
		logger.Warn("waiting for the database", "err", err)
		select {
		case <-time.After(time.Second):
		case s := <-signals:
			return fmt.Errorf("%s while waiting for the database: %w", s, err)
		case <-ctx.Done():
			return err
		}
	}
}

// wrapped lets a test put something between the processor and its models.
func (c *RunCmd) wrapped(models chat.Models) chat.Models {
	if c.wrap == nil {
		return models
	}
	return c.wrap(models)
}
