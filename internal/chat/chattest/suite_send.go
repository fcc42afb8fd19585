package chattest

import (
	"encoding/json"
	"fmt"
	"slices"

	"processor/internal/chat"
)

func creating() []rule {
	return []rule{
		{"a chat created without a message is idle", func(k *kit) {
			sent, err := k.s.Create(k.ctx, chat.NewChat{ID: "a", Tenant: "t", Title: "x", Model: "demo/echo", System: "be brief", Metadata: []byte(`{"k": 1}`)})
			k.ok(err)
			k.equal("changed and version", []any{sent.Changed, sent.Duplicate, sent.Chat.Version}, []any{true, false, int64(1)})
			c := sent.Chat
			k.equal("what was given", []string{c.Tenant, c.Title, c.Model, c.System}, []string{"t", "x", "demo/echo", "be brief"})
			k.row("a", state{Status: chat.Waiting})
		}},
		{"a chat created with a message is pending with its first turn open", func(k *kit) {
			k.start("a")
			k.row("a", state{Status: chat.Pending, Turn: 1})
			k.says("a", "1.0@0 user hello")
			k.due(RedispatchAfter)
		}},
		{"the same creation again returns the first result", func(k *kit) {
			first, err := k.s.Create(k.ctx, generated("hello", "1"))
			k.ok(err)
			k.unchanged(func() {
				again, err := k.s.Create(k.ctx, generated("hello", "2"))
				k.ok(err)
				k.equal("first result", []any{again.Changed, again.Duplicate, *again.Message.ID}, []any{false, true, *first.Message.ID})
			})
		}},
		{"another creation under the same id is a conflict", func(k *kit) {
			k.start("a")
			k.unchanged(func() {
				_, err := k.s.Create(k.ctx, generated("other", "1"))
				k.refused(err, chat.Conflict, "id")
				_, err = k.s.Create(k.ctx, chat.NewChat{ID: "a"})
				k.refused(err, chat.Conflict, "id")
			})
		}},
		{"a chat deleted and made again is another one, and fences the first one's lease", func(k *kit) {
			k.register("w")
			old := k.own("a", "w")
			gone, err := k.s.Delete(k.ctx, "a")
			k.ok(err)
			k.equal("row as it was", stateOf(gone), state{Status: chat.Running, Turn: 1, Epoch: 1, Worker: "w"})
			_, err = k.s.Commit(k.ctx, old, answer("late"))
			k.is(err, chat.ErrFenced)
			fresh := k.own("a", "w")
			old.Worker, old.Epoch, old.Turn, old.Step = fresh.Worker, fresh.Epoch, fresh.Turn, fresh.Step
			k.unchanged(func() {
				for t, move := range k.moves(old) {
					k.is(wrap(t, move()), chat.ErrFenced)
				}
			})
		}},
	}
}

// generated is a creation whose message got its client_id from the service.
func generated(text, clientID string) chat.NewChat {
	m := message("a", text)
	m.ClientID, m.Generated = clientID, true
	return chat.NewChat{ID: "a", Message: &m}
}

func sending() []rule {
	return []rule{
		{"a message to an idle chat opens a turn", func(k *kit) {
			k.register("w")
			k.finish(k.own("a", "w"), "hi")
			sent := k.send("a", "more")
			k.equal("queued", sent.Queued, false)
			k.equal("message", line(sent.Message), "2.0@1 user more")
			k.row("a", state{Status: chat.Pending, Turn: 2, Epoch: 1})
			k.says("a", "1.0@0 user hello", "1.1@1 assistant hi stop", "2.0@1 user more")
			k.due(RedispatchAfter)
		}},
		{"a message to a parked chat joins the queue, and the queue's head opens a turn", func(k *kit) {
			k.register("w")
			l := k.own("a", "w")
			k.send("a", "second")
			k.fail(l)
			sent := k.send("a", "third")
			k.equal("queued", sent.Queued, true)
			k.row("a", state{Status: chat.Pending, Turn: 2, Epoch: 1, Queued: 1})
			k.says("a", "1.0@0 user hello", "1.1@1 assistant  error", "2.0@1 user second")
		}},
		{"a message to a parked chat with an empty queue opens a turn itself", func(k *kit) {
			k.register("w")
			k.fail(k.backoff(k.own("a", "w")))
			sent := k.send("a", "second")
			k.equal("queued", sent.Queued, false)
			k.row("a", state{Status: chat.Pending, Turn: 2, Epoch: 2, Void: 1})
			k.due(RedispatchAfter)
		}},
	}
}

