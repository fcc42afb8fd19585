package chattest

import (
	"fmt"
	"time"

	"pgregory.net/rapid"

	"processor/internal/chat"
)

// actions are the moves that a game draws from. Those that lead to rare states come as a whole.
func (g *game) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"create": g.anew(g.create), "send": g.anew(g.send), "send more": g.anew(g.send), "flood": g.anew(g.flood),
		"open": g.anew(g.open), "append": g.anew(g.appended), "fork": g.anew(g.fork), "forget": g.anew(g.forget),
		"interrupt": g.anew(g.interrupt), "retry": g.anew(g.retry), "delete": g.anew(g.delete),
		"truncate": g.anew(g.truncate), "update": g.anew(g.update),
		"claim": g.anew(g.claim), "claim more": g.anew(g.claim),
		"backoff": g.anew(g.backoff), "commit": g.anew(g.commit), "call": g.anew(g.call), "finish": g.anew(g.finish),
		"fail": g.anew(g.fail), "yield": g.anew(g.yield), "late": g.anew(g.late), "zombie": g.anew(g.zombie),
		"register": g.anew(g.register), "beat": g.anew(g.beat), "release": g.anew(g.release), "unregister": g.anew(g.unregister),
		"elapse": g.anew(g.elapse), "sweep": g.anew(g.sweep), "die": g.anew(g.die), "poison": g.anew(g.poison),
		"dispatched": g.anew(g.dispatched), "prune": g.anew(g.prune), "read": g.anew(g.read), "list": g.anew(g.list),
	}
}

// begin makes two chats, so that few moves are wasted on what does not exist.
func (g *game) begin() {
	for _, id := range []chat.ID{"a", "b"} {
		c := chat.NewChat{ID: id, Message: &chat.NewMessage{Chat: id, Parts: say("hello"), ClientID: "first"}}
		g.move(fmt.Sprintf("create %s", id), func(p *player) view { return p.sent(p.Create(p.ctx, c)) })
	}
}

// anew makes an action of a move: each gets the T of its own step.
func (g *game) anew(do func()) func(*rapid.T) {
	return func(t *rapid.T) {
		g.T = t
		do()
	}
}

// text draws a message that may have been sent before, and may have other content than it had.
func (g *game) text(id chat.ID) chat.NewMessage {
	var used []string
	rows := g.players[0].rows
	if c, ok := rows.Chat(id); ok {
		for _, m := range append(rows.History(c.Chat.Number), rows.Waiting(c.Chat.Number)...) {
			if m.ClientID != "" {
				used = append(used, m.ClientID)
			}
		}
	}
	m := chat.NewMessage{Chat: id, ClientID: g.fresh("client-"), Busy: g.busy()}
	if again := rapid.IntRange(0, len(used)+3).Draw(g.T, "again"); again < len(used) && len(used) > 0 {
		m.ClientID = used[again]
	}
	m.Parts = say("text of " + m.ClientID)
	switch rapid.IntRange(0, 9).Draw(g.T, "content") {
	case 8:
		m.Parts = say("other text")
	case 9:
		m.Model, m.Params = "openai/x", []byte(`{"max_tokens": 9}`)
	}
	if c, ok := rows.Chat(id); ok && m.Busy != chat.BusyInterrupt && rapid.IntRange(0, 3).Draw(g.T, "sender knows a turn") == 3 {
		after := max(0, c.Chat.Turn-rapid.IntRange(0, 1).Draw(g.T, "turns behind"))
		m.After = &after
	}
	return m
}

func (g *game) busy() chat.Busy {
	return rapid.SampledFrom([]chat.Busy{chat.BusyQueue, chat.BusyInterrupt, chat.BusyReject}).Draw(g.T, "busy")
}

func (g *game) create() {
	c := chat.NewChat{ID: g.chat(), Tenant: rapid.SampledFrom([]string{"", "t"}).Draw(g.T, "tenant"), Model: "demo/echo"}
	if rapid.Bool().Draw(g.T, "with message") {
		c.Message = &chat.NewMessage{Chat: c.ID, Parts: say("hello"), ClientID: "first"}
		if rapid.Bool().Draw(g.T, "generated") {
			c.Message.ClientID, c.Message.Generated = g.fresh("made-"), true
		}
	}
	g.move(fmt.Sprintf("create %s", c.ID), func(p *player) view { return p.sent(p.Create(p.ctx, c)) })
}

func (g *game) send() {
	id := g.chat()
	m := g.text(id)
	spec := g.partial()
	g.move(fmt.Sprintf("send %+v", m), func(p *player) view { return p.sent(p.Send(p.ctx, m, p.partial(id, spec))) })
}

