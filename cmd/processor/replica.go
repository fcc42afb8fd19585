package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/run"
	"github.com/prometheus/client_golang/prometheus"

	"processor/internal/bus"
	"processor/internal/chat"
	"processor/internal/store"
	"processor/internal/sweeper"
)

// replica is one worker, wired and ready to run.
type replica struct {
	settings  settings
	store     *store.Store
	bus       *bus.Bus
	registry  *prometheus.Registry
	metrics   *Metrics
	ready     *Readiness
	service   *chat.Service
	processor *chat.Processor
	heartbeat *chat.Heartbeat
	sweeper   *sweeper.Sweeper
	stopping  atomic.Bool
	// draining ends when the replica begins to drain.
	draining context.Context
	drain    context.CancelFunc
}

// settings are what flags decide of a replica, or tests.
type settings struct {
	worker       chat.Worker // the heartbeat gives it its id
	timing       chat.Timing
	budget       chat.Budget
	maxTokens    int
	defaultModel string
	models       chat.Models
	tools        []chat.ToolFunc
	retain       time.Duration
	http         net.Listener // nil: none
	api          HTTPFlags
	leashed      bool // it is one of dev's
	// signals brings what asks the replica to end: the first drains, the second hurries.
	signals <-chan os.Signal
	logger  *slog.Logger
}

// newReplica wires a replica around its two connections. It starts nothing.
func newReplica(st *store.Store, b *bus.Bus, s settings) *replica {
	r := &replica{settings: s, store: st, bus: b, registry: prometheus.NewRegistry(), ready: NewReadiness()}
	r.draining, r.drain = context.WithCancel(context.Background())
	r.metrics = NewMetrics(r.registry, Sources{
		Load:            func() (running, suspects, slots int) { return r.processor.Load() },
		EventsDropped:   func() uint64 { return b.Counts().Lost },
		Looks:           func() uint64 { return b.Counts().Looks },
		FeedsDropped:    func() uint64 { return b.Counts().Slow },
		StreamsRepaired: func() uint64 { return b.Counts().Repairs },
	})
	r.processor = chat.NewProcessor(st, b, s.models, chat.ProcessorConfig{
		Slots: s.worker.Slots, Timing: s.timing, Budget: s.budget, MaxTokens: s.maxTokens, Tools: s.tools,
		Logger: s.logger, Hooks: r.metrics.Processor(),
	})
	r.service = chat.NewService(st, b, chat.ServiceConfig{DefaultModel: s.defaultModel, Opener: r.processor, Logger: s.logger, Observe: r.metrics.Transition})
	r.heartbeat = chat.NewHeartbeat(st, r.processor, chat.HeartbeatConfig{
		Worker: s.worker, Timing: s.timing, Logger: s.logger,
		Registered: r.registered, Beaten: r.metrics.Beaten, Lost: r.metrics.LeaseLost,
	})
	r.processor.ClaimUnder(r.heartbeat.Current)
	r.sweeper = sweeper.New(st, sweeperBus{b}, sweeper.Config{
		Timing: s.timing, Retain: s.retain, Logger: s.logger,
		MayJudge: r.heartbeat.MayJudge, Self: r.self, Release: r.release, Hooks: r.metrics.Sweeper(),
	})
	return r
}

// Run runs the replica until a signal, or ctx, asks it to end. run.Group starts all actors, and when the first returns it interrupts each
// of them and waits for all. So an interrupt only says that it is time; the order of a shutdown is made by actors that wait, at the end of their
// own work, for what must come before them:
//
//	ready is false, no more dispatches, streams end → turns end or are yielded → the sweeper releases the rest → heartbeat, control and APIs end
func (r *replica) Run(ctx context.Context) error {
	taking, takeNoMore := context.WithCancelCause(ctx)
	defer takeNoMore(nil)
	serving, serveNoMore := context.WithCancel(context.WithoutCancel(ctx)) // ended by the sweeper's last act
	defer serveNoMore()
	drained, hurry := make(chan struct{}), make(chan struct{})
	stop := func(error) {
		r.stopping.Store(true)
		r.unready("shutting down")
		r.drain()
		takeNoMore(chat.CauseShutdown)
	}
	outlive := func(error) {} // ends with serving

	var g run.Group
	g.Add(r.actor("signal", func() error { return r.awaitSignal(taking, drained, hurry) }), stop)
	g.Add(r.actor("processor", func() error { defer close(drained); return r.process(taking, hurry) }), stop)
	g.Add(r.actor("sweeper", func() error { defer serveNoMore(); return r.sweeper.Run(taking, drained) }), stop)
	g.Add(r.actor("heartbeat, control and api", func() error { return r.heartbeat.Run(serving) }), outlive)
	g.Add(r.actor("connection", func() error { return r.awaitClosed(serving) }), outlive)
	if r.settings.http != nil {
		handler, err := r.overHTTP()
		if err != nil {
			return err
		}
		g.Add(r.actor("http", func() error { return serveHTTP(serving, r.settings.http, handler) }), outlive)
	}
	return g.Run()
}

func (r *replica) overHTTP() (http.Handler, error) {
	return httpService{
		flags: r.settings.api, local: r.settings.leashed && isLoopback(r.settings.http), service: r.service, bus: r.bus, timing: r.settings.timing, drain: r.draining,
		ready: r.ready, registry: r.registry, logger: r.settings.logger,
	}.handler()
}

// actor makes an actor log its own failure: the group keeps only the first.
func (r *replica) actor(name string, execute func() error) func() error {
	return func() error {
		err := execute()
		if err != nil {
			r.settings.logger.Error("actor failed", "actor", name, "err", err)
		}
		return err
	}
}

