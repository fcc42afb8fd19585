package chattest

import (
	"time"

	"processor/internal/chat"
)

func interrupting() []rule {
	return []rule{
		{"an interrupt of an idle or parked chat changes nothing and succeeds", func(k *kit) {
			k.register("w")
			k.finish(k.own("idle", "w"), "hi")
			k.fail(k.own("parked", "w"))
			k.unchanged(func() {
				for _, id := range []chat.ID{"idle", "parked"} {
					k.equal("changed", k.interrupt(id).Changed, false)
				}
				_, err := k.s.Interrupt(k.ctx, "nobody", 0, nil)
				k.refused(err, chat.NotFound, "chat")
			})
		}},
		{"an interrupt of a running chat asks its owner once", func(k *kit) {
			k.register("w")
			k.own("a", "w")
			k.equal("changed", k.interrupt("a").Changed, true)
			k.row("a", state{Status: chat.Running, Turn: 1, Epoch: 1, Worker: "w", Interrupt: 1})
			k.unchanged(func() { k.equal("changed again", k.interrupt("a").Changed, false) })
		}},
		{"an interrupt that names another turn changes nothing", func(k *kit) {
			k.register("w")
			k.start("pending")
			k.own("running", "w")
			k.unchanged(func() {
				for _, id := range []chat.ID{"pending", "running"} {
					out, err := k.s.Interrupt(k.ctx, id, 2, nil)
					k.ok(err)
					k.equal("changed", out.Changed, false)
				}
			})
			out, err := k.s.Interrupt(k.ctx, "running", 1, nil)
			k.ok(err)
			k.equal("named turn", out.Chat.InterruptTurn, 1)
		}},
	}
}

func stopping() []rule {
	return []rule{
		{"a turn that was asked to stop commits its step, and ends as interrupted only", func(k *kit) {
			k.register("w")
			l := k.own("a", "w")
			k.interrupt("a")
			k.unchanged(func() {
				_, err := k.s.Backoff(k.ctx, l, time.Minute, chat.TurnError{Code: "x"})
				k.is(err, chat.ErrInterrupted)
				_, err = k.s.Fail(k.ctx, l, failure())
				k.is(err, chat.ErrInterrupted)
			})
			l = k.commit(l, answer("one"))
			k.row("a", state{Status: chat.Running, Turn: 1, Step: 1, Epoch: 1, Worker: "w", Interrupt: 1})
			k.finish(l, "two")
			k.says("a", "1.0@0 user hello", "1.1@1 assistant one", "1.2@1 assistant two interrupted")
			k.row("a", state{Status: chat.Waiting, Turn: 1, Step: 2, Epoch: 1})
		}},
		{"an interrupt cannot hit the next turn", func(k *kit) {
			k.register("w")
			l := k.own("a", "w")
			k.send("a", "second")
			k.interrupt("a")
			l = leaseOf(k.finish(l, "hi").Chat, "w")
			k.row("a", state{Status: chat.Running, Turn: 2, Epoch: 1, Worker: "w"})
			k.finish(l, "two")
			k.says("a", "1.0@0 user hello", "1.1@1 assistant hi interrupted", "2.0@1 user second", "2.1@1 assistant two stop")
		}},
		{"an interrupted turn stays so through hand-off and recovery", func(k *kit) {
			k.register("w", "x")
			l := k.own("a", "w")
			k.interrupt("a")
			k.yield(l)
			k.row("a", state{Status: chat.Pending, Turn: 1, Epoch: 2, Interrupt: 1})
			k.claim("a", "w")
			k.freeze("w")
			k.row("a", state{Status: chat.Pending, Turn: 1, Epoch: 4, Interrupt: 1, Recoveries: 1})
			k.finish(k.claim("a", "x"), "hi")
			k.says("a", "1.0@0 user hello", "1.1@5 assistant hi interrupted")
		}},
	}
}

func withdrawing() []rule {
	return []rule{
		{"an interrupt of a pending chat ends its turn in an epoch of its own", func(k *kit) {
			k.register("w")
			k.yield(k.backoff(k.own("a", "w")))
			out := k.interrupt("a")
			k.equal("messages", lines(out.Messages), []string{"1.1@4 assistant  interrupted"})
			k.row("a", state{Status: chat.Waiting, Turn: 1, Step: 1, Epoch: 4, Void: 1})
		}},
		{"an interrupt of a pending chat with a queue goes on with its head", func(k *kit) {
			k.start("a")
			k.send("a", "second")
			k.send("a", "third")
			out := k.interrupt("a")
			k.equal("messages", lines(out.Messages), []string{"1.1@1 assistant  interrupted", "2.0@1 user second"})
			k.row("a", state{Status: chat.Pending, Turn: 2, Epoch: 1, Queued: 1})
			k.due(RedispatchAfter)
		}},
		{"an interrupt of a pending chat closes the open tool calls", func(k *kit) {
			k.register("w")
			k.yield(k.commit(k.own("a", "w"), calling("c1")))
			k.interrupt("a")
			k.says("a", "1.0@0 user hello", "1.1@1 assistant c1", "1.2@3 tool not run: the turn endedc1", "1.2@3 assistant  interrupted")
			k.row("a", state{Status: chat.Waiting, Turn: 1, Step: 2, Epoch: 3})
		}},
		{"an interrupting message closes the open tool calls of a pending chat", func(k *kit) {
			k.register("w")
			k.yield(k.commit(k.own("a", "w"), calling("c1")))
			_, err := k.sendAs(chat.BusyInterrupt, "stop that")
			k.ok(err)
			k.says("a", "1.0@0 user hello", "1.1@1 assistant c1", "1.2@3 tool not run: the turn endedc1", "1.2@3 assistant  interrupted",
				"2.0@3 user stop that")
		}},
	}
}

