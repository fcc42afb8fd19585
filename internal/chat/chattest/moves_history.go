package chattest

import (
	"encoding/json"
	"fmt"

	"pgregory.net/rapid"

	"processor/internal/chat"
)

// exchanges draws turns that were had elsewhere.
func (g *game) exchanges(least int) []chat.Exchange {
	all := make([]chat.Exchange, rapid.IntRange(least, 3).Draw(g.T, "turns"))
	for i := range all {
		all[i] = chat.Exchange{Said: say("said elsewhere"), Answer: say("answered elsewhere"), ClientID: g.fresh("elsewhere-")}
		switch rapid.IntRange(0, 3).Draw(g.T, "one side") {
		case 2:
			all[i].Said = nil
		case 3:
			all[i].Answer = nil
		}
	}
	return all
}

func (g *game) appended() {
	id, all := g.chat(), g.exchanges(1)
	g.move(fmt.Sprintf("append %d turns to %s", len(all), id), func(p *player) view { return p.outcome(p.Append(p.ctx, id, all)) })
}

func (g *game) update() {
	l := chat.Labelling{Chat: g.chat()}
	if rapid.Bool().Draw(g.T, "with title") {
		title := g.fresh("title-")
		l.Title = &title
	}
	if l.Title == nil || rapid.Bool().Draw(g.T, "with metadata") {
		l.Metadata = rapid.SampledFrom([]json.RawMessage{[]byte(`{}`), []byte(`{"k": "v"}`)}).Draw(g.T, "metadata")
	}
	g.move(fmt.Sprintf("update %+v", l), func(p *player) view { return p.outcome(p.Update(p.ctx, l)) })
}

// fork copies a chat's history to a chat that may exist, up to a turn that may not.
func (g *game) fork() {
	f := chat.NewFork{From: g.chat(), Turn: rapid.IntRange(1, 4).Draw(g.T, "turn"), Exchanges: g.exchanges(0)}
	f.ID, f.Metadata = chat.ID(g.fresh("fork-")), []byte(`{"fork": true}`)
	if rapid.IntRange(0, 4).Draw(g.T, "id is taken") == 4 {
		f.ID = g.chat()
	}
	if rapid.IntRange(0, 3).Draw(g.T, "of nothing") == 3 {
		f.From, f.Turn, f.Tenant, f.Model = "", 0, "t", "demo/echo"
	}
	if f.From != "" || rapid.Bool().Draw(g.T, "with message") {
		f.Message = &chat.NewMessage{Chat: f.ID, Parts: say("fork"), ClientID: g.fresh("fork-client-"), Params: []byte(`{"max_tokens": 3}`)}
	}
	again := rapid.Bool().Draw(g.T, "again")
	g.move(fmt.Sprintf("fork %+v", f), func(p *player) view { return p.sent(p.Fork(p.ctx, f)) })
	if again {
		g.move(fmt.Sprintf("fork again %+v", f), func(p *player) view { return p.sent(p.Fork(p.ctx, f)) })
	}
}

// forget marks a turn that may not be there, not be over or be forgotten already, and asks for it.
func (g *game) forget() {
	id, turn := g.chat(), rapid.IntRange(1, 4).Draw(g.T, "turn")
	g.move(fmt.Sprintf("forget turn %d of %s", turn, id), func(p *player) view {
		if err := p.Forget(p.ctx, id, turn); err != nil {
			return failed(err)
		}
		return view{}
	})
	g.move(fmt.Sprintf("find turn %d of %s", turn, id), func(p *player) view {
		at, err := p.Before(p.ctx, id, turn)
		if err != nil {
			return failed(err)
		}
		return view{Chats: []chat.Chat{at.Chat}, Other: []any{p.ids[at.After], at.Forgotten}}
	})
}
