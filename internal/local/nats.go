package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// natsStartLimit bounds one start: reading a large store back takes seconds.
const natsStartLimit = time.Minute

// NATSConfig says how StartNATS runs its server.
type NATSConfig struct {
	// Listen is host:port. Without a host it is 127.0.0.1; port 0 or -1 takes a free one.
	Listen string
	// StoreDir holds what JetStream keeps. It is made when missing.
	StoreDir string
	// Logger gets the server's own log, its notices at level debug. May be nil.
	Logger *slog.Logger
}

// NATS is a nats-server with JetStream in this process. Its methods may be called from any goroutine.
type NATS struct {
	options server.Options
	logger  *slog.Logger
	ours    bool // nobody else listens on the port

	mu     sync.Mutex
	server *server.Server // nil while it is down
}

// StartNATS starts a server and returns when it accepts connections. What JetStream holds is kept between starts. A port
// that is taken is an error that says what to do. ctx ends the start only; the server runs until Stop.
func StartNATS(ctx context.Context, cfg NATSConfig) (*NATS, error) {
	host, port, err := parseListen(cfg.Listen)
	if err != nil {
		return nil, err
	}
	n := &NATS{
		logger: cfg.Logger,
		options: server.Options{
			Host:      host,
			Port:      port,
			JetStream: true,
			StoreDir:  cfg.StoreDir,
			NoSigs:    true, // signals are the program's, not the server's
			// The disk is the limit. The default, a share of what is free, refuses streams on a small machine.
			JetStreamMaxStore: 1 << 40,
		},
	}
	if n.logger == nil {
		n.logger = slog.New(slog.DiscardHandler)
	}
	if err := n.Start(ctx); err != nil {
		return nil, err
	}
	return n, nil
}

func parseListen(listen string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, fmt.Errorf("NATS listen address %q: want host:port", listen)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < -1 || port > 65535 {
		return "", 0, fmt.Errorf("NATS listen address %q: the port is not a number below 65536", listen)
	}
	return host, max(port, 0), nil
}

// URL is the address for clients.
func (n *NATS) URL() string {
	host := n.options.Host
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "nats://" + net.JoinHostPort(host, strconv.Itoa(n.options.Port))
}

// Start brings a server back that Halt took down, on the same port with the same store. It does nothing when it is up.
func (n *NATS) Start(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.start(ctx)
}

func (n *NATS) start(ctx context.Context) error {
	if n.server != nil {
		return nil
	}
	if n.options.Port == 0 {
		port, err := FreePort()
		if err != nil {
			return err
		}
		n.options.Port, n.ours = port, true
	}
	if err := n.checkPort(ctx); err != nil {
		return err
	}
	options := n.options // the server writes into its own
	srv, err := server.NewServer(&options)
	if err != nil {
		return fmt.Errorf("start nats-server: %w", err)
	}
	log := &natsLog{logger: n.logger}
	srv.SetLoggerV2(log, false, false, false)
	srv.Start()
	err = log.fatal()
	if err == nil {
		err = ready(ctx, srv)
	}
	if err != nil {
		srv.Shutdown()
		srv.WaitForShutdown()
		return fmt.Errorf("start nats-server: %w", err)
	}
	n.server, n.ours = srv, true
	return nil
}

// checkPort says in our own words that the port is taken.
func (n *NATS) checkPort(ctx context.Context) error {
	address := net.JoinHostPort(n.options.Host, strconv.Itoa(n.options.Port))
	var err error
	if n.ours {
		err = AwaitFree(ctx, address)
	} else {
		err = checkFree(address)
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("port %d on %s is taken, perhaps by another NATS: stop it, or choose another address with --nats-listen",
			n.options.Port, n.options.Host)
	}
	if err != nil {
		return fmt.Errorf("NATS cannot listen on %s: %w", n.options.Host, err)
	}
	return nil
}

func ready(ctx context.Context, srv *server.Server) error {
	ctx, cancel := context.WithTimeoutCause(ctx, natsStartLimit, errors.New("it does not accept connections"))
	defer cancel()
	for !srv.ReadyForConnections(100 * time.Millisecond) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// Stop ends the server. What JetStream holds stays in the store.
func (n *NATS) Stop() { n.Halt() }

// Halt takes the server down until Start: clients are disconnected, and find nobody on the port.
func (n *NATS) Halt() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.halt()
}

func (n *NATS) halt() {
	if n.server == nil {
		return
	}
	n.server.Shutdown()
	n.server.WaitForShutdown()
	n.server = nil
}

// Restart is Halt and Start: the same port, the same store.
func (n *NATS) Restart(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.halt()
	return n.start(ctx)
}

// Wipe is Restart with an empty store: all streams and consumers are gone.
func (n *NATS) Wipe(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.halt()
	if err := os.RemoveAll(filepath.Join(n.options.StoreDir, "jetstream")); err != nil {
		return fmt.Errorf("wipe the store of NATS: %w", err)
	}
	return n.start(ctx)
}

// natsLog hands the server's log on, and remembers what would have ended a nats-server of its own.
type natsLog struct {
	logger *slog.Logger
	mu     sync.Mutex
	first  error
}

func (l *natsLog) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first
}

func (l *natsLog) say(level slog.Level, format string, args []any) {
	l.logger.Log(context.Background(), level, "nats-server says", "line", fmt.Sprintf(format, args...))
}

func (l *natsLog) Noticef(format string, args ...any) { l.say(slog.LevelDebug, format, args) }
func (l *natsLog) Warnf(format string, args ...any)   { l.say(slog.LevelWarn, format, args) }
func (l *natsLog) Errorf(format string, args ...any)  { l.say(slog.LevelError, format, args) }
func (l *natsLog) Debugf(format string, args ...any)  { l.say(slog.LevelDebug, format, args) }
func (l *natsLog) Tracef(format string, args ...any)  { l.say(slog.LevelDebug, format, args) }

func (l *natsLog) Fatalf(format string, args ...any) {
	l.say(slog.LevelError, format, args)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == nil {
		l.first = fmt.Errorf(format, args...)
	}
}
