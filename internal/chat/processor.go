package chat

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Processor runs chats: it claims what the bus tells it of, calls models, and commits what they say. One replica has one.
//
// It lives under two contexts. The one given to Run says take no more; a second one, made in Run, says stop now.
type Processor struct {
	store  ProcessorStore
	bus    ProcessorBus
	models Models
	config ProcessorConfig
	// registration is the heartbeat's current one: under it chats are claimed.
	registration func() *Registration

	slots    *Slots
	suspects *Slots

	stop     context.Context // ends with CauseShutdown when running turns have to be yielded
	stopNow  context.CancelCauseFunc
	final    context.Context // ends when the final writes have had their time
	finalEnd context.CancelFunc

	draining atomic.Bool
	// begun are the turns that Open began, which no delivery waits for.
	begun sync.WaitGroup

	mu       sync.Mutex
	taking   bool // Run has begun and goes on
	runs     map[ID]*run
	claiming map[ID]int
	differs  map[Number]Owned // what Repair saw differ on the beat before
	ended    map[WorkerID]chan struct{}
}

// ProcessorStore is the store as the processor needs it.
type ProcessorStore interface {
	Runs
	Opens
	Get(ctx context.Context, id ID) (Chat, error)
}

// ProcessorBus is the bus as the processor needs it.
type ProcessorBus interface {
	Announcer
	Ring(id ID, begun bool)
	LastPartial(ctx context.Context, id ID) (Partial, bool, error)
}

// Models finds a model by its name, provider/model. Its errors are *ModelError.
type Models interface {
	Resolve(name string) (Model, string, error)
}

// ProcessorConfig has the processor's settings. Zero values of Slots and Budget mean the defaults of CONTRACT.
type ProcessorConfig struct {
	Slots     int
	Timing    Timing
	Budget    Budget
	MaxTokens int
	Tools     []ToolFunc
	Logger    *slog.Logger
	Hooks     Hooks
}

// Hooks are told what happens, for metrics. Any may be nil.
type Hooks struct {
	Transition func(t Transition, elapsed time.Duration, err error)
	// QueueWait is the time from accepting a message to the claim that answers it, by the database's clock.
	QueueWait func(time.Duration)
	// ModelCall is told of every call's outcome: ok, a code of ModelError, or a cause; first is zero when no token came.
	ModelCall func(outcome string, first, elapsed time.Duration, u Usage)
	// Yielded is told why a chat was given back; nil says that a beat found it with nobody behind it.
	Yielded func(cause error)
	Fenced  func(t Transition)
}

// DefaultSlots and DefaultBudget are used for zero values.
const DefaultSlots = 1000

// DefaultBudget caps what is loaded and sent of a history.
func DefaultBudget() Budget { return Budget{Messages: 1000, Bytes: 1 << 20} }

// NewProcessor makes a processor that claims under the registration that current returns.
func NewProcessor(store ProcessorStore, bus ProcessorBus, models Models, config ProcessorConfig) *Processor {
	if config.Slots == 0 {
		config.Slots = DefaultSlots
	}
	if config.Budget == (Budget{}) {
		config.Budget = DefaultBudget()
	}
	p := &Processor{
		store: store, bus: bus, models: models, config: config,
		registration: func() *Registration { return nil },
		slots:        NewSlots(config.Slots), suspects: NewSlots(SuspectSlots),
		runs: map[ID]*run{}, claiming: map[ID]int{}, differs: map[Number]Owned{}, ended: map[WorkerID]chan struct{}{},
	}
	p.stop, p.stopNow = context.WithCancelCause(context.Background())
	p.final, p.finalEnd = context.WithCancel(context.Background()) //nolint:gosec // a timer of Run calls it, in a shutdown that takes long
	return p
}

// ClaimUnder says where the registration comes from. It is called once, before Run.
func (p *Processor) ClaimUnder(current func() *Registration) { p.registration = current }

// Slots are the replica's, for the bus to reserve before it fetches.
func (p *Processor) Slots() *Slots { return p.slots }

// Finals ends when a shutdown's final writes have had their time, also when they did not need all of it.
func (p *Processor) Finals() context.Context { return p.final }

