package main

import (
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"processor/internal/chat"
)

// chaos is what to run: the short one of `make test`, or that of `make chaos`.
type chaos struct {
	seed     uint64
	length   time.Duration
	pace     time.Duration // mean time between faults
	size     crowdSize
	plan     plan
	sabotage string
	// quiet bounds how long everything may take to come to rest.
	quiet time.Duration
}

// shortChaos is about 20 s of faults under a small load.
func shortChaos(seed uint64) chaos {
	c := chaos{seed: seed, length: 20 * time.Second, pace: 800 * time.Millisecond, size: crowdSize{3, 1, 1, 2, 4}, quiet: 40 * time.Second}
	c.plan = makePlan(seed, c.length, c.pace, chaosTiming().LostAfter)
	return c
}

// chosenChaos is the one that `make chaos` asks for by its variables.
func chosenChaos(t *testing.T) (c chaos, chosen bool) {
	t.Helper()
	length, err := time.ParseDuration(os.Getenv("CHAOS_DURATION"))
	if err != nil {
		return shortChaos(rand.Uint64N(1_000_000)), false
	}
	seed, err := strconv.ParseUint(os.Getenv("CHAOS_SEED"), 10, 64)
	if err != nil {
		seed = rand.Uint64N(1_000_000)
	}
	c = chaos{seed: seed, length: length, pace: 1200 * time.Millisecond, size: crowdSize{6, 2, 2, 5, 8}, quiet: 2 * time.Minute}
	c.plan = makePlan(seed, length, c.pace, chaosTiming().LostAfter)
	return c, true
}

// TestChaos strikes a deployment with everything that can happen to one, one fault after another and several at once, while clients talk, and then
// judges all that clients saw and Postgres holds.
func TestChaos(t *testing.T) {
	t.Parallel()
	c, _ := chosenChaos(t)
	t.Logf("seed %d makes this plan; it strikes again with make chaos DURATION=%s SEED=%d, but not at the same moments of the clients'\n%s",
		c.seed, c.length, c.seed, c.plan)
	h := c.run(t)
	requests, messages := h.online()
	if requests == 0 || messages == 0 {
		t.Error("nothing went over HTTP")
	}
	if len(h.cuts()) == 0 {
		t.Error("nothing was cut off")
	}
	t.Logf("over HTTP %d requests were accepted, and pages showed %d messages", requests, messages)
	report(t, h, verdict(h))
}

// run carries a plan out and returns what came of it.
func (c chaos) run(t *testing.T) history {
	t.Helper()
	a := newArena(t, c.seed, c.sabotage)
	people := a.newCrowd(c.size)
	a.strike(c.plan)
	a.idle(c.length)
	close(people.stop)
	a.heal()
	people.work.Wait()
	began := time.Now()
	rests := a.rest(c.quiet)
	t.Logf("at rest %s after everything was healed at %s: %t", time.Since(began).Round(time.Millisecond), began.Format("15:04:05.000"), rests)
	if !a.poll(patience, a.settled) {
		t.Error("not all watchers have seen everything")
	}
	close(people.leave)
	people.audience.Wait()
	a.poll(patience, func() bool {
		return !slices.ContainsFunc(chaosSlots(), func(name string) bool { return !a.slots[name].drained() })
	})
	h := a.history()
	a.summarize(h)
	return h
}

// idle waits for the rest of a run's time.
func (a *arena) idle(length time.Duration) {
	select {
	case <-time.After(time.Until(a.started.Add(length))):
	case <-a.over:
	}
}

// summarize says how much happened, so that a run that proves little is seen to.
func (a *arena) summarize(h history) {
	a.t.Helper()
	results, finishes, faults := map[result]int{}, map[chat.Finish]int{}, 0
	for _, r := range h.Requests {
		results[r.Result]++
	}
	for _, m := range h.Rows.Messages {
		if m.Message.Ends() {
			finishes[m.Message.Finish]++
		}
	}
	for _, n := range a.struck {
		faults += n
	}
	if n := len(h.Moves); n > 0 {
		a.t.Logf("the last to rest was chat %s, at %s", h.Moves[n-1].Chat, h.Moves[n-1].At.Format("15:04:05.000"))
	}
	cuts, away := h.cuts(), 0
	for _, n := range cuts {
		away += n
	}
	a.t.Logf("%d truncations, of chats that were %v", away, cuts)
	a.t.Logf("%d faults %v; %d chats, %d messages, turns ended %v; requests %v; %d model calls; %d changes of rows; %d watches; %d processes, %d workers lost",
		faults, a.struck, len(h.Rows.Chats), len(h.Rows.Messages), finishes, results, len(h.Calls), len(h.Moves), len(h.Watches), len(h.Lives), len(h.Losses))
}

// cuts counts the truncations, by what the chats were doing.
func (h history) cuts() map[chat.Status]int {
	counts := map[chat.Status]int{}
	for _, story := range chronicles(h.Moves, h.Entries) {
		for i, c := range story {
			if _, is := c.cut(); is && i > 0 {
				counts[story[:i].status()]++
			}
		}
	}
	return counts
}

// report fails the test with every violation, and tells the history of the first few chats in which there are any.
func report(t *testing.T, h history, found []violation) {
	t.Helper()
	var told []chat.ID
	for _, v := range found {
		t.Error(v)
		if v.Chat == "" || slices.Contains(told, v.Chat) || len(told) == 5 {
			continue
		}
		told = append(told, v.Chat)
		t.Logf("the history of chat %s:\n%s", v.Chat, h.describe(v.Chat))
	}
	if len(found) > 0 {
		t.Logf("replicas: %+v", h.Lives)
		t.Logf("troubles: %+v", h.Troubles)
	}
}

func natsConn(url string) (*nats.Conn, error) { return nats.Connect(url) }