func keeping() []rule {
	return []rule{
		{"an interrupt keeps the partial of the open step", func(k *kit) {
			p := k.partial("a")
			_, err := k.s.Interrupt(k.ctx, "a", 0, &p)
			k.ok(err)
			k.says("a", "1.0@0 user hello", "1.1@1 assistant one", "1.2@3 assistant so far interrupted")
			k.equal("chunks", k.history("a")[2].Chunks, []int32{2, 4})
		}},
		{"an interrupting message keeps the partial of the open step", func(k *kit) {
			p := k.partial("a")
			m := message("a", "stop that")
			m.Busy = chat.BusyInterrupt
			_, err := k.s.Send(k.ctx, m, &p)
			k.ok(err)
			k.says("a", "1.0@0 user hello", "1.1@1 assistant one", "1.2@3 assistant so far interrupted", "2.0@3 user stop that")
		}},
		{"a partial of another chat, turn or step, or one that is void, is not kept", func(k *kit) {
			k.register("v")
			for id, spoil := range map[chat.ID]func(*chat.Partial){
				"number": func(p *chat.Partial) { p.Number++ },
				"turn":   func(p *chat.Partial) { p.Turn++ },
				"step":   func(p *chat.Partial) { p.Step-- },
				"epoch":  func(p *chat.Partial) { p.Epoch += 5 },
				"void":   func(*chat.Partial) { k.yield(k.backoff(k.claim("void", "v"))) },
			} {
				p := k.partial(id)
				spoil(&p)
				out, err := k.s.Interrupt(k.ctx, id, 0, &p)
				k.ok(err)
				k.equal("parts kept of another "+string(id), out.Messages[0].Parts, []chat.Part{})
			}
		}},
	}
}

// partial leaves a pending chat in its second step, and makes what its last owner had streamed of it.
func (k *kit) partial(id chat.ID) chat.Partial {
	k.t.Helper()
	w := chat.WorkerID("owner-of-" + id)
	k.register(w)
	l := k.commit(k.own(id, w), answer("one"))
	k.yield(l)
	return chat.Partial{Chat: id, Number: l.Number, Turn: 1, Step: 1, Epoch: 1, Seq: 2, Parts: say("so far"), Chunks: []int32{2, 4}}
}

func retrying() []rule {
	return []rule{
		{"a retry takes the error out of the history and gives the turn its budgets back", func(k *kit) {
			k.register("w")
			l := k.backoff(k.commit(k.own("a", "w"), answer("one")))
			k.send("a", "second")
			failed := k.fail(l)
			out, err := k.s.Retry(k.ctx, "a")
			k.ok(err)
			k.equal("removed", out.Removed, []int64{*failed.Messages[0].ID})
			k.row("a", state{Status: chat.Pending, Turn: 1, Step: 1, Epoch: 3, Void: 1, Queued: 1})
			k.says("a", "1.0@0 user hello", "1.1@1 assistant one")
			k.due(RedispatchAfter)
		}},
		{"a retried turn writes the step in which it failed", func(k *kit) {
			k.register("w")
			k.fail(k.own("a", "w"))
			_, err := k.s.Retry(k.ctx, "a")
			k.ok(err)
			k.finish(k.claim("a", "w"), "hi")
			k.says("a", "1.0@0 user hello", "1.1@3 assistant hi stop")
		}},
		{"a retry of any other chat changes nothing and succeeds", func(k *kit) {
			k.register("w")
			k.start("pending")
			k.own("running", "w")
			k.finish(k.own("waiting", "w"), "hi")
			k.unchanged(func() {
				for _, id := range []chat.ID{"pending", "running", "waiting"} {
					out, err := k.s.Retry(k.ctx, id)
					k.ok(err)
					k.equal("changed", out.Changed, false)
				}
				_, err := k.s.Retry(k.ctx, "nobody")
				k.refused(err, chat.NotFound, "chat")
			})
		}},
		{"a retry gives a poisoned chat its budget back", func(k *kit) {
			k.start("a")
			k.doom("a")
			k.die("a", "third")
			k.row("a", state{Status: chat.Parked, Turn: 1, Epoch: 6, Takeovers: 3, Recoveries: 3, Error: "poison"})
			_, err := k.s.Retry(k.ctx, "a")
			k.ok(err)
			k.row("a", state{Status: chat.Pending, Turn: 1, Epoch: 7})
		}},
	}
}

// die lets a new worker claim the chat, and its process be found gone.
func (k *kit) die(id chat.ID, w chat.WorkerID) chat.Report {
	k.t.Helper()
	k.register(w)
	k.claim(id, w)
	return k.kill(w)
}

// doom makes a pending chat a suspect: two owners of it died.
func (k *kit) doom(id chat.ID) {
	k.t.Helper()
	k.die(id, "first-victim-of-"+chat.WorkerID(id))
	k.die(id, "second-victim-of-"+chat.WorkerID(id))
}
