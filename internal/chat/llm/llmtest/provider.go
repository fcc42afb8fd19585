// Package llmtest is a model provider for tests, over real HTTP and in the wire formats of OpenAI and Anthropic.
//
// What it answers is a script of steps: made by a callback (Provider.Answer), or by markers in the user's text (see
// Markers) when the test can only reach the provider through a chat. Without either it says the user's text back, word
// by word. Nothing in it needs a sleep: streams can be held at any token behind a Gate, and Await waits for calls.
//
// It is also a provider without a test: http.ListenAndServe(addr, llmtest.NewProvider().Handler()). Such a process is
// looked into with GET /calls (one JSON object a line) and steered with POST /gates/NAME, which opens that gate.
package llmtest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// Provider answers model calls and remembers them. Set its fields before the first call.
type Provider struct {
	// Answer says what to do with a call; nil means Markers. It is called from many goroutines.
	Answer func(Call) []Step
	// Key, when set, is the only key that is let in.
	Key string
	// Keep is how many calls are remembered, the oldest are forgotten first. Zero means 10,000, less than zero none.
	Keep int

	url  string
	stop chan struct{}
	end  sync.Once

	mu      sync.Mutex
	calls   []*Call
	count   int
	open    int
	changed chan struct{}
	gates   map[string]*Gate
	faults  map[string]int
}

// NewProvider makes a provider that is not served yet.
func NewProvider() *Provider {
	return &Provider{
		stop: make(chan struct{}), changed: make(chan struct{}), gates: map[string]*Gate{}, faults: map[string]int{},
	}
}

// New makes a provider and serves it on a free port until the test ends.
func New(t testing.TB) *Provider {
	t.Helper()
	p := NewProvider()
	server := httptest.NewServer(p.Handler())
	p.url = server.URL
	t.Cleanup(func() {
		p.Close()
		server.CloseClientConnections()
		server.Close()
	})
	return p
}

// OpenAIURL is the base URL for OpenAI-compatible clients of a provider made by New.
func (p *Provider) OpenAIURL() string { return p.url + "/v1" }

// AnthropicURL is the base URL for Anthropic clients of a provider made by New.
func (p *Provider) AnthropicURL() string { return p.url }

// Close ends all open streams.
func (p *Provider) Close() { p.end.Do(func() { close(p.stop) }) }

// Handler serves both wire formats, the log of calls and the gates.
func (p *Provider) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, OpenAI) })
	mux.HandleFunc("POST /v1/messages", func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, Anthropic) })
	mux.HandleFunc("GET /calls", p.serveCalls)
	mux.HandleFunc("POST /gates/{name}", func(_ http.ResponseWriter, r *http.Request) { p.Gate(r.PathValue("name")).Open() })
	return mux
}

func (p *Provider) serveCalls(w http.ResponseWriter, _ *http.Request) {
	enc := json.NewEncoder(w)
	for _, c := range p.Calls() {
		if enc.Encode(c) != nil {
			return
		}
	}
}

func (p *Provider) serve(w http.ResponseWriter, r *http.Request, wire Wire) {
	call, err := readCall(r, wire)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	record := p.begin(call)
	s := newStream(p, w, r, *record)
	outcome := Cut
	defer func() { p.finish(record, outcome) }()
	outcome = s.run(p.script(*record))
}

func (p *Provider) script(c Call) []Step {
	if p.Key != "" && c.Key != p.Key {
		return []Step{WrongKey()}
	}
	if p.Answer != nil {
		return p.Answer(c)
	}
	return p.Markers(c)
}

func (p *Provider) begin(c Call) *Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count++
	p.open++
	c.N, c.At = p.count, time.Now()
	keep := p.Keep
	if keep == 0 {
		keep = 10_000
	}
	if keep > 0 {
		p.calls = append(p.calls, &c)
	}
	if len(p.calls) > 2*keep && keep > 0 {
		p.calls = append([]*Call(nil), p.calls[len(p.calls)-keep:]...)
	}
	p.broadcast()
	return &c
}

func (p *Provider) finish(c *Call, outcome Outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open--
	c.Outcome, c.Ended = outcome, time.Now()
	p.broadcast()
}

// broadcast needs the lock.
func (p *Provider) broadcast() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// Calls lists the remembered calls in the order in which they came.
func (p *Provider) Calls() []Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	calls := make([]Call, len(p.calls))
	for i, c := range p.calls {
		calls[i] = *c
	}
	return calls
}

// Count is the number of calls so far.
func (p *Provider) Count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// Open is the number of calls that are being answered now.
func (p *Provider) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open
}

// Await returns when done is true of the remembered calls, which it asks again whenever a call comes or ends.
func (p *Provider) Await(ctx context.Context, done func([]Call) bool) error {
	for {
		p.mu.Lock()
		changed := p.changed
		p.mu.Unlock()
		calls := p.Calls()
		if done(calls) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("await calls, after %d: %w", len(calls), context.Cause(ctx))
		}
	}
}

// nth counts the calls of one key, for faults that strike only the first few.
func (p *Provider) nth(key string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults[key]++
	return p.faults[key]
}