// open sends to a replica that has a slot, unless the worker may not claim.
func (g *game) open() {
	id, w := g.chat(), g.worker()
	m := g.text(id)
	if m.Busy == chat.BusyInterrupt {
		m.Busy = chat.BusyQueue
	}
	b := chat.Budget{Messages: rapid.SampledFrom([]int{1, 3, 1000}).Draw(g.T, "history"), Bytes: 1 << 20}
	g.move(fmt.Sprintf("open %+v at %s", m, w), func(p *player) view {
		sent, history, err := p.OpenTurn(p.ctx, m, w, b)
		if err == nil && sent.Changed && sent.From == chat.Waiting && sent.Chat.Status == chat.Running {
			p.leases = append(p.leases, leaseOf(sent.Chat, w))
		}
		v := p.sent(sent, err)
		v.Messages = append(v.Messages, history...)
		return v
	})
}

// flood fills a queue to somewhere around its limit.
func (g *game) flood() {
	id, n := g.chat(), rapid.IntRange(5, 12).Draw(g.T, "messages")
	for range n {
		m := chat.NewMessage{Chat: id, ClientID: g.fresh("flood-"), Parts: say("more"), Busy: chat.BusyQueue}
		g.move("flood "+m.ClientID, func(p *player) view { return p.sent(p.Send(p.ctx, m, nil)) })
	}
}

// spec says how a partial differs from the one that would be kept.
type spec struct {
	None              bool
	Turn, Step, Epoch int
}

func (g *game) partial() spec {
	near := rapid.SampledFrom([]int{0, 0, 0, -1, 1})
	return spec{rapid.Bool().Draw(g.T, "no partial"), near.Draw(g.T, "turn"), near.Draw(g.T, "step"), near.Draw(g.T, "epoch")}
}

func (p *player) partial(id chat.ID, s spec) *chat.Partial {
	c, ok := p.rows.Chat(id)
	if !ok || s.None {
		return nil
	}
	return &chat.Partial{
		Chat: id, Number: c.Chat.Number, Turn: c.Chat.Turn + s.Turn, Step: c.Chat.Step + s.Step, Epoch: c.Chat.Epoch + int64(s.Epoch),
		Seq: 2, Parts: say("so far"), Chunks: []int32{2, 4},
	}
}

func (g *game) interrupt() {
	id, turn, spec := g.chat(), rapid.IntRange(0, 3).Draw(g.T, "turn"), g.partial()
	g.move(fmt.Sprintf("interrupt %s turn %d %+v", id, turn, spec), func(p *player) view {
		return p.outcome(p.Interrupt(p.ctx, id, turn, p.partial(id, spec)))
	})
}

func (g *game) retry() {
	id := g.chat()
	g.move(fmt.Sprintf("retry %s", id), func(p *player) view { return p.outcome(p.Retry(p.ctx, id)) })
}

// truncate cuts at a message that is drawn by its place, which may be none or not a user's.
func (g *game) truncate() {
	id, place := g.chat(), rapid.IntRange(0, 9).Draw(g.T, "message")
	t := chat.Truncation{Chat: id}
	if rapid.Bool().Draw(g.T, "edited") {
		t.Parts = say("edited")
	}
	if rapid.IntRange(0, 4).Draw(g.T, "settings") == 4 {
		t.Model, t.Params = "openai/x", []byte(`{"max_tokens": 9}`)
	}
	behind := rapid.SampledFrom([]int64{-1, 0, 0, 1}).Draw(g.T, "versions behind")
	g.move(fmt.Sprintf("truncate %+v at message %d, versions behind %d", t, place, behind), func(p *player) view {
		return p.outcome(p.Truncate(p.ctx, p.truncation(t, place, behind)))
	})
}

// truncation names the message from the end of the history, and the version if behind is not negative.
func (p *player) truncation(t chat.Truncation, place int, behind int64) chat.Truncation {
	t.Message = 1 << 40
	c, ok := p.rows.Chat(t.Chat)
	if !ok {
		return t
	}
	if behind >= 0 {
		t.Version = max(0, c.Chat.Version-behind)
	}
	history := p.rows.History(c.Chat.Number)
	if n := len(history); place < n {
		t.Message = *history[n-1-place].ID
	}
	return t
}

func (g *game) delete() {
	id := g.chat()
	g.move(fmt.Sprintf("delete %s", id), func(p *player) view {
		c, err := p.Delete(p.ctx, id)
		if err != nil {
			return failed(err)
		}
		return view{Chats: []chat.Chat{c}}
	})
}

// elapse lets a time pass that no sum of other times is likely to meet, since the stores differ in milliseconds.
func (g *game) elapse() {
	minutes := rapid.SampledFrom([]int{1, 2, 5, 11, 60 * 25}).Draw(g.T, "minutes")
	odd := rapid.IntRange(1000, 59000).Draw(g.T, "odd")
	g.pass(time.Duration(minutes)*time.Minute + time.Duration(odd)*time.Millisecond)
}

func (g *game) pass(d time.Duration) {
	g.move(fmt.Sprintf("elapse %s", d), func(p *player) view {
		if err := p.Elapse(p.ctx, d); err != nil {
			return failed(err)
		}
		return view{Elapsed: d}
	})
}
