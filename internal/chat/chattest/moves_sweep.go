package chattest

import (
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"processor/internal/chat"
)

func (g *game) sweep() {
	p := pass()
	if rapid.Bool().Draw(g.T, "probed") {
		p.Gone = []chat.WorkerID{g.worker()}
	}
	if rapid.Bool().Draw(g.T, "may judge by age") {
		p.LostAfter = lostAfter
	}
	if len(g.players) == 1 {
		// Which chats a small batch takes first is the store's own affair.
		p.Batch = rapid.SampledFrom([]int{100, 1, 2}).Draw(g.T, "batch")
	}
	g.sweeps(p)
}

func (g *game) sweeps(pass chat.Pass) {
	g.move(fmt.Sprintf("sweep %+v", pass), func(p *player) view {
		r, err := p.Sweep(p.ctx, pass)
		if err != nil {
			return failed(err)
		}
		all := make([]chat.Outcome, len(r.Recovered))
		notes := []string{fmt.Sprint("held ", r.Held, ", more ", r.More, ", unowned ", r.Unowned)}
		for i, rec := range r.Recovered {
			all[i] = rec.Outcome
			notes = append(notes, fmt.Sprint("recovered ", rec.Chat.ID, rec.Worker, rec.Cause, rec.Charged))
		}
		for _, s := range r.Stale {
			notes = append(notes, fmt.Sprint("stale ", s.Chat, p.numbers[s.Number], s.Begun))
		}
		for _, l := range r.Lost {
			notes = append(notes, fmt.Sprint("lost ", l.ID, l.Cause, l.Age/time.Minute))
		}
		for _, s := range r.Suspects {
			notes = append(notes, fmt.Sprint("suspect ", s.ID, s.Age/time.Minute))
		}
		slices.Sort(notes)
		v := p.outcomes(all)
		v.Other, v.Swept = []any{v.Other, notes}, true
		return v
	})
}

// die lets a new worker claim a chat, and its process be found gone.
func (g *game) die() { g.dies(g.pending()) }

func (g *game) dies(id chat.ID) {
	w := chat.WorkerID(g.fresh("victim-"))
	g.move("register "+string(w), func(p *player) view { return p.register(w) })
	g.claims(id, w, true, roomy())
	if rapid.IntRange(0, 5).Draw(g.T, "interrupted") == 5 {
		g.move("interrupt "+string(id), func(p *player) view { return p.outcome(p.Interrupt(p.ctx, id, 0, nil)) })
	}
	g.pass(2*SuspectAfter + 300*time.Millisecond)
	p := pass()
	p.Gone = []chat.WorkerID{w}
	g.sweeps(p)
}

// poison kills the owners of a chat until it is parked.
func (g *game) poison() {
	id := g.pending()
	for range chat.ParkAt {
		g.dies(id)
	}
}

func (g *game) dispatched() {
	kind := rapid.IntRange(0, 2).Draw(g.T, "published, present or anew")
	id := g.chat()
	g.move(fmt.Sprintf("dispatched %s %d", id, kind), func(p *player) view {
		var err error
		n := p.number(id)
		switch kind {
		case 0:
			err = p.Dispatched(p.ctx, []chat.Number{n}, nil, time.Minute, longest)
		case 1:
			err = p.Dispatched(p.ctx, nil, []chat.Number{n}, time.Minute, longest)
		default:
			err = p.Anew(p.ctx)
		}
		if err != nil {
			return failed(err)
		}
		return view{}
	})
}

func (p *player) number(id chat.ID) chat.Number {
	c, _ := p.rows.Chat(id)
	return c.Chat.Number
}

func (g *game) prune() {
	retain := rapid.SampledFrom([]time.Duration{0, 30 * time.Minute, 100 * time.Hour}).Draw(g.T, "retain")
	g.move(fmt.Sprintf("prune %s", retain), func(p *player) view {
		ids, err := p.Prune(p.ctx, retain, 100)
		if err != nil {
			return failed(err)
		}
		slices.Sort(ids)
		return view{Other: ids}
	})
}

// read asks for one chat in every way.
func (g *game) read() {
	id, skip, limit := g.chat(), rapid.IntRange(0, 5).Draw(g.T, "skip"), rapid.IntRange(1, 5).Draw(g.T, "limit")
	g.move(fmt.Sprintf("snapshot of %s, %d messages after the first %d", id, limit, skip), func(p *player) view {
		var after int64
		if all := p.rows.History(p.number(id)); skip > 0 && len(all) > 0 {
			after = *all[min(skip, len(all))-1].ID
		}
		snap, err := p.Snapshot(p.ctx, id, after, limit)
		if err != nil {
			return failed(err)
		}
		c, err := p.Get(p.ctx, id)
		if err != nil {
			return failed(err)
		}
		return view{Chats: []chat.Chat{snap.Chat, c}, Messages: snap.Messages, Other: p.ids[snap.Next]}
	})
}

// list asks for everything that is not about one chat.
func (g *game) list() {
	f := chat.Filter{Tenant: rapid.SampledFrom([]string{"", "t"}).Draw(g.T, "tenant"), Limit: rapid.IntRange(1, 4).Draw(g.T, "limit")}
	f.Status = rapid.SampledFrom(append(chat.Statuses(), "")).Draw(g.T, "status")
	before, w := rapid.SampledFrom([]chat.ID{"", "a", "b", "c"}).Draw(g.T, "before"), g.worker()
	g.move(fmt.Sprintf("list %+v before %s, owned by %s", f, before, w), func(p *player) view {
		f := f
		f.Before = p.number(before)
		chats, err := p.List(p.ctx, f)
		if err != nil {
			return failed(err)
		}
		owned, err := p.Owned(p.ctx, w)
		if err != nil {
			return failed(err)
		}
		workers, err := p.Workers(p.ctx)
		if err != nil {
			return failed(err)
		}
		notes := p.owned(owned)
		for _, w := range workers {
			notes = append(notes, fmt.Sprint(w.ID, w.Status, w.Running, w.Draining, w.HeartbeatAge/60000))
		}
		slices.Sort(notes)
		return view{Chats: chats, Other: notes}
	})
}
