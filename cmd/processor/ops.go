package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Readiness is what a load balancer asks for. It starts, and shuts down, unready. Its methods may be called from any goroutine.
type Readiness struct {
	refusal atomic.Pointer[string]
}

// NewReadiness is not ready.
func NewReadiness() *Readiness {
	r := &Readiness{}
	r.NotReady("starting")
	return r
}

// Ready says that this process takes work.
func (r *Readiness) Ready() { r.refusal.Store(nil) }

// NotReady says why it does not.
func (r *Readiness) NotReady(why string) { r.refusal.Store(&why) }

// Err is why this process takes no work, nil when it does.
func (r *Readiness) Err() error {
	if why := r.refusal.Load(); why != nil {
		return errors.New(*why)
	}
	return nil
}

// metricsTimeout bounds one scrape.
const metricsTimeout = 10 * time.Second

// opsHandler serves /healthz (the process answers), /readyz (it takes work) and /metrics. More may be served beside them.
func opsHandler(ready *Readiness, reg *prometheus.Registry) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, nil) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { answer(w, ready.Err()) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{Registry: reg, Timeout: metricsTimeout, EnableOpenMetrics: true}))
	return mux
}

func answer(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	line := "ok"
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		line = err.Error()
	}
	fmt.Fprintln(w, line)
}

// How a server treats its clients. There is no limit on reading or writing a whole request, which would end a stream: a handler that reads
// a body or streams sets its own.
const (
	headerTimeout = 5 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10
	writeBuffer   = 256 << 10
	// httpGrace is how long requests may go on after a shutdown.
	httpGrace = 2 * time.Second
)

// listen listens for HTTP, and says what to do when it can't.
func listen(address string) (net.Listener, error) {
	ln, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s is taken, perhaps by another processor: stop it, or choose another address with --http", address)
	}
	if err != nil {
		return nil, fmt.Errorf("listen for HTTP on %q (--http wants host:port): %w", address, err)
	}
	return ln, nil
}

// isLoopback reports whether only this machine reaches the listener.
func isLoopback(ln net.Listener) bool {
	tcp, ok := ln.Addr().(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// boundBuffer keeps the system from buffering megabytes for each client that does not read: there may be thousands.
func boundBuffer(ctx context.Context, c net.Conn) context.Context {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(writeBuffer) // without, it only costs more memory
	}
	return ctx
}

// serveHTTP serves until ctx ends. Requests under way then have httpGrace, after which their contexts end and their
// connections are closed. It closes ln.
func serveHTTP(ctx context.Context, ln net.Listener, handler http.Handler) error {
	requests, cut := context.WithCancel(context.WithoutCancel(ctx)) // ended below, httpGrace after ctx
	defer cut()
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		BaseContext: func(net.Listener) context.Context { return requests }, Protocols: new(http.Protocols),
		ConnContext: boundBuffer,
	}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true) // many streams of a proxy on one connection
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(ln) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve HTTP: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), httpGrace)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		cut()
		server.Close()
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP: %w", err)
	}
	return nil
}
