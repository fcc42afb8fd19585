package main

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"processor/internal/bus"
	"processor/internal/chat"
	"processor/internal/chat/llm/llmtest"
	"processor/internal/local"
	"processor/internal/local/faultproxy"
	"processor/internal/local/localtest"
	"processor/internal/store"
)

// arena is where a run takes place: servers, proxies before them, replicas, and the ledger of what happens.
type arena struct {
	*ledger
	t        *testing.T
	ctx      context.Context
	seed     uint64
	timing   chat.Timing
	dir      string // of the replicas' logs
	pg       *local.Postgres
	nats     *local.NATS
	provider *llmtest.Provider
	mood     atomic.Pointer[fault]
	links    map[string]*faultproxy.Proxy
	urls     map[string]string
	slots    map[string]*slot
	// store and bus lead to the servers directly, whatever is struck.
	store *store.Store
	bus   *bus.Bus
	// over is closed when the faults are over: everything heals.
	over    chan struct{}
	faults  sync.WaitGroup
	struck  map[faultKind]int
	flags   []string
	started time.Time
}

// chaosTiming is the default with a shorter lease, or no short run could outlast one, and less patience with providers.
func chaosTiming() chat.Timing {
	t := chat.DefaultTiming()
	t.LostAfter, t.Drain, t.Finalize = 6*time.Second, 2*time.Second, 3*time.Second
	t.FirstToken, t.Token, t.ModelAttempts = 3*time.Second, 3*time.Second, 4
	t.Compare = 2 * time.Second
	return t
}

func chaosFlags(t chat.Timing) []string {
	return []string{
		"--lost-after", t.LostAfter.String(), "--drain-timeout", t.Drain.String(), "--finalize-timeout", t.Finalize.String(),
		"--first-token-timeout", t.FirstToken.String(), "--token-timeout", t.Token.String(), "--model-attempts", "4",
	}
}

// newArena starts the servers, three replicas, and nothing else. sabotage is SQL that breaks a rule on purpose.
func newArena(t *testing.T, seed uint64, sabotage string) *arena {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	a := &arena{
		ledger: &ledger{}, t: t, ctx: ctx, seed: seed, timing: chaosTiming(), links: map[string]*faultproxy.Proxy{}, urls: map[string]string{},
		slots: map[string]*slot{}, over: make(chan struct{}), struck: map[faultKind]int{},
	}
	a.flags = chaosFlags(a.timing)
	t.Cleanup(cancel)
	a.dir = a.logs()
	a.pg, a.nats, a.provider = suite.OwnPostgres(t), localtest.NATS(t), llmtest.New(t)
	a.provider.Answer, a.provider.Keep = a.answer, 1<<20
	a.sql(auditSQL)
	a.sql(sabotage)
	var err error
	a.store, err = store.Open(ctx, store.Config{URL: a.pg.URL(), Pool: 4, Name: "chaos"})
	a.must(err)
	t.Cleanup(a.store.Close)
	a.bus = a.client(a.nats.URL(), "chaos")
	for _, name := range chaosSlots() {
		a.link(linkOf(name, "postgres"), a.pg.URL())
		a.link(linkOf(name, "nats"), a.nats.URL())
		a.link(linkOf(name, "provider"), a.provider.OpenAIURL())
		a.link(linkOf(name, "http"), "http://") // to whichever process is the newest of the slot
	}
	a.link("senders-nats", a.nats.URL())
	a.link("watchers-nats", a.nats.URL())
	for _, name := range chaosSlots() {
		a.slots[name] = &slot{arena: a, name: name}
		a.slots[name].spawn()
	}
	t.Cleanup(a.end)
	a.await("three replicas", func() bool { return a.live() == len(a.slots) })
	a.started = time.Now()
	return a
}

func (a *arena) must(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

// logs is a folder that stays when the test fails.
func (a *arena) logs() string {
	a.t.Helper()
	dir, err := os.MkdirTemp("", "processor-chaos-")
	a.must(err)
	a.t.Cleanup(func() {
		if a.t.Failed() {
			a.t.Logf("the logs of the replicas are in %s", dir)
			return
		}
		_ = os.RemoveAll(dir) // a leftover in the system's folder for such harms nobody
	})
	return dir
}

func (a *arena) sql(statement string) {
	a.t.Helper()
	conn, err := pgx.Connect(a.ctx, a.pg.URL())
	a.must(err)
	defer conn.Close(a.ctx)
	_, err = conn.Exec(a.ctx, statement)
	a.must(err)
}

func (a *arena) client(url, name string) *bus.Bus {
	a.t.Helper()
	b, err := bus.Connect(a.ctx, bus.Config{URL: url, Name: name, Logger: quiet()})
	a.must(err)
	a.t.Cleanup(b.Close)
	return b
}

func (a *arena) link(name, server string) {
	a.t.Helper()
	u, err := url.Parse(server)
	a.must(err)
	p, err := faultproxy.Start(u.Host)
	a.must(err)
	a.t.Cleanup(p.Close)
	a.links[name] = p
	a.urls[name], err = p.URL(server)
	a.must(err)
}

// live is how many workers the database takes for alive.
func (a *arena) live() (n int) {
	workers, err := a.store.Workers(a.ctx)
	if err != nil {
		return 0
	}
	for _, w := range workers {
		if w.Status == chat.WorkerLive && !w.Draining {
			n++
		}
	}
	return n
}

// await polls; false says that it was in vain.
func (a *arena) await(what string, holds func() bool) {
	a.t.Helper()
	if !a.poll(patience, holds) {
		a.t.Fatalf("waited %s in vain: %s", patience, what)
	}
}

func (a *arena) poll(limit time.Duration, holds func() bool) bool {
	deadline := time.After(limit)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			return false
		case <-tick.C:
		}
	}
	return true
}

