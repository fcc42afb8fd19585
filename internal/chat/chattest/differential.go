package chattest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"processor/internal/chat"
)

// Differential makes the same random moves on two stores, and compares what they answer and every row after every move: ids modulo
// a renumbering in order, times by their distance from the store's clock. It also checks the invariants of both.
//
// A store on a server is slow, so only every tenth of rapid's checks is played: 10 games, or a tenth of -rapid.checks.
func Differential(t *testing.T, a, b Store) {
	t.Helper()
	const every = 10
	check, found := 0, false
	rapid.Check(t, func(rt *rapid.T) {
		check++
		if check%every != 1 && !found {
			return
		}
		// A game that found something is played again and again, to be made shorter.
		passed := false
		defer func() { found = found || !passed }()
		play(t.Context(), rt, a, b)
		passed = true
	})
}

// Random makes random moves on one store and checks its invariants after every one.
func Random(t *testing.T, s Store) {
	t.Helper()
	rapid.Check(t, func(rt *rapid.T) { play(t.Context(), rt, s) })
}

// play is one sequence, on stores that it empties first.
func play(ctx context.Context, t *rapid.T, stores ...Store) {
	g := &game{T: t}
	for _, s := range stores {
		p := &player{ctx: ctx, Store: s, numbers: map[chat.Number]int{}, ids: map[int64]int{}, ended: map[chat.Number]int{}}
		if err := p.clear(); err != nil {
			t.Fatalf("empty the store: %v", err)
		}
		g.players = append(g.players, p)
	}
	for _, w := range []chat.WorkerID{"w", "x"} {
		g.move("register "+string(w), func(p *player) view { return p.register(w) })
	}
	g.begin()
	for range 2 {
		t.Repeat(g.actions())
	}
}

// game is one sequence of moves on one or more stores in lockstep.
type game struct {
	*rapid.T
	players []*player
	// count makes names that were never used before.
	count int
}

// move makes one move on every store and compares the first store's answer and rows with the others'.
func (g *game) move(what string, do func(*player) view) {
	g.Helper()
	g.Logf("%s", what)
	for _, p := range g.players {
		p.before = p.rows
		p.seen = do(p)
		if err := p.look(); err != nil {
			g.Fatalf("%s: %v", what, err)
		}
		p.name(&p.seen)
	}
	first := g.players[0]
	for _, p := range g.players {
		g.sound(what, p)
	}
	for _, p := range g.players[1:] {
		g.compare(what+": answer (-first +other)", first.seen, p.seen)
		g.compare(what+": rows (-first +other)", first.named(), p.named())
	}
}

func (g *game) compare(what string, first, other any) {
	g.Helper()
	near := cmpopts.EquateApproxTime(tolerance)
	if diff := cmp.Diff(first, other, near, cmpopts.EquateEmpty(), sameJSON()); diff != "" {
		g.Fatalf("%s:\n%s", what, diff)
	}
}

// sound checks the invariants of one store after a move.
func (g *game) sound(what string, p *player) {
	g.Helper()
	errs := []error{CheckInvariants(p.rows)}
	if p.seen.Elapsed == 0 {
		errs = append(errs, CheckStep(p.before, p.rows))
	}
	if p.seen.Swept {
		errs = append(errs, CheckIdle(p.before, p.rows))
	}
	if p.seen.Fenced && !alike(p.before.Chats, p.rows.Chats) {
		errs = append(errs, fmt.Errorf("I2: a lease that is over changed a row:\n%s", cmp.Diff(p.before.Chats, p.rows.Chats)))
	}
	if err := errors.Join(errs...); err != nil {
		g.Fatalf("%s: %v", what, err)
	}
}

// fresh makes a name that was not used in this sequence.
func (g *game) fresh(prefix string) string {
	g.count++
	return fmt.Sprint(prefix, g.count)
}

// chat draws one of a few ids, so that moves meet on the same chats.
func (g *game) chat() chat.ID { return rapid.SampledFrom([]chat.ID{"a", "b", "c"}).Draw(g.T, "chat") }

// worker draws a registered worker.
func (g *game) worker() chat.WorkerID {
	ids := []chat.WorkerID{"nobody"}
	for _, w := range g.players[0].rows.Workers {
		ids = append(ids, w.ID)
	}
	slices.Reverse(ids)
	return rapid.SampledFrom(ids).Draw(g.T, "worker")
}

// lease draws one of the last leases that were given out, the newest and most likely valid one first.
func (g *game) lease() (index int, ok bool) {
	n := len(g.players[0].leases)
	if n == 0 {
		return 0, false
	}
	return n - 1 - rapid.IntRange(0, min(n-1, 5)).Draw(g.T, "lease"), true
}

// pending draws a chat that waits for an owner, or now and then any.
func (g *game) pending() chat.ID {
	var ids []chat.ID
	for _, c := range g.players[0].rows.Chats {
		if c.Chat.Status == chat.Pending {
			ids = append(ids, c.Chat.ID)
		}
	}
	if len(ids) == 0 || rapid.IntRange(0, 5).Draw(g.T, "any") == 5 {
		return g.chat()
	}
	return rapid.SampledFrom(ids).Draw(g.T, "pending")
}

// held draws a lease that the rows still honour.
func (g *game) held() (index int, ok bool) {
	p := g.players[0]
	var live []int
	for i, l := range p.leases {
		if c, found := p.rows.Chat(l.Chat); found && guard(c.Chat, l) {
			live = append(live, i)
		}
	}
	if len(live) == 0 {
		return 0, false
	}
	return rapid.SampledFrom(live).Draw(g.T, "held"), true
}
