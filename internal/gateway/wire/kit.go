// Package wire has what every protocol of the gateway needs: bounded bodies that don't arrive for ever, errors that tell callers what to do and
// nothing else, and server-sent events whose slow readers are dropped.
//
// Who asks travels in the request's context: the gateway's authentication puts the tenant there with chat.WithTenant, and service and store act on
// it. A handler has nothing to do for it but to pass the request's context on; whoever detaches from it says context.WithoutCancel, never
// context.Background.
//
// A disconnect never cancels a turn: a stream is only ever a reader.
package wire

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Kit is what handlers share. Its methods may be called from any goroutine.
type Kit struct {
	config Config
	// arriving is the memory that long bodies take which are not here yet.
	arriving atomic.Int64

	mu      sync.Mutex
	clients map[string]int // their open streams
}

// Config has a kit's settings; the zero value is usable.
type Config struct {
	Logger *slog.Logger
	// Drain ends when this process is about to: streams then end cleanly within DrainSpread, so that their clients come back elsewhere.
	// Nil means never.
	Drain context.Context
	// DrainSpread is the time over which streams end (1.5 s), so that not all clients come back at once.
	DrainSpread time.Duration
	// Ping is the longest silence of a stream (15 s), after which a comment shows both ends that the other is there.
	Ping time.Duration
	// WriteTimeout is how long one write to a client may take (10 s). A reader slower than that is dropped.
	WriteTimeout time.Duration
	// BodyTimeout is how long a request's body may take to arrive (30 s).
	BodyTimeout time.Duration
	// BodyMemory is how many bytes bodies may take together while they arrive, short ones apart (256 MiB).
	BodyMemory int64
	// StreamsPerClient bounds the open streams of one client (1000).
	StreamsPerClient int
	// Opened and Closed are told of every stream; may be nil.
	Opened func()
	Closed func(End)
}

// New makes a kit.
func New(config Config) *Kit {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Drain == nil {
		config.Drain = context.Background()
	}
	for _, d := range []struct {
		field   *time.Duration
		usually time.Duration
	}{
		{&config.DrainSpread, 1500 * time.Millisecond}, {&config.Ping, 15 * time.Second},
		{&config.WriteTimeout, 10 * time.Second}, {&config.BodyTimeout, 30 * time.Second},
	} {
		if *d.field == 0 {
			*d.field = d.usually
		}
	}
	if config.BodyMemory == 0 {
		config.BodyMemory = 256 << 20
	}
	if config.StreamsPerClient == 0 {
		config.StreamsPerClient = 1000
	}
	return &Kit{config: config, clients: map[string]int{}}
}

// BodyTimeout is how long a request's body may take to arrive.
func (k *Kit) BodyTimeout() time.Duration { return k.config.BodyTimeout }