// end kills whatever is left.
func (a *arena) end() {
	for _, s := range a.slots {
		s.end()
	}
}

// lives are all processes that there were.
func (a *arena) lives(registrations []loss) []life {
	var all []life
	for _, name := range chaosSlots() {
		all = append(all, a.slots[name].lives()...)
	}
	for i := range all {
		for _, r := range registrations {
			if r.Cause == "" && r.Name == all[i].Name {
				all[i].Workers = append(all[i].Workers, r.Worker)
			}
		}
	}
	return all
}

// heal ends every fault.
func (a *arena) heal() {
	a.t.Helper()
	close(a.over)
	a.faults.Wait()
	a.mood.Store(nil)
	for _, p := range a.links {
		a.must(p.Heal())
	}
	a.must(a.nats.Start(a.ctx))
	a.must(a.pg.Start(a.ctx))
}

// rest waits until no chat has work, and opens every parked one again whose queue waits behind it. It says whether that came about.
func (a *arena) rest(limit time.Duration) bool {
	quietSince, last := time.Now(), int64(-1)
	return a.poll(limit, func() bool {
		version, busy, parked, err := a.busy()
		if err != nil || busy || version != last {
			quietSince, last = time.Now(), version
			return false
		}
		for _, id := range parked {
			err := a.bus.Call(a.ctx, "chats.retry", chat.ChatRequest{Chat: id}, nil)
			a.asked(request{At: time.Now(), Who: "quiet", Op: "retry", Chat: id, Result: resultOf(err)})
			quietSince = time.Now()
		}
		return time.Since(quietSince) > time.Second // what was on its way has arrived
	})
}

// busy says whether a chat has work, how many changes there were, and which parked chats have a queue.
func (a *arena) busy() (version int64, busy bool, parked []chat.ID, err error) {
	chats, err := a.chats()
	for _, c := range chats {
		version += c.Version
		busy = busy || c.Status == chat.Pending || c.Status == chat.Running
		if c.Status == chat.Parked && c.Queued > 0 {
			parked = append(parked, c.ID)
		}
	}
	return version, busy, parked, err
}

func (a *arena) chats() ([]chat.Chat, error) {
	var all []chat.Chat
	for before := chat.Number(0); ; {
		page, err := a.store.List(a.ctx, chat.Filter{Limit: 5000, Before: before})
		if err != nil || len(page) == 0 {
			slices.Reverse(all)
			return all, err
		}
		all = append(all, page...)
		before = page[len(page)-1].Number
	}
}

// history is everything that was seen, to be judged.
func (a *arena) history() history {
	a.t.Helper()
	conn, err := pgx.Connect(a.ctx, a.pg.URL())
	a.must(err)
	defer conn.Close(a.ctx)
	h := history{LostAfter: a.timing.LostAfter, SuspectAfter: a.timing.SuspectAfter, Calls: a.provider.Calls()}
	workers, err := readWorkers(a.ctx, conn)
	a.must(err)
	for _, w := range workers {
		if w.Cause != "" {
			h.Losses = append(h.Losses, w)
		}
	}
	h.Lives = a.lives(workers)
	h.Moves, err = readMoves(a.ctx, conn)
	a.must(err)
	h.Entries, err = readEntries(a.ctx, conn)
	a.must(err)
	chats, err := a.chats()
	a.must(err)
	h.Rows, err = readRows(a.ctx, conn, chats)
	a.must(err)
	a.mu.Lock()
	defer a.mu.Unlock()
	h.Requests, h.Troubles = slices.Clone(a.requests), slices.Clone(a.troubles)
	for _, w := range a.watches {
		h.Watches = append(h.Watches, *w.watch)
	}
	return h
}

func (a *arena) logOf(name string) string { return filepath.Join(a.dir, name+".log") }