// awaitSignal returns when the replica has to end, and lives on in the background only to hear of a second signal.
func (r *replica) awaitSignal(ctx context.Context, drained <-chan struct{}, hurry chan<- struct{}) error {
	select {
	case s := <-r.settings.signals:
		r.settings.logger.Info("draining", "signal", s.String(), "limit", r.settings.timing.Drain)
	case <-ctx.Done():
		return nil
	}
	go func() {
		select {
		case s := <-r.settings.signals:
			r.settings.logger.Info("handing off at once", "signal", s.String())
			close(hurry)
		case <-drained:
		}
	}()
	return nil
}

// process takes chats once the replica is registered, until ctx ends and the last run has ended.
func (r *replica) process(ctx context.Context, hurry <-chan struct{}) error {
	stopDraining := context.AfterFunc(ctx, r.heartbeat.Draining)
	defer stopDraining()
	return r.processor.Run(ctx, hurry, func(ctx context.Context) error {
		return r.bus.Deliver(ctx, r.processor.Slots(), r.store.Pending, func(_ context.Context, d bus.Delivery) {
			r.processor.Handle(ctx, d.Chat, func(v chat.Verdict) {
				if v.Ack {
					d.Ack()
				} else {
					d.Nak(v.Delay)
				}
			})
		})
	})
}

// registered serves the control subject and the API under a new registration, for as long as that lives. The replica is ready when others reach
// both.
func (r *replica) registered(ctx context.Context, id chat.WorkerID) func() {
	serving, stop := context.WithCancel(ctx)
	r.unready("waiting for NATS")
	var mu sync.Mutex // so that a subscription that comes up late says nothing of a registration that is over
	missing, over := 2, false
	up := func() {
		mu.Lock()
		defer mu.Unlock()
		if missing--; missing == 0 && !over {
			r.takesWork(id)
		}
	}
	var served sync.WaitGroup
	serve := func(name string, service func() error) {
		served.Go(func() {
			if err := service(); err != nil {
				r.settings.logger.Error("not served", "actor", name, "worker", id, "err", err)
			}
		})
	}
	serve("control", func() error { return r.bus.Serve(serving, id, r.processor, up) })
	serve("api", func() error { return r.serveAPI(serving, id, up) })
	return func() {
		mu.Lock()
		over = true
		r.unready("not registered")
		mu.Unlock()
		stop()
		served.Wait()
	}
}

func (r *replica) takesWork(id chat.WorkerID) {
	r.ready.Ready()
	if r.stopping.Load() { // a shutdown began meanwhile, and has the last word
		r.unready("shutting down")
		return
	}
	r.settings.logger.Info("ready", "worker", id)
}

func (r *replica) unready(why string) {
	if r.stopping.Load() {
		why = "shutting down"
	}
	r.ready.NotReady(why)
}

// awaitClosed fails when the connection to NATS has ended for good, which reconnecting never does by itself.
func (r *replica) awaitClosed(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-r.bus.Closed():
		return errors.New("the connection to NATS was closed for good")
	}
}

// release yields what the replica still owns. It has what the runs' own final writes left of their time, and little more: what an orchestrator
// grants is short.
func (r *replica) release(ctx context.Context, id chat.WorkerID) ([]chat.Outcome, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.processor.Finals(), func() { time.AfterFunc(overtime, cancel) })()
	outcomes, err := r.store.Release(ctx, id)
	for range outcomes {
		r.metrics.Yielded(chat.CauseShutdown)
	}
	return outcomes, err
}

// overtime is what a release has when the time for final writes is over.
const overtime = time.Second

func (r *replica) self() chat.WorkerID {
	if reg := r.heartbeat.Current(); reg != nil {
		return reg.ID
	}
	return ""
}

func (r *replica) serveAPI(ctx context.Context, id chat.WorkerID, up func()) error {
	s := r.service
	return r.bus.ServeAPI(ctx, bus.APIConfig{
		Version: buildName(), Metadata: map[string]string{"worker": string(id), "name": r.settings.worker.Name},
		Stats: r.stats, Observe: r.metrics.Request, Up: up,
		Endpoints: map[string]bus.Endpoint{
			"create": bus.JSON(s.Create), "send": bus.JSON(s.Send), "get": bus.JSON(s.Get), "messages": bus.JSON(s.Messages), "queue": bus.JSON(s.Queue),
			"list": bus.JSON(s.List), "interrupt": bus.JSON(s.Interrupt), "retry": bus.JSON(s.Retry), "truncate": bus.JSON(s.Truncate), "update": bus.JSON(s.Update), "delete": bus.JSON(s.Delete),
			"workers": bus.JSON(s.Workers), "snapshot": bus.JSON(s.Snapshot),
		},
	})
}

// stats is what nats micro stats shows of this replica.
func (r *replica) stats() any {
	running, suspects, slots := r.processor.Load()
	return struct {
		Worker   chat.WorkerID `json:"worker"`
		Slots    int           `json:"slots"`
		Running  int           `json:"running"`
		Suspects int           `json:"suspects"`
		Draining bool          `json:"draining"`
	}{r.self(), slots, running, suspects, r.stopping.Load()}
}

// sweeperBus is the bus as the sweeper sees it: adapters don't know each other's types.
type sweeperBus struct{ *bus.Bus }

func (b sweeperBus) Probe(ctx context.Context, id chat.WorkerID) sweeper.Answer {
	switch b.Bus.Probe(ctx, id) {
	case bus.NoResponders:
		return sweeper.NoResponders
	case bus.Answered:
		return sweeper.Answered
	default:
		return sweeper.Unknown
	}
}

func (b sweeperBus) Stream(ctx context.Context) (sweeper.StreamIdentity, error) {
	s, err := b.Bus.Stream(ctx)
	return sweeper.StreamIdentity(s), err
}