func repeatingSends() []rule {
	return []rule{
		{"a client_id sent again returns the first result and interrupts nothing", func(k *kit) {
			k.register("w")
			k.own("a", "w")
			first := k.send("a", "second")
			k.unchanged(func() {
				again, err := k.sendAs(chat.BusyInterrupt, "second")
				k.ok(err)
				k.equal("queued duplicate", []bool{again.Duplicate, again.Queued, again.Changed}, []bool{true, true, false})
				k.equal("queued duplicate's message", line(again.Message), line(first.Message))
				again, err = k.sendAs(chat.BusyReject, "hello")
				k.ok(err)
				k.equal("duplicate in history", []bool{again.Duplicate, again.Queued, again.Changed}, []bool{true, false, false})
				k.equal("duplicate's message", line(again.Message), "1.0@0 user hello")
			})
		}},
		{"a client_id sent again with other content is a conflict", func(k *kit) {
			k.start("a")
			k.send("a", "queued")
			k.unchanged(func() {
				for _, text := range []string{"hello", "queued"} {
					m := message("a", text)
					m.Parts = say("other")
					_, err := k.s.Send(k.ctx, m, nil)
					k.refused(err, chat.Conflict, "client_id")
					m = message("a", text)
					m.Params = []byte(`{"max_tokens": 5}`)
					_, err = k.s.Send(k.ctx, m, nil)
					k.refused(err, chat.Conflict, "client_id")
				}
			})
		}},
		{"a sender that knows the last turn opens the next one, or none", func(k *kit) {
			k.register("w")
			after := func(turn int, text string, field string) {
				m := message("a", text)
				m.After = &turn
				sent, err := k.s.Send(k.ctx, m, nil)
				if field == "" {
					k.ok(err)
					k.equal("turn", sent.Message.Turn, turn+1)
					return
				}
				k.refused(err, chat.Conflict, field)
			}
			l := k.own("a", "w")
			k.unchanged(func() { after(1, "busy", "after") })
			k.finish(l, "hi")
			k.unchanged(func() { after(0, "behind", "after"); after(2, "ahead", "after") })
			after(1, "second", "")
			l = k.claim("a", "w")
			k.unchanged(func() { after(1, "second", "") })
			k.send("a", "queued")
			k.fail(l)
			k.unchanged(func() { after(2, "not before what waits", "after") })
		}},
		{"client_ids of two chats have nothing to do with each other", func(k *kit) {
			k.start("a")
			k.start("b")
			k.says("b", "1.0@0 user hello")
		}},
		{"nothing can be sent to a chat that does not exist", func(k *kit) {
			_, err := k.s.Send(k.ctx, message("a", "hello"), nil)
			k.refused(err, chat.NotFound, "chat")
		}},
		{"model and params travel with the message, through the queue as well", func(k *kit) {
			k.register("w")
			l := k.own("a", "w")
			m := message("a", "special")
			m.Model, m.Params = "openai/x", json.RawMessage(`{"max_tokens": 5}`)
			_, err := k.s.Send(k.ctx, m, nil)
			k.ok(err)
			out := k.finish(l, "hi")
			k.equal("messages of the finish", lines(out.Messages), []string{"1.1@1 assistant hi stop", "2.0@1 user special"})
			k.equal("content", m.SameContent(out.Messages[1]), true)
			k.equal("client_id", out.Messages[1].ClientID, m.ClientID)
		}},
	}
}

