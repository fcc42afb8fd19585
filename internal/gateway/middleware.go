package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"processor/internal/chat"
	"processor/internal/gateway/wire"
)

// Protocol is a word for a part of what is served, for metrics.
type Protocol string

// The protocols.
const (
	Native    Protocol = "native"
	Responses Protocol = "responses"
	UI        Protocol = "ui"
	Console   Protocol = "console"
	Ops       Protocol = "ops"
)

// Protocols lists them.
func Protocols() []Protocol { return []Protocol{Native, Responses, UI, Console, Ops} }

func protocolOf(path string) Protocol {
	under := func(prefixes ...string) bool {
		for _, p := range prefixes {
			if path == p || strings.HasPrefix(path, p+"/") {
				return true
			}
		}
		return false
	}
	switch {
	case under("/v1/responses", "/v1/conversations"):
		return Responses
	case under("/v1", "/openapi.json"):
		return Native
	case under("/api"):
		return UI
	case under("/healthz", "/readyz", "/metrics"):
		return Ops
	default:
		return Console
	}
}

// ServeHTTP holds every request to what applies to all of them, from the outside in: it is answered whatever happens, it comes from an allowed
// origin, its body arrives in time, and it has a token unless it asks for what everybody may see.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := &recorder{ResponseWriter: w, began: time.Now()}
	defer func() { g.finish(rec, r, recover()) }()
	if g.draining() {
		rec.Header().Set("Connection", "close") // the next request goes elsewhere
	}
	done, err := g.origins.admit(rec, r)
	switch {
	case err != nil:
		g.kit.Refuse(rec, r, err)
		return
	case done:
		return
	}
	control := http.NewResponseController(w)
	err = control.SetWriteDeadline(time.Time{}) // the last request's on this connection
	if err == nil && r.Body != http.NoBody {
		err = control.SetReadDeadline(time.Now().Add(g.kit.BodyTimeout()))
	}
	if err != nil {
		g.kit.Refuse(rec, r, err)
		return
	}
	g.route(rec, r)
}

// route finds the handler. Only what was mounted as open is had without a token.
func (g *Gateway) route(w http.ResponseWriter, r *http.Request) {
	if _, pattern := g.open.Handler(r); pattern != "" {
		g.open.ServeHTTP(w, r)
		return
	}
	if len(g.tokens) > 0 {
		tenant, name, ok := g.tokens.find(r)
		if !ok {
			w.Header().Set("WWW-Authenticate", `Bearer realm="processor"`)
			g.kit.Refuse(w, r, chat.Errorf(chat.Unauthorized, "", "a token is needed: Authorization: Bearer …"))
			return
		}
		r = r.WithContext(wire.WithToken(chat.WithTenant(r.Context(), tenant), name))
	}
	h, pattern := g.mux.Handler(r)
	if pattern == "" {
		g.kit.Refuse(w, r, nothingHere(h, w, r))
		return
	}
	g.mux.ServeHTTP(w, r)
}

// nothingHere says in the API's form what the mux has found: no such path, or one with other methods.
func nothingHere(h http.Handler, w http.ResponseWriter, r *http.Request) error {
	found := &refusal{header: http.Header{}}
	h.ServeHTTP(found, r)
	if found.status != http.StatusMethodNotAllowed {
		return chat.Errorf(chat.NotFound, "", "there is nothing at this address")
	}
	allowed := found.header.Get("Allow")
	w.Header().Set("Allow", allowed)
	return chat.Errorf(chat.NotAllowed, "", "only %s is possible here", allowed)
}

// refusal takes down what the mux answers to what it has no handler for.
type refusal struct {
	header http.Header
	status int
}

func (f *refusal) Header() http.Header         { return f.header }
func (f *refusal) WriteHeader(status int)      { f.status = status }
func (f *refusal) Write(p []byte) (int, error) { return len(p), nil }

// finish is the one place where a panic of a request ends.
func (g *Gateway) finish(w *recorder, r *http.Request, panicked any) {
	if panicked != nil {
		if err, ok := panicked.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(panicked)
		}
		g.config.Logger.Error("request panicked", "method", r.Method, "path", r.Pattern, "err", fmt.Sprint(panicked), "stack", string(debug.Stack()))
		if w.status != 0 {
			panic(http.ErrAbortHandler) // half an answer must not look like a whole one
		}
		g.kit.Refuse(w, r, chat.Errorf(chat.Unavailable, "", "the request failed here, try again"))
	}
	if g.config.Observe != nil && w.status != 0 {
		g.config.Observe(protocolOf(r.URL.Path), w.status, w.elapsed)
	}
}

func (g *Gateway) draining() bool {
	return g.config.Kit.Drain != nil && g.config.Kit.Drain.Err() != nil
}

// recorder notes the status, and when it was known: a stream's end says nothing about the server.
type recorder struct {
	http.ResponseWriter

	began   time.Time
	status  int
	elapsed time.Duration
}

// Unwrap is for http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status, w.elapsed = status, time.Since(w.began)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p)
}
