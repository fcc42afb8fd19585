package main

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// faultKind says what a fault does.
type faultKind string

const (
	killReplica     faultKind = "kill -9"
	endReplica      faultKind = "SIGTERM"
	freezeReplica   faultKind = "SIGSTOP"
	freezeForLong   faultKind = "SIGSTOP past the lease"
	restartNATS     faultKind = "restart NATS"
	haltNATS        faultKind = "NATS away"
	wipeNATS        faultKind = "wipe NATS"
	deleteStream    faultKind = "delete stream CHATS"
	restartPostgres faultKind = "restart Postgres at once"
	haltPostgres    faultKind = "Postgres away"
	cutLink         faultKind = "cut"
	refuseLink      faultKind = "cut and refuse"
	stallLink       faultKind = "stall"
	slowLink        faultKind = "slow"
	loseReply       faultKind = "lose a reply"
	loseAnswer      faultKind = "lose an answer to a client"
	modelBusy       faultKind = "provider says 429"
	modelBroken     faultKind = "provider says 500"
	modelResets     faultKind = "provider resets"
	modelRefuses    faultKind = "provider says 401"
	modelGarbles    faultKind = "provider says garbage"
	modelSilent     faultKind = "provider is silent"
	modelSlow       faultKind = "provider is slow"
)

// fault is one line of a plan.
type fault struct {
	At     time.Duration
	Kind   faultKind
	Target string
	// For is how long it lasts; of a killed replica, until its successor starts.
	For time.Duration
}

func (f fault) String() string {
	line := fmt.Sprintf("%7.1fs  %-24s %s", f.At.Seconds(), f.Kind, f.Target)
	if f.For > 0 {
		line = fmt.Sprintf("%-48s for %s", line, f.For)
	}
	return line
}

// plan is a list of faults by time. The same seed and length make the same plan; when exactly each fault strikes what is under way differs
// from run to run.
type plan []fault

func (p plan) String() string {
	var b strings.Builder
	for _, f := range p {
		fmt.Fprintln(&b, f)
	}
	return b.String()
}

// card is a fault that may be drawn.
type card struct {
	kind        faultKind
	targets     []string
	least, most time.Duration
}

func chaosSlots() []string { return []string{"a", "b", "c"} }

func linkOf(slot, server string) string { return slot + "-" + server }

// chaosLinks are the connections on which a proxy stands.
func chaosLinks(servers ...string) []string {
	var all []string
	for _, slot := range chaosSlots() {
		for _, server := range servers {
			all = append(all, linkOf(slot, server))
		}
	}
	return all
}

func deck(lostAfter time.Duration) []card {
	const ms = time.Millisecond
	replicas := chaosSlots()
	clients := append(chaosLinks("http"), "senders-nats")
	links := slices.Concat(chaosLinks("postgres", "nats", "provider"), clients, []string{"watchers-nats"})
	postgres, http := chaosLinks("postgres"), chaosLinks("http")
	nats, pg, model := []string{"nats"}, []string{"postgres"}, []string{"provider"}
	return []card{
		{killReplica, replicas, 100 * ms, 1500 * ms}, {killReplica, replicas, 100 * ms, 1500 * ms},
		{endReplica, replicas, 0, 0}, {endReplica, replicas, 0, 0},
		{freezeReplica, replicas, 500 * ms, 3 * time.Second},
		{freezeForLong, replicas, lostAfter + 1500*ms, lostAfter + 3*time.Second},
		{restartNATS, nats, 0, 0}, {haltNATS, nats, 500 * ms, 3 * time.Second}, {wipeNATS, nats, 0, 0}, {deleteStream, nats, 0, 0},
		{restartPostgres, pg, 0, 0}, {haltPostgres, pg, 500 * ms, 3 * time.Second},
		{cutLink, links, 0, 0}, {cutLink, postgres, 0, 0}, {refuseLink, links, 500 * ms, 2500 * ms},
		{stallLink, links, 500 * ms, 4 * time.Second}, {stallLink, postgres, 500 * ms, 4 * time.Second},
		{slowLink, links, time.Second, 3 * time.Second}, {loseReply, postgres, 0, 0}, {loseReply, postgres, 0, 0},
		{cutLink, http, 0, 0}, {stallLink, http, 500 * ms, 4 * time.Second}, {loseAnswer, clients, 0, 0}, {loseAnswer, clients, 0, 0},
		{modelBusy, model, time.Second, 2 * time.Second}, {modelBroken, model, time.Second, 2 * time.Second},
		{modelRefuses, model, time.Second, 2 * time.Second},
		{modelResets, model, time.Second, 2 * time.Second}, {modelGarbles, model, time.Second, 2 * time.Second},
		{modelSilent, model, time.Second, 2 * time.Second}, {modelSlow, model, time.Second, 3 * time.Second},
	}
}

// makePlan draws faults from a shuffled deck, which is shuffled again when it is empty, about one each pace, until length. What is struck
// already is left alone until that is over.
func makePlan(seed uint64, length, pace, lostAfter time.Duration) plan {
	random := rand.New(rand.NewPCG(seed, 1))
	busy := map[string]time.Duration{}
	var p plan
	var cards []card
	for at := pace; at < length; at += pace/2 + upTo(random, pace) {
		at = at.Round(100 * time.Millisecond)
		if len(cards) == 0 {
			cards = deck(lostAfter)
			random.Shuffle(len(cards), func(i, j int) { cards[i], cards[j] = cards[j], cards[i] })
			// What takes longest comes first, or a short plan has no room for it.
			slices.SortStableFunc(cards, func(a, b card) int { return cmp.Compare(b.most/(5*time.Second), a.most/(5*time.Second)) })
		}
		c := cards[0]
		cards = cards[1:]
		targets := slices.Clone(c.targets)
		random.Shuffle(len(targets), func(i, j int) { targets[i], targets[j] = targets[j], targets[i] })
		lasts := c.least
		if c.most > c.least {
			lasts += upTo(random, c.most-c.least).Round(100 * time.Millisecond)
		}
		free := slices.IndexFunc(targets, func(name string) bool { return busy[name] <= at })
		if free < 0 || at+lasts > length {
			continue
		}
		busy[targets[free]] = at + lasts + 300*time.Millisecond
		p = append(p, fault{At: at, Kind: c.kind, Target: targets[free], For: lasts})
	}
	return p
}

func TestAPlanIsItsSeeds(t *testing.T) {
	t.Parallel()
	const length = 90 * time.Second
	one, again, other := makePlan(1, length, time.Second, 6*time.Second), makePlan(1, length, time.Second, 6*time.Second), makePlan(2, length, time.Second, 6*time.Second)
	if one.String() != again.String() {
		t.Error("one seed made two plans")
	}
	if one.String() == other.String() {
		t.Error("two seeds made one plan")
	}
	kinds := map[faultKind]bool{}
	for _, f := range one {
		kinds[f.Kind] = true
		if f.At+f.For > length {
			t.Errorf("it ends after the plan: %s", f)
		}
	}
	for _, c := range deck(6 * time.Second) {
		if !kinds[c.kind] {
			t.Errorf("%s have no %s", length, c.kind)
		}
	}
}

// upTo is a duration from nothing to below most.
func upTo(dice *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(dice.Int64N(int64(most)))
}
