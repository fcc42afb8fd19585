package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"processor/internal/bus"
	"processor/internal/chat"
)

const (
	// connectTimeout is how long a command waits for NATS before it says that nobody is there.
	connectTimeout = 3 * time.Second
	// callAttempts is how often a request is made that met a replica on its way out. All requests may be repeated.
	callAttempts = 5
	callPause    = 200 * time.Millisecond
)

// Bus is how a process called name connects.
func (f NATSFlags) Bus(name string, logger *slog.Logger) bus.Config {
	return bus.Config{
		URL: f.NATSURL, Creds: f.NATSCreds, CA: f.NATSCA, Cert: f.NATSCert, Key: f.NATSKey,
		Name: "processor " + name, Logger: logger,
	}
}

// connect is for the commands of people: they want to know soon, and see no log.
func (f NATSFlags) connect(ctx context.Context, name string) (*bus.Bus, error) {
	return connect(ctx, f.Bus(name, slog.New(slog.DiscardHandler)))
}

func connect(ctx context.Context, config bus.Config) (*bus.Bus, error) {
	if err := config.Validate(); err != nil {
		return nil, usageError{err}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, connectTimeout, errors.New("nobody answers"))
	defer cancel()
	b, err := bus.Connect(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("%w: check --nats-url, or start everything on this machine with `processor dev`", err)
	}
	return b, nil
}

// ask makes one request to the API. A replica that goes away in a deploy refuses as unavailable; another one answers then.
func ask[Out any](ctx context.Context, b *bus.Bus, subject string, in any) (Out, error) {
	var out Out
	err := patiently(ctx, b, subject, in, &out)
	return out, err
}

// tell is ask without a look at the reply, but for its error.
func tell(ctx context.Context, b *bus.Bus, subject string, in any) error {
	return patiently(ctx, b, subject, in, nil)
}

func patiently(ctx context.Context, b *bus.Bus, subject string, in, out any) error {
	for attempt := 1; ; attempt++ {
		err := b.Call(ctx, subject, in, out)
		var refusal *chat.Error
		if err == nil || !errors.As(err, &refusal) || refusal.Code != chat.Unavailable || attempt == callAttempts {
			return err
		}
		if !pause(ctx, callPause) {
			return err
		}
	}
}

// isRefused reports whether the API refused with code.
func isRefused(err error, code chat.Code) bool {
	var refusal *chat.Error
	return errors.As(err, &refusal) && refusal.Code == code
}

// pause waits, and reports whether it could: false means that ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
