package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"processor/internal/chat"
)

// How a connection is kept. A frozen server is noticed after pingEvery*3 at the latest, and by a write after writeTimeout.
const (
	reconnectWait   = 250 * time.Millisecond
	reconnectJitter = 100 * time.Millisecond
	dialTimeout     = 2 * time.Second
	writeTimeout    = time.Second
	pingEvery       = 5 * time.Second
	// quietFor is the least time between two warnings about a server that can't be reached.
	quietFor = 5 * time.Second
	// requestTimeout bounds every request to the server that has no bound of its own.
	requestTimeout = 2 * time.Second
	closeTimeout   = 500 * time.Millisecond
)

// Config says where NATS is and how the streams are made. Zero values are the defaults.
type Config struct {
	// URL is one address or several, separated by commas. It may hold a user and a password; they are never logged.
	URL string
	// Creds is a credentials file; CA, Cert and Key are PEM files for TLS.
	Creds, CA, Cert, Key string
	// Name is what the server calls this connection.
	Name   string
	Logger *slog.Logger
	// Pending makes Connect return at once when the server can't be reached; the connection is then made in the background.
	Pending bool

	// AckWait is the time from a delivery to its ack. Default: that of chat.DefaultTiming.
	AckWait time.Duration
	// Replicas is how many servers hold each stream (1).
	Replicas int
	// PartialsMaxBytes bounds the stream of partials (1 GiB).
	PartialsMaxBytes int64
}

// Validate refuses settings that can't work, and files that can't be read.
func (c Config) Validate() error {
	var errs []error
	if c.URL == "" {
		errs = append(errs, errors.New("nats-url is empty"))
	}
	if (c.Cert == "") != (c.Key == "") {
		errs = append(errs, errors.New("nats-cert and nats-key must be given together"))
	}
	if c.AckWait < 0 || c.Replicas < 0 || c.Replicas > 5 || c.PartialsMaxBytes < 0 {
		errs = append(errs, errors.New("ack-wait and partials-max-bytes must not be negative, stream-replicas must be 1 to 5"))
	}
	for _, path := range []string{c.Creds, c.CA, c.Cert, c.Key} {
		if path == "" {
			continue
		}
		if _, err := os.ReadFile(path); err != nil {
			errs = append(errs, fmt.Errorf("file for NATS: %w", err))
		}
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	c.AckWait = cmp.Or(c.AckWait, chat.DefaultTiming().AckWait)
	c.Replicas = cmp.Or(c.Replicas, 1)
	c.PartialsMaxBytes = cmp.Or(c.PartialsMaxBytes, 1<<30)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Bus is one replica's connection to NATS. Its methods may be called from any goroutine.
type Bus struct {
	config  Config
	logger  *slog.Logger
	nc      *nats.Conn
	js      jetstream.JetStream
	link    *link
	closed  chan struct{}
	counts  counters
	feeds   feeds
	stuck   stuck
	buffers sync.Pool

	ensuring sync.Mutex
	ensured  time.Time // when the last Ensure that succeeded began
}

var (
	_ chat.Doorbell  = (*Bus)(nil)
	_ chat.Announcer = (*Bus)(nil)
	_ chat.Partials  = (*Bus)(nil)
)

// Connect connects, and keeps connecting for ever when it is refused or cut off. It returns when the server answered, when
// ctx ends, or when the server refuses the credentials; with Config.Pending it does not wait. The caller calls Close.
func Connect(ctx context.Context, config Config) (*Bus, error) {
	if err := config.Validate(); err != nil {
		return nil, scrub(config.URL, err)
	}
	config = config.withDefaults()
	b := &Bus{config: config, logger: config.Logger, closed: make(chan struct{}), link: newLink()}
	b.buffers.New = func() any { return &buffer{} }
	nc, err := nats.Connect(config.URL, b.options()...)
	if err != nil {
		return nil, b.failed("connect to NATS", err)
	}
	b.nc = nc
	if b.js, err = jetstream.New(nc); err != nil {
		nc.Close()
		return nil, b.failed("connect to NATS", err)
	}
	if config.Pending {
		return b, nil
	}
	if err := b.awaitLink(ctx); err != nil {
		if last := nc.LastError(); last != nil {
			err = fmt.Errorf("%w: %w", err, last)
		}
		b.Close()
		return nil, b.failed("connect to NATS at "+b.URL(), err)
	}
	return b, nil
}

func (b *Bus) options() []nats.Option {
	warned := quiet{every: quietFor}
	options := []nats.Option{
		nats.Name(b.config.Name), nats.Timeout(dialTimeout), nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait), nats.ReconnectJitter(reconnectJitter, reconnectJitter),
		nats.PingInterval(pingEvery), nats.MaxPingsOutstanding(2),
		nats.FlusherTimeout(writeTimeout), nats.ReconnectOnFlusherError(),
		nats.ConnectHandler(func(*nats.Conn) { b.link.up(time.Now()) }),
		nats.ReconnectHandler(b.reconnected),
		nats.DisconnectErrHandler(b.disconnected),
		nats.ClosedHandler(func(*nats.Conn) { b.link.down(); close(b.closed) }),
		nats.ErrorHandler(b.asyncError),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			if warned.over() {
				b.logger.Warn("nats not reachable, trying on", "url", b.URL(), "err", scrub(b.config.URL, err))
			}
		}),
	}
	if b.config.Creds != "" {
		options = append(options, nats.UserCredentials(b.config.Creds))
	}
	if b.config.CA != "" {
		options = append(options, nats.RootCAs(b.config.CA))
	}
	if b.config.Cert != "" {
		options = append(options, nats.ClientCert(b.config.Cert, b.config.Key))
	}
	return options
}

// reconnected waits until the server has this connection's subscriptions again: who reads the truth before that could miss
// what happens in between.
func (b *Bus) reconnected(nc *nats.Conn) {
	if err := nc.FlushTimeout(requestTimeout); err != nil {
		b.logger.Warn("nats connection is back, but slow", "err", err)
	}
	b.logger.Info("nats connection is back")
	b.link.up(time.Now())
	b.feeds.end(errReconnected)
}

func (b *Bus) disconnected(nc *nats.Conn, err error) {
	b.link.down()
	if !nc.IsClosed() && err != nil {
		b.logger.Warn("nats connection lost", "err", scrub(b.config.URL, err))
	}
}

func (b *Bus) asyncError(_ *nats.Conn, sub *nats.Subscription, err error) {
	if errors.Is(err, nats.ErrSlowConsumer) && b.feeds.drop(sub) {
		return
	}
	subject := ""
	if sub != nil {
		subject = sub.Subject
	}
	b.logger.Error("nats refused something", "subject", subject, "err", scrub(b.config.URL, err))
}

// URL is where the bus connects to, without user and password.
func (b *Bus) URL() string { return Redact(b.config.URL) }

// Closed is closed when the connection is closed for good: by Close, or because the server refuses the credentials. A
// replica exits then.
func (b *Bus) Closed() <-chan struct{} { return b.closed }

// Close sends what is still buffered, for at most half a second, and closes the connection.
func (b *Bus) Close() {
	if b.nc.IsConnected() {
		if err := b.nc.FlushTimeout(closeTimeout); err != nil {
			b.logger.Warn("nats connection closed with messages unsent", "err", err)
		}
	}
	b.nc.Close()
	<-b.closed
}

// quiet lets one thing through in a while.
type quiet struct {
	mu    sync.Mutex
	every time.Duration
	last  time.Time
}

func (q *quiet) over() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if time.Since(q.last) < q.every {
		return false
	}
	q.last = time.Now()
	return true
}
