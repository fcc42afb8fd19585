package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"processor/internal/bus"
	"processor/internal/chat"
	"processor/internal/gateway"
	"processor/internal/gateway/console"
	"processor/internal/gateway/responses"
	"processor/internal/gateway/uistream"
	"processor/internal/gateway/wire"
)

// HTTPFlags say who may use the API over HTTP, and how much of it.
type HTTPFlags struct {
	HTTPToken            []httpToken `name:"http-token" placeholder:"TOKEN" help:"Bearer token that HTTP requests need, TENANT=TOKEN for one that sees this tenant's chats only; may be given several times, or as a list with commas. Without any, everybody may."`
	HTTPCORSOrigin       []string    `name:"http-cors-origin" placeholder:"ORIGIN" help:"Web origin whose pages may use the HTTP API, such as https://app.example.com, or * for all; may be given several times."`
	HTTPStreamsPerClient int         `name:"http-streams-per-client" default:"1000" placeholder:"N" help:"Open event streams of one client, which is a token and an address, at most."`
}

// Validate is called by the command line's parser.
func (f HTTPFlags) Validate() error {
	if f.HTTPStreamsPerClient < 1 {
		return fmt.Errorf("--http-streams-per-client must be at least 1, is %d", f.HTTPStreamsPerClient)
	}
	seen := map[string]bool{}
	for _, t := range f.HTTPToken {
		token, err := gateway.ParseToken(string(t))
		if err != nil {
			return fmt.Errorf("--http-token: %w", err)
		}
		if seen[token.Secret] {
			return errors.New("--http-token: a token is given twice")
		}
		seen[token.Secret] = true
	}
	if err := gateway.CheckOrigins(f.HTTPCORSOrigin); err != nil {
		return fmt.Errorf("--http-cors-origin: %w", err)
	}
	return nil
}

// httpToken is handed on to dev's replicas as it was given, and hidden from everything else that prints it.
type httpToken string

// GoString and LogValue hide the token.
func (t httpToken) GoString() string     { return `"…"` }
func (t httpToken) LogValue() slog.Value { return slog.StringValue("…") }

// httpService is what a gateway is put together from.
type httpService struct {
	flags HTTPFlags
	// local says that this is part of dev, whose listener only this machine reaches.
	local   bool
	service *chat.Service
	bus     *bus.Bus
	timing  chat.Timing
	// drain ends when streams have to.
	drain    context.Context
	ready    *Readiness
	registry *prometheus.Registry
	logger   *slog.Logger
}

// handler serves everything that this process has over HTTP.
func (s httpService) handler() (*gateway.Gateway, error) {
	tokens := make([]gateway.Token, len(s.flags.HTTPToken))
	for i, t := range s.flags.HTTPToken {
		var err error
		if tokens[i], err = gateway.ParseToken(string(t)); err != nil {
			return nil, err
		}
	}
	m := newHTTPMetrics(s.registry)
	g, err := gateway.New(s.service, s.bus, gateway.Config{
		Tokens: tokens, Origins: s.flags.HTTPCORSOrigin, Local: s.local, Compare: s.timing.Compare, Logger: s.logger, Observe: m.request,
		Kit: wire.Config{Drain: s.drain, StreamsPerClient: s.flags.HTTPStreamsPerClient, Opened: m.opened, Closed: m.closed},
	})
	if err != nil {
		return nil, err
	}
	if err := console.Register(g.Open()); err != nil {
		return nil, err
	}
	responses.New(s.service, g.Feed(), g.Kit(), responses.Config{Drain: s.drain, Compare: s.timing.Compare}).Register(g.Mux())
	ops := opsHandler(s.ready, s.registry)
	g.Open().Handle("/healthz", ops)
	g.Open().Handle("/readyz", ops)
	g.Mux().Handle("/metrics", ofNoTenant(ops))
	uistream.New(s.service, g.Feed(), g.Kit(), uistream.Config{Compare: s.timing.Compare, Logger: s.logger}).Register(g.Mux())
	return g, nil
}

// ofNoTenant hides what is about everybody's chats from who sees one tenant's.
func ofNoTenant(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if chat.TenantOf(r.Context()) != "" {
			http.NotFound(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// httpMetrics are those of requests and streams, under the same names whoever serves them.
type httpMetrics struct {
	requests *prometheus.CounterVec   // protocol, status
	seconds  *prometheus.HistogramVec // protocol
	streams  prometheus.Gauge
	ends     *prometheus.CounterVec // end
}

func newHTTPMetrics(reg *prometheus.Registry) *httpMetrics {
	r := recorder{reg}
	return &httpMetrics{
		requests: r.counters("http_requests_total", "Requests over HTTP.", labels{"protocol", httpProtocols()}, labels{"status", httpStatuses()}),
		seconds:  r.histograms("http_request_seconds", "Time until the answer to a request over HTTP began.", fast(), labels{"protocol", httpProtocols()}),
		streams:  r.gauge("http_streams", "Open event streams."),
		ends:     r.counters("http_streams_ended_total", "Event streams that ended.", labels{"end", httpEnds()}),
	}
}

func (m *httpMetrics) request(p gateway.Protocol, status int, elapsed time.Duration) {
	m.requests.WithLabelValues(oneOf(httpProtocols(), string(p)), oneOf(httpStatuses(), fmt.Sprint(status))).Inc()
	m.seconds.WithLabelValues(oneOf(httpProtocols(), string(p))).Observe(elapsed.Seconds())
}

func (m *httpMetrics) opened() { m.streams.Inc() }

func (m *httpMetrics) closed(end wire.End) {
	m.streams.Dec()
	m.ends.WithLabelValues(oneOf(httpEnds(), string(end))).Inc()
}

func httpProtocols() []string { return append(words(gateway.Protocols()), other) }

func httpEnds() []string { return append(words(wire.Ends()), other) }

func httpStatuses() []string {
	return append(strings.Fields("200 201 202 204 304 400 401 403 404 405 409 413 422 429 503"), other)
}

func words[T ~string](all []T) []string {
	list := make([]string, len(all))
	for i, w := range all {
		list[i] = string(w)
	}
	return list
}
