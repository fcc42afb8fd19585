package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"processor/internal/chat"
)

// ServiceName is what `nats micro ls` shows.
const ServiceName = "processor"

const (
	apiSubject = "chats."
	// requestDeadline bounds one request of the API, serveGrace those under way when the service ends.
	requestDeadline = 10 * time.Second
	serveGrace      = 2 * time.Second
	defaultLimit    = 256
)

// Endpoint answers one kind of request. A *chat.Error goes to the caller; any other error is logged, and the caller is told to
// try again.
type Endpoint func(ctx context.Context, request []byte) (reply any, err error)

// APIConfig says what a replica serves.
type APIConfig struct {
	// Version is the build's; what is not a semantic version is shown as 0.0.0.
	Version  string
	Metadata map[string]string
	// Stats is shown by `nats micro stats`. It must not wait. May be nil.
	Stats func() any
	// Endpoints by name, each on the subject chats.<name>.
	Endpoints map[string]Endpoint
	// Limit is how many requests are served at once (256); those above are refused as unavailable.
	Limit int
	// Up is told once, when the server has the service's subscriptions: from then on requests arrive. May be nil.
	Up func()
	// Observe is told of every request; status is 200 or that of the error. May be nil.
	Observe func(endpoint string, status int, elapsed time.Duration)
}

// api is one call of ServeAPI.
type api struct {
	bus    *Bus
	config APIConfig
	ctx    context.Context // of the requests; ends serveGrace after the service
	limit  chan struct{}

	mu     sync.Mutex
	ended  bool
	active sync.WaitGroup
}

// ServeAPI serves the micro service until ctx ends. Then it takes no more requests, finishes those under way for at most 2 s, and
// returns. Requests run concurrently, each with a deadline of 10 s.
func (b *Bus) ServeAPI(ctx context.Context, config APIConfig) error {
	if config.Limit <= 0 {
		config.Limit = defaultLimit
	}
	base, cancel := context.WithCancel(context.WithoutCancel(ctx)) // ended below, serveGrace after ctx
	defer cancel()
	a := &api{bus: b, config: config, ctx: base, limit: make(chan struct{}, config.Limit)}
	service, err := a.open()
	if err != nil {
		return b.failed("serve the API", err)
	}
	b.tellUp(ctx, config.Up)
	<-ctx.Done()
	grace := time.AfterFunc(serveGrace, cancel)
	defer grace.Stop()
	err = service.Stop()
	if b.nc.IsConnected() { // what the server had sent before is here after a flush, though not yet in a handler's hands
		err = errors.Join(err, b.nc.FlushTimeout(serveGrace/2), b.handOver(serveGrace/2))
	}
	a.end()
	if err != nil {
		return b.failed("end the API", err)
	}
	return nil
}

// handOver returns when the handlers have begun with every message that is here by now, or after d.
func (b *Bus) handOver(d time.Duration) error {
	done := make(chan struct{})
	if err := b.nc.Barrier(func() { close(done) }); err != nil {
		return err
	}
	select {
	case <-done:
	case <-time.After(d):
	}
	return nil
}

func (a *api) open() (micro.Service, error) {
	config := micro.Config{Name: ServiceName, Version: semver(a.config.Version), Description: "keeps LLM chats alive", Metadata: a.config.Metadata}
	if a.config.Stats != nil {
		config.StatsHandler = func(*micro.Endpoint) any { return a.config.Stats() }
	}
	service, err := micro.AddService(a.bus.nc, config)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(a.config.Endpoints)) {
		if err := service.AddEndpoint(name, a.handler(name, a.config.Endpoints[name]), micro.WithEndpointSubject(apiSubject+name)); err != nil {
			return nil, errors.Join(err, service.Stop())
		}
	}
	return service, nil
}

// handler must not hold up the subscription: the replies of micro.Request do not stand a second goroutine, so requests are
// answered by way of the connection, and micro's own counts of errors and times say nothing.
func (a *api) handler(name string, e Endpoint) micro.Handler {
	return micro.HandlerFunc(func(r micro.Request) {
		request, reply := r.Data(), r.Reply()
		if !a.begin() {
			a.refuse(name, reply, errBusy, 0)
			return
		}
		go func() {
			defer a.done()
			a.answer(name, e, request, reply)
		}()
	})
}

var errBusy = chat.Errorf(chat.Unavailable, "", "this replica is busy or going away, try again")

// begin takes a place for a request, if there is one and the service has not ended.
func (a *api) begin() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return false
	}
	select {
	case a.limit <- struct{}{}:
		a.active.Add(1)
		return true
	default:
		return false
	}
}

func (a *api) done() {
	<-a.limit
	a.active.Done()
}

func (a *api) end() {
	a.mu.Lock()
	a.ended = true
	a.mu.Unlock()
	a.active.Wait()
}

func (a *api) answer(name string, e Endpoint, request []byte, reply string) {
	start := time.Now()
	v, err := a.call(name, e, request)
	if err == nil {
		err = a.reply(reply, v)
	}
	if err != nil {
		a.refuse(name, reply, err, time.Since(start))
		return
	}
	a.observe(name, 200, time.Since(start))
}

// call is the one place where a panic of a request ends.
func (a *api) call(name string, e Endpoint, request []byte) (v any, err error) {
	ctx, cancel := context.WithTimeout(a.ctx, requestDeadline)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			a.bus.logger.Error("request panicked", "subject", apiSubject+name, "err", fmt.Sprint(r), "stack", string(debug.Stack()))
			err = errBroken
		}
	}()
	return e(ctx, request)
}

var errBroken = chat.Errorf(chat.Unavailable, "", "the request failed here, try again")

func (a *api) reply(subject string, v any) error {
	data, err := chat.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the reply: %w", err)
	}
	if limit := a.bus.maxPayload(); len(data) > limit {
		return chat.Errorf(chat.TooLarge, "", "the reply has %d bytes, NATS carries %d: ask for less, or by HTTP", len(data), limit)
	}
	if err := a.bus.nc.Publish(subject, data); err != nil {
		a.bus.logger.Warn("reply not sent", "err", err)
	}
	return nil
}

// refuse answers with an error. What is not meant for callers is logged here, once, and they get a sentence that tells nothing.
func (a *api) refuse(name, subject string, err error, elapsed time.Duration) {
	var e *chat.Error
	if !errors.As(err, &e) {
		a.bus.logger.Error("request failed", "subject", apiSubject+name, "elapsed", elapsed, "err", err)
		e = errBroken
	}
	a.observe(name, e.Code.Status(), elapsed)
	m := nats.NewMsg(subject)
	m.Header.Set(micro.ErrorCodeHeader, strconv.Itoa(e.Code.Status()))
	m.Header.Set(micro.ErrorHeader, strings.NewReplacer("\r", " ", "\n", " ").Replace(e.Message))
	if m.Data, err = chat.Marshal(errorBody{e}); err == nil {
		err = a.bus.nc.PublishMsg(m)
	}
	if err != nil {
		a.bus.logger.Warn("reply not sent", "err", err)
	}
}

func (a *api) observe(name string, status int, elapsed time.Duration) {
	if a.config.Observe != nil {
		a.config.Observe(name, status, elapsed)
	}
}

// errorBody is what the body of an error reply looks like.
type errorBody struct {
	Error *chat.Error `json:"error"`
}

var semverPattern = regexp.MustCompile(`^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)

// semver makes a build's version what micro takes.
func semver(version string) string {
	version = strings.TrimPrefix(version, "v")
	if !semverPattern.MatchString(version) {
		return "0.0.0"
	}
	return version
}
