package chattest

import (
	"processor/internal/chat"
)

func elsewhere(said, answered, client string) chat.Exchange {
	e := chat.Exchange{ClientID: client}
	if said != "" {
		e.Said = say(said)
	}
	if answered != "" {
		e.Answer = say(answered)
	}
	return e
}

func appending() []rule {
	return []rule{
		{"turns that are over are added to an idle chat, which stays idle", func(k *kit) {
			k.register("w")
			k.finish(k.own("a", "w"), "hi")
			out, err := k.s.Append(k.ctx, "a", []chat.Exchange{elsewhere("one", "two", "x"), elsewhere("", "three", "y"), elsewhere("four", "", "z")})
			k.ok(err)
			k.equal("messages", len(out.Messages), 6)
			k.row("a", state{Status: chat.Waiting, Turn: 4, Step: 1, Epoch: 1})
			k.says("a", "1.0@0 user hello", "1.1@1 assistant hi stop", "2.0@1 user one", "2.1@1 assistant two stop",
				"3.0@1 user", "3.1@1 assistant three stop", "4.0@1 user four", "4.1@1 assistant  stop")
			k.send("a", "next")
			k.row("a", state{Status: chat.Pending, Turn: 5, Epoch: 1})
		}},
		{"a chat that was never spoken to can begin with them", func(k *kit) {
			_, err := k.s.Create(k.ctx, chat.NewChat{ID: "a"})
			k.ok(err)
			_, err = k.s.Append(k.ctx, "a", []chat.Exchange{elsewhere("one", "two", "x")})
			k.ok(err)
			k.row("a", state{Status: chat.Waiting, Turn: 1, Step: 1})
		}},
	}
}

// fork makes chat b of chat a.
func (k *kit) fork(turn int, text string, all ...chat.Exchange) (chat.Sent, error) {
	m := message("b", text)
	return k.s.Fork(k.ctx, chat.NewFork{NewChat: chat.NewChat{ID: "b", Message: &m}, From: "a", Turn: turn, Exchanges: all})
}

func forking() []rule {
	return []rule{
		{"a fork begins with the history up to a turn, and leaves the source as it is", func(k *kit) {
			k.register("w")
			k.finish(k.own("a", "w"), "hi")
			k.send("a", "second")
			l := k.claim("a", "w")
			before := k.history("a")
			sent, err := k.fork(1, "other", elsewhere("one", "two", "x"))
			k.ok(err)
			k.equal("messages of the outcome", lines(sent.Messages), []string{"3.0@1 user other"})
			k.equal("message", line(sent.Message), "3.0@1 user other")
			k.row("b", state{Status: chat.Pending, Turn: 3, Epoch: 1})
			k.says("b", "1.0@0 user hello", "1.1@1 assistant hi stop", "2.0@1 user one", "2.1@1 assistant two stop", "3.0@1 user other")
			k.equal("source", lines(k.history("a")), lines(before))
			k.finish(l, "to the second")
			k.finish(k.claim("b", "w"), "to the other")
		}},
		{"a fork keeps what its source said of itself, and of its messages", func(k *kit) {
			k.register("w")
			m := message("a", "hello")
			m.Model, m.Params = "openai/x", []byte(`{"max_tokens": 5}`)
			_, err := k.s.Create(k.ctx, chat.NewChat{ID: "a", Tenant: "t", Title: "x", Model: "demo/echo", System: "be brief", Message: &m})
			k.ok(err)
			last := final("hi there")
			last[0].Chunks, last[0].Usage = []int32{3, 5}, &chat.Usage{InputTokens: 7, OutputTokens: 8}
			_, err = k.s.Finish(k.ctx, k.claim("a", "w"), last)
			k.ok(err)
			sent, err := k.fork(1, "other")
			k.ok(err)
			c := sent.Chat
			k.equal("what was given", []string{c.Tenant, c.Title, c.Model, c.System}, []string{"t", "x", "demo/echo", "be brief"})
			want, got := k.history("a"), k.history("b")
			for i := range want {
				want[i].ID, want[i].Chat = got[i].ID, "b"
			}
			k.equal("copied messages", got[:len(want)], want)
		}},
		{"the same fork again returns the first result, another one is a conflict", func(k *kit) {
			k.register("w")
			k.finish(k.own("a", "w"), "hi")
			first, err := k.fork(1, "other")
			k.ok(err)
			k.finish(k.claim("b", "w"), "answered")
			k.unchanged(func() {
				again, err := k.fork(1, "other")
				k.ok(err)
				k.equal("first result", []any{again.Changed, again.Duplicate, *again.Message.ID}, []any{false, true, *first.Message.ID})
				_, err = k.fork(1, "something else")
				k.refused(err, chat.Conflict, "id")
				_, err = k.s.Create(k.ctx, chat.NewChat{ID: "b"})
				k.refused(err, chat.Conflict, "id")
			})
		}},
		{"only what is over can be forked", func(k *kit) {
			k.register("w")
			l := k.own("a", "w")
			refused := func(turn int, code chat.Code, field string) {
				_, err := k.fork(turn, "other")
				k.refused(err, code, field)
			}
			k.unchanged(func() {
				refused(1, chat.Conflict, "turn")
				refused(2, chat.NotFound, "turn")
			})
			k.fail(l)
			k.unchanged(func() { refused(2, chat.NotFound, "turn") })
			_, err := k.fork(1, "other")
			k.ok(err)
			k.row("b", state{Status: chat.Pending, Turn: 2, Epoch: 1})
			_, err = k.s.Delete(k.ctx, "a")
			k.ok(err)
			_, err = k.s.Delete(k.ctx, "b")
			k.ok(err)
			refused(1, chat.NotFound, "chat")
		}},
		{"a chat made with a history is idle, or its message opens a turn", func(k *kit) {
			_, err := k.s.Fork(k.ctx, chat.NewFork{NewChat: chat.NewChat{ID: "a"}, Exchanges: []chat.Exchange{elsewhere("one", "two", "x")}})
			k.ok(err)
			k.row("a", state{Status: chat.Waiting, Turn: 1, Step: 1})
			m := message("b", "three")
			_, err = k.s.Fork(k.ctx, chat.NewFork{NewChat: chat.NewChat{ID: "b", Message: &m}, Exchanges: []chat.Exchange{elsewhere("one", "two", "x")}})
			k.ok(err)
			k.row("b", state{Status: chat.Pending, Turn: 2})
			k.says("b", "1.0@0 user one", "1.1@0 assistant two stop", "2.0@0 user three")
		}},
		{"a turn is found by the message before it", func(k *kit) {
			k.register("w")
			k.finish(k.own("a", "w"), "hi")
			k.send("a", "second")
			all := k.history("a")
			for turn, want := range map[int]int64{1: 0, 2: *all[1].ID, 3: *all[2].ID, 9: *all[2].ID} {
				at, err := k.s.Before(k.ctx, "a", turn)
				k.ok(err)
				k.equal("before", []any{at.Chat.Turn, at.After, at.Forgotten}, []any{2, want, false})
			}
			_, err := k.s.Before(k.ctx, "b", 1)
			k.refused(err, chat.NotFound, "chat")
		}},
	}
}

