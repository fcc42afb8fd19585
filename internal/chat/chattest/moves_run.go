package chattest

import (
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"processor/internal/chat"
)

func (g *game) claim() {
	id, w, suspects := g.pending(), g.worker(), rapid.Bool().Draw(g.T, "suspects")
	b := chat.Budget{Messages: rapid.SampledFrom([]int{1, 3, 1000}).Draw(g.T, "history"), Bytes: 1 << 20}
	g.claims(id, w, suspects, b)
}

func (g *game) claims(id chat.ID, w chat.WorkerID, suspects bool, b chat.Budget) {
	g.move(fmt.Sprintf("claim %s by %s, suspects %t, %+v", id, w, suspects, b), func(p *player) view {
		c, err := p.Claim(p.ctx, id, w, suspects, b)
		if err != nil {
			return failed(err)
		}
		p.leases = append(p.leases, leaseOf(c.Chat, w))
		return view{Chats: []chat.Chat{c.Chat}, Messages: c.History}
	})
}

// owner makes a move under a lease that is still good, if there is one.
func (g *game) owner(what string, do func(*player, chat.Lease) (chat.Outcome, error)) {
	if i, ok := g.held(); ok {
		g.under(i, what, do)
	}
}

func (g *game) under(i int, what string, do func(*player, chat.Lease) (chat.Outcome, error)) {
	g.move(fmt.Sprintf("%s under lease %d %+v", what, i, g.players[0].leases[i]), func(p *player) view {
		l := p.leases[i]
		c, ok := p.rows.Chat(l.Chat)
		v := p.outcome(do(p, l))
		v.Fenced = !ok || !guard(c.Chat, l)
		return v
	})
}

func backoff(p *player, l chat.Lease) (chat.Outcome, error) {
	return p.Backoff(p.ctx, l, 3*time.Minute, chat.TurnError{Code: "rate_limited", Message: "slow down"})
}

func commit(p *player, l chat.Lease) (chat.Outcome, error) {
	return p.Commit(p.ctx, l, answer("step"))
}

func call(p *player, l chat.Lease) (chat.Outcome, error) {
	return p.Commit(p.ctx, l, calling(fmt.Sprintf("call-%d-%d", l.Turn, l.Step)))
}

func finish(p *player, l chat.Lease) (chat.Outcome, error) {
	return p.Finish(p.ctx, l, append(p.closing(l), final("done")...))
}

func fail(p *player, l chat.Lease) (chat.Outcome, error) {
	return p.Fail(p.ctx, l, append(p.closing(l), failure()...))
}

func yield(p *player, l chat.Lease) (chat.Outcome, error) { return p.Yield(p.ctx, l) }

// closing are the results that an owner adds for calls that the turn leaves open.
func (p *player) closing(l chat.Lease) []chat.Message {
	turn := slices.DeleteFunc(p.rows.History(l.Number), func(m chat.Message) bool { return m.Turn != l.Turn })
	return chat.CloseCalls(turn)
}

func (g *game) backoff() { g.owner("backoff", backoff) }
func (g *game) commit()  { g.owner("commit", commit) }
func (g *game) call()    { g.owner("call", call) }
func (g *game) finish()  { g.owner("finish", finish) }
func (g *game) fail()    { g.owner("fail", fail) }
func (g *game) yield()   { g.owner("yield", yield) }

// late makes a move under a lease that may be long gone, or repeats one whose reply was lost.
func (g *game) late() {
	if i, ok := g.lease(); ok {
		g.lates(i)
	}
}

func (g *game) lates(i int) {
	moves := map[string]func(*player, chat.Lease) (chat.Outcome, error){
		"backoff": backoff, "commit": commit, "call": call, "finish": finish, "fail": fail, "yield": yield,
	}
	name := rapid.SampledFrom([]string{"backoff", "commit", "call", "finish", "fail", "yield"}).Draw(g.T, "late move")
	g.under(i, "late "+name, moves[name])
}

// zombie makes a late move under a lease whose chat went on in another epoch of the same owner: nothing but the epoch tells them apart.
func (g *game) zombie() {
	i, ok := g.held()
	if !ok {
		return
	}
	l := g.players[0].leases[i]
	if rapid.Bool().Draw(g.T, "by a retry of the model call") {
		g.under(i, "backoff", backoff)
	} else {
		g.under(i, "yield", yield)
		g.claims(l.Chat, l.Worker, true, roomy())
	}
	g.lates(i)
}

func (g *game) register() {
	id := chat.WorkerID(g.fresh("w"))
	g.move("register "+string(id), func(p *player) view { return p.register(id) })
}

func (g *game) beat() {
	g.beats(g.worker(), rapid.IntRange(0, 9).Draw(g.T, "draining") == 9)
}

func (g *game) beats(id chat.WorkerID, draining bool) {
	g.move(fmt.Sprintf("beat %s, draining %t", id, draining), func(p *player) view {
		b, err := p.Beat(p.ctx, id, 3, draining)
		if err != nil {
			return failed(err)
		}
		if b.Lost {
			return view{Other: "lost"}
		}
		return view{Other: fmt.Sprint(b.Count, b.Sum-p.sum(id), p.owned(b.Interrupted))}
	})
}

// sum is the fingerprint of a worker's chats as the rows say it.
func (p *player) sum(id chat.WorkerID) int64 {
	var sum int64
	for _, c := range p.rows.Chats {
		if c.Chat.Worker != nil && *c.Chat.Worker == id {
			sum += int64(c.Chat.Number) * c.Chat.Epoch
		}
	}
	return sum
}

func (p *player) owned(all []chat.Owned) []string {
	var out []string
	for _, o := range all {
		out = append(out, fmt.Sprint(o.Chat, p.numbers[o.Number], o.Epoch, o.Turn, o.Step, o.Interrupted))
	}
	slices.Sort(out)
	return out
}

func (g *game) release() {
	id := g.worker()
	g.move("release "+string(id), func(p *player) view {
		all, err := p.Release(p.ctx, id)
		if err != nil {
			return failed(err)
		}
		return p.outcomes(all)
	})
}

// outcomes is the view of many transitions, in the order of the chats' ids.
func (p *player) outcomes(all []chat.Outcome) view {
	slices.SortFunc(all, func(a, b chat.Outcome) int { return int(a.Chat.Number - b.Chat.Number) })
	var v view
	var notes []string
	for _, o := range all {
		v.Chats = append(v.Chats, o.Chat)
		v.Messages = append(v.Messages, o.Messages...)
		notes = append(notes, fmt.Sprint(o.Chat.ID, o.Changed, o.From, o.Removed))
	}
	v.Other = notes
	return v
}

func (g *game) unregister() {
	id := g.worker()
	g.move("unregister "+string(id), func(p *player) view {
		if err := p.Unregister(p.ctx, id); err != nil {
			return failed(err)
		}
		return view{}
	})
}