// Load is how many chats run, how many are suspects, and how many may run.
func (p *Processor) Load() (running, suspects, slots int) {
	p.mu.Lock()
	running = len(p.runs)
	p.mu.Unlock()
	return running, SuspectSlots - p.suspects.Free(), p.slots.Total()
}

// Run takes chats with deliver until ctx ends, and returns when no run is left. deliver returns when its context has ended and every
// handler it started is done.
//
// When ctx ends, running turns go on for Timing.Drain at most, or until hurry is closed; then they are cancelled with CauseShutdown and
// yielded.
func (p *Processor) Run(ctx context.Context, hurry <-chan struct{}, deliver func(ctx context.Context) error) error {
	defer p.stopNow(CauseShutdown)
	p.take(true)
	delivered := make(chan error, 1)
	go func() {
		err := deliver(ctx)
		p.take(false)
		p.begun.Wait()
		delivered <- err
	}()
	select {
	case err := <-delivered:
		return err
	case <-ctx.Done():
		p.draining.Store(true)
		p.take(false)
	}
	limit := time.NewTimer(p.config.Timing.Drain)
	defer limit.Stop()
	select {
	case err := <-delivered:
		return err
	case <-limit.C:
	case <-hurry:
	}
	running, _, _ := p.Load()
	p.config.Logger.Info("drain time is over, handing off", "running", running)
	p.stopNow(CauseShutdown)
	time.AfterFunc(p.config.Timing.Finalize, p.finalEnd)
	return <-delivered
}

// Verdict is what becomes of a delivery.
type Verdict struct {
	// Ack drops the dispatch; otherwise it comes again after Delay.
	Ack   bool
	Delay time.Duration
}

// Handle claims a chat and runs it to its end. settle is called exactly once, as soon as the claim is decided; from then on the lease in
// Postgres is the one truth about who owns the chat.
func (p *Processor) Handle(ctx context.Context, id ID, settle func(Verdict)) {
	reg := p.registration()
	if reg == nil || !reg.Entitled(p.config.Timing) || ctx.Err() != nil {
		settle(Verdict{Delay: jitter(p.config.Timing.SuspectDelay)})
		return
	}
	p.mark(id, 1) // until the run is known, so that no beat takes the chat for one that nobody runs
	known := sync.OnceFunc(func() { p.mark(id, -1) })
	defer known()
	claimed, suspect, err := p.claim(reg, id)
	switch {
	case errors.Is(err, ErrNothingToDo):
		settle(Verdict{Ack: true})
		return
	case err != nil:
		if !errors.Is(err, ErrSuspect) && !errors.Is(err, ErrNotEntitled) {
			p.config.Logger.Warn("claim failed", "chat", id, "worker", reg.ID, "err", err)
		}
		settle(Verdict{Delay: jitter(p.config.Timing.SuspectDelay)})
		return
	}
	settle(Verdict{Ack: true})
	if suspect {
		defer p.suspects.Release(1)
	}
	p.bus.Announce(Outcome{Changed: true, Chat: claimed.Chat}.Events("claimed")...)
	p.execute(reg, claimed, known)
}

// claim claims. A suspect chat is claimed a second time with one of the few suspect slots, so that a chat that kills its worker can't take many
// neighbours with it.
func (p *Processor) claim(reg *Registration, id ID) (c Claimed, suspect bool, err error) {
	try := func(suspects bool) error {
		ctx, cancel := context.WithTimeout(reg.ctx, p.config.Timing.AckWait)
		defer cancel()
		start := time.Now()
		c, err = p.store.Claim(ctx, id, reg.ID, suspects, p.config.Budget)
		p.observe(Claim, start, err)
		return err
	}
	if err = try(false); errors.Is(err, ErrSuspect) && p.suspects.Try() {
		if err = try(true); err != nil {
			p.suspects.Release(1)
			return c, false, err
		}
		return c, true, nil
	}
	return c, false, err
}

func (p *Processor) mark(id ID, by int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.claiming[id] += by; p.claiming[id] == 0 {
		delete(p.claiming, id)
	}
}

func (p *Processor) observe(t Transition, start time.Time, err error) {
	if h := p.config.Hooks.Transition; h != nil {
		h(t, time.Since(start), err)
	}
	if h := p.config.Hooks.Fenced; h != nil && errors.Is(err, ErrFenced) {
		h(t)
	}
}