// forgotten expects which of the first turns are.
func (k *kit) forgotten(id chat.ID, want ...bool) {
	k.t.Helper()
	got := make([]bool, len(want))
	for i := range want {
		at, err := k.s.Before(k.ctx, id, i+1)
		k.ok(err)
		got[i] = at.Forgotten
	}
	k.equal("forgotten turns of "+string(id), got, want)
}

func forgetting() []rule {
	return []rule{
		{"a turn that is over is forgotten once, and no row says otherwise than before", func(k *kit) {
			k.register("w")
			k.finish(k.own("a", "w"), "hi")
			k.send("a", "second")
			l := k.claim("a", "w")
			k.unchanged(func() {
				k.refused(k.s.Forget(k.ctx, "a", 2), chat.Conflict, "turn")
				k.refused(k.s.Forget(k.ctx, "a", 3), chat.NotFound, "turn")
				k.refused(k.s.Forget(k.ctx, "a", 0), chat.NotFound, "turn")
				k.refused(k.s.Forget(k.ctx, "b", 1), chat.NotFound, "chat")
				k.forgotten("a", false, false, false)
				k.ok(k.s.Forget(k.ctx, "a", 1))
				k.refused(k.s.Forget(k.ctx, "a", 1), chat.NotFound, "turn")
				k.forgotten("a", true, false, false)
			})
			k.finish(l, "to the second")
			k.ok(k.s.Forget(k.ctx, "a", 2))
			k.forgotten("a", true, true, false)
			k.send("a", "third")
			k.says("a", "1.0@0 user hello", "1.1@1 assistant hi stop", "2.0@1 user second", "2.1@2 assistant to the second stop", "3.0@2 user third")
			k.refused(k.s.Forget(k.ctx, "a", 3), chat.Conflict, "turn")
		}},
		{"a failed turn is over, and stays forgotten when it is tried again", func(k *kit) {
			k.register("w")
			k.fail(k.own("a", "w"))
			k.ok(k.s.Forget(k.ctx, "a", 1))
			_, err := k.s.Retry(k.ctx, "a")
			k.ok(err)
			k.finish(k.claim("a", "w"), "hi")
			k.forgotten("a", true)
		}},
	}
}

func forgettingNoOther() []rule {
	return []rule{
		{"a fork's turns are not those that they were copied from", func(k *kit) {
			k.register("w")
			k.finish(k.own("a", "w"), "hi")
			k.ok(k.s.Forget(k.ctx, "a", 1))
			_, err := k.fork(1, "other")
			k.ok(err)
			k.forgotten("b", false, false)
			k.ok(k.s.Forget(k.ctx, "b", 1))
			k.forgotten("b", true, false)
			_, err = k.s.Delete(k.ctx, "a")
			k.ok(err)
			k.own("a", "w")
			k.forgotten("a", false)
		}},
		{"a truncation opens another turn than the one that was forgotten", func(k *kit) {
			k.register("w")
			k.finish(k.own("a", "w"), "hi")
			k.ok(k.s.Forget(k.ctx, "a", 1))
			_, err := k.s.Truncate(k.ctx, chat.Truncation{Chat: "a", Message: *k.history("a")[0].ID})
			k.ok(err)
			k.finish(k.claim("a", "w"), "hi again")
			k.forgotten("a", false, false)
		}},
		{"of many who forget a turn at once, one does", func(k *kit) {
			k.register("w")
			k.finish(k.own("a", "w"), "hi")
			did := k.together(8, func(int) (bool, error) {
				err := k.s.Forget(k.ctx, "a", 1)
				if notFound(err) {
					return false, nil
				}
				return err == nil, err
			})
			k.equal("who did", did, 1)
		}},
	}
}