func queueing() []rule {
	return []rule{
		{"a message to a busy chat waits in the queue", func(k *kit) {
			k.register("w")
			k.start("a")
			k.equal("queued while pending", k.send("a", "second").Queued, true)
			k.claim("a", "w")
			k.equal("queued while running", k.send("a", "third").Queued, true)
			k.row("a", state{Status: chat.Running, Turn: 1, Epoch: 1, Worker: "w", Queued: 2})
			rows := k.rows()
			k.equal("queue", lines(rows.Waiting(rows.Chats[0].Chat.Number)), []string{"0.0@0 user second", "0.0@0 user third"})
		}},
		{"a sender that wants no queue is refused while the chat is busy", func(k *kit) {
			k.register("w")
			k.start("a")
			k.unchanged(func() {
				_, err := k.sendAs(chat.BusyReject, "second")
				k.refused(err, chat.Conflict, "status")
			})
			k.finish(k.claim("a", "w"), "hi")
			_, err := k.sendAs(chat.BusyReject, "second")
			k.ok(err)
		}},
		{"the queue holds twenty messages, whatever the chat does meanwhile", func(k *kit) {
			k.register("w")
			k.start("a")
			k.fill()
			k.overflow(chat.BusyQueue)
			k.claim("a", "w")
			k.overflow(chat.BusyQueue)
		}},
		{"a full queue refuses an interrupting message to a running chat, which is not interrupted", func(k *kit) {
			k.register("w")
			k.own("a", "w")
			k.fill()
			k.overflow(chat.BusyInterrupt)
		}},
		{"a full queue takes an interrupting message to a pending chat, whose turn ends first", func(k *kit) {
			k.start("a")
			k.fill()
			sent, err := k.sendAs(chat.BusyInterrupt, "stop that")
			k.ok(err)
			k.equal("queued", sent.Queued, true)
			k.row("a", state{Status: chat.Pending, Turn: 2, Epoch: 1, Queued: chat.MaxQueue})
		}},
		{"a full queue takes a message to a parked chat, whose queue's head moves on first", func(k *kit) {
			k.register("w")
			l := k.own("a", "w")
			k.fill()
			k.fail(l)
			k.send("a", "one more")
			k.row("a", state{Status: chat.Pending, Turn: 2, Epoch: 1, Queued: chat.MaxQueue})
		}},
	}
}

func interruptingSends() []rule {
	return []rule{
		{"an interrupting message to a running chat is queued and asks the turn to stop", func(k *kit) {
			k.register("w")
			k.own("a", "w")
			version := k.rows().Chats[0].Chat.Version
			sent, err := k.sendAs(chat.BusyInterrupt, "stop that")
			k.ok(err)
			k.equal("queued and version", []any{sent.Queued, sent.Chat.Version}, []any{true, version + 1})
			k.row("a", state{Status: chat.Running, Turn: 1, Epoch: 1, Worker: "w", Queued: 1, Interrupt: 1})
		}},
		{"an interrupting message to a pending chat ends its turn and opens the next", func(k *kit) {
			k.start("a")
			version := k.rows().Chats[0].Chat.Version
			sent, err := k.sendAs(chat.BusyInterrupt, "stop that")
			k.ok(err)
			k.equal("queued and version", []any{sent.Queued, sent.Chat.Version}, []any{false, version + 1})
			k.row("a", state{Status: chat.Pending, Turn: 2, Epoch: 1})
			k.says("a", "1.0@0 user hello", "1.1@1 assistant  interrupted", "2.0@1 user stop that")
			k.equal("messages", lines(sent.Messages), lines(k.history("a")[1:]))
			k.due(RedispatchAfter)
		}},
		{"the queue is answered in the order in which it was sent", func(k *kit) {
			k.register("w")
			l := k.own("a", "w")
			want := []string{"hello"}
			for i := range 5 {
				text := fmt.Sprint("message ", i)
				k.send("a", text)
				want = append(want, text)
			}
			for range want {
				l = leaseOf(k.finish(l, "hi").Chat, "w")
			}
			users := slices.DeleteFunc(k.history("a"), func(m chat.Message) bool { return m.Role != chat.User })
			var got []string
			for _, m := range users {
				got = append(got, m.Text())
			}
			k.equal("order", got, want)
			k.row("a", state{Status: chat.Waiting, Turn: 6, Step: 1, Epoch: 1})
		}},
	}
}

// fill fills the queue of chat a.
func (k *kit) fill() {
	k.t.Helper()
	for i := range chat.MaxQueue {
		k.send("a", fmt.Sprint("queued ", i))
	}
}

// overflow expects that one message more is refused, and a repeated one is not.
func (k *kit) overflow(busy chat.Busy) {
	k.t.Helper()
	k.unchanged(func() {
		_, err := k.sendAs(busy, "too much")
		k.refused(err, chat.Full, "queue")
		again, err := k.sendAs(busy, "queued 3")
		k.ok(err)
		k.equal("duplicate", again.Duplicate, true)
	})
}
