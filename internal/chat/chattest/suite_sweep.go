package chattest

import (
	"fmt"
	"time"

	"processor/internal/chat"
)

func recovering() []rule {
	return []rule{
		{"a sweep takes the chats of a lost worker and nobody else's", func(k *kit) {
			k.register("w", "x")
			k.own("a", "w")
			k.own("b", "x")
			r := k.kill("w")
			k.equal("lost", []any{len(r.Lost), r.Lost[0].ID, r.Lost[0].Cause}, []any{1, chat.WorkerID("w"), chat.LostGone})
			k.equal("recovered", len(r.Recovered), 1)
			rec := r.Recovered[0]
			k.equal("how", []any{rec.Chat.ID, rec.Worker, rec.Cause, rec.Charged, rec.From, rec.Changed},
				[]any{chat.ID("a"), chat.WorkerID("w"), chat.LostGone, true, chat.Running, true})
			k.row("a", state{Status: chat.Pending, Turn: 1, Epoch: 2, Takeovers: 1, Recoveries: 1})
			k.due(RedispatchAfter)
			k.row("b", state{Status: chat.Running, Turn: 1, Epoch: 1, Worker: "x"})
		}},
		{"a worker that beat again is spared, whatever the probes said", func(k *kit) {
			k.register("w")
			k.own("a", "w")
			p := pass()
			p.Gone = []chat.WorkerID{"w"}
			k.unchanged(func() { k.equal("lost", len(k.sweep(p).Lost), 0) })
		}},
		{"age alone makes a worker lost only when the sweeper may judge by age", func(k *kit) {
			k.register("w")
			k.own("a", "w")
			k.elapse(2 * lostAfter)
			p := pass()
			k.unchanged(func() { k.equal("lost without leave", len(k.sweep(p).Lost), 0) })
			p.LostAfter = lostAfter
			r := k.sweep(p)
			k.equal("lost", []any{len(r.Lost), r.Lost[0].Cause}, []any{1, chat.LostAge})
			k.row("a", state{Status: chat.Pending, Turn: 1, Epoch: 2, Recoveries: 1})
		}},
		{"lost is for ever", func(k *kit) {
			k.register("w")
			k.kill("w")
			k.equal("lost", k.beat("w").Lost, true)
			k.start("a")
			_, err := k.s.Claim(k.ctx, "a", "w", true, roomy())
			k.is(err, chat.ErrNotEntitled)
			k.equal("lost twice", len(k.kill("w").Lost), 0)
		}},
	}
}

func losing() []rule {
	return []rule{
		{"a chat whose worker's row is gone has lost its owner", func(k *kit) {
			k.register("w")
			k.own("a", "w")
			k.ok(k.s.Unregister(k.ctx, "w"))
			r := k.sweep(pass())
			k.equal("how", []any{r.Recovered[0].Cause, r.Recovered[0].Charged}, []any{chat.LostRow, false})
			k.row("a", state{Status: chat.Pending, Turn: 1, Epoch: 2, Recoveries: 1})
		}},
		{"an owner that wakes after its chat was taken is fenced", func(k *kit) {
			k.register("w", "x")
			l := k.own("a", "w")
			k.freeze("w")
			k.fences("owner", l, func(*chat.Lease) {})
			k.claim("a", "x")
			k.fences("owner", l, func(*chat.Lease) {})
		}},
	}
}

func sparing() []rule {
	return []rule{
		{"sweeps leave idle and parked chats as they are", func(k *kit) {
			k.register("w")
			k.finish(k.own("idle", "w"), "hi")
			l := k.own("parked", "w")
			k.send("parked", "second")
			k.fail(l)
			p := pass()
			p.LostAfter, p.Gone = lostAfter, []chat.WorkerID{"w"}
			k.elapse(2 * lostAfter)
			k.sweep(p)
			k.unchanged(func() {
				for range 10 {
					r := k.sweep(p)
					k.equal("found", len(r.Recovered)+len(r.Stale)+len(r.Lost), 0)
				}
			})
			k.row("idle", state{Status: chat.Waiting, Turn: 1, Step: 1, Epoch: 1})
			k.row("parked", state{Status: chat.Parked, Turn: 1, Epoch: 1, Queued: 1, Error: "auth"})
		}},
		{"a pass recovers no more than its batch, and says that there is more", func(k *kit) {
			k.register("w")
			for i := range 5 {
				k.own(chat.ID(fmt.Sprint("c", i)), "w")
			}
			k.elapse(2 * lostAfter)
			p := pass()
			p.LostAfter, p.Batch = lostAfter, 2
			for _, left := range []int{3, 1, 0} {
				r := k.sweep(p)
				k.equal("left and more", []any{r.Unowned, r.More}, []any{left, left > 0})
			}
			k.equal("recovered by one pass more", len(k.sweep(p).Recovered), 0)
		}},
		{"workers whose heartbeat is old are suspects, draining ones too", func(k *kit) {
			k.register("fresh", "old", "draining", "lost")
			k.freeze("lost")
			k.drain("draining")
			k.elapse(2 * SuspectAfter)
			k.beat("fresh")
			r := k.sweep(pass())
			ids := map[chat.WorkerID]bool{}
			for _, s := range r.Suspects {
				ids[s.ID] = s.Age >= 2*SuspectAfter
			}
			k.equal("suspects", ids, map[chat.WorkerID]bool{"old": true, "draining": true})
		}},
	}
}

func budgets() []rule {
	return []rule{
		{"only a takeover from a process that is gone and was not draining is charged", func(k *kit) {
			k.register("draining", "frozen")
			k.own("a", "draining")
			k.drain("draining")
			k.equal("charged for a draining worker", k.kill("draining").Recovered[0].Charged, false)
			k.own("b", "frozen")
			k.equal("charged for a frozen worker", k.freeze("frozen").Recovered[0].Charged, false)
			k.row("a", state{Status: chat.Pending, Turn: 1, Epoch: 2, Recoveries: 1})
			k.row("b", state{Status: chat.Pending, Turn: 1, Epoch: 2, Recoveries: 1})
		}},
		{"the third charged takeover parks the chat with the evidence", func(k *kit) {
			k.start("a")
			k.send("a", "second")
			k.doom("a")
			r := k.die("a", "third")
			k.equal("messages", lines(r.Recovered[0].Messages), []string{"1.1@6 assistant  error"})
			k.equal("code", r.Recovered[0].Messages[0].Error.Code, "poison")
			k.row("a", state{Status: chat.Parked, Turn: 1, Epoch: 6, Takeovers: 3, Recoveries: 3, Queued: 1, Error: "poison"})
		}},
		{"a committed step clears the charge", func(k *kit) {
			k.start("a")
			k.doom("a")
			k.register("w")
			k.commit(k.claim("a", "w"), answer("one"))
			k.row("a", state{Status: chat.Running, Turn: 1, Step: 1, Epoch: 5, Worker: "w", Recoveries: 2})
			k.kill("w")
			k.row("a", state{Status: chat.Pending, Turn: 1, Step: 1, Epoch: 6, Takeovers: 1, Recoveries: 3})
		}},
		{"twenty-five recoveries in one turn park the chat whatever it commits", func(k *kit) {
			k.start("a")
			for i := range chat.MaxRecoveries {
				w := chat.WorkerID(fmt.Sprint("w", i))
				k.register(w)
				k.commit(k.claim("a", w), answer("step"))
				k.ok(k.s.Unregister(k.ctx, w))
				k.sweep(pass())
			}
			k.row("a", state{Status: chat.Parked, Turn: 1, Step: 25, Epoch: 50, Recoveries: 25, Error: "too_many_recoveries"})
		}},
	}
}

func parking() []rule {
	return []rule{
		{"a new turn has its own budgets", func(k *kit) {
			k.start("a")
			k.send("a", "second")
			k.doom("a")
			k.register("w")
			k.finish(k.backoff(k.claim("a", "w")), "hi")
			k.row("a", state{Status: chat.Running, Turn: 2, Epoch: 6, Void: 5, Worker: "w"})
		}},
		{"a poisoned turn that was asked to stop goes to the next owner, who ends it", func(k *kit) {
			k.start("a")
			k.doom("a")
			k.register("w", "x")
			k.claim("a", "w")
			k.interrupt("a")
			k.kill("w")
			k.row("a", state{Status: chat.Pending, Turn: 1, Epoch: 6, Takeovers: 3, Recoveries: 3, Interrupt: 1})
			k.finish(k.claim("a", "x"), "")
			k.row("a", state{Status: chat.Waiting, Turn: 1, Step: 1, Epoch: 7})
		}},
		{"parking by recovery closes the open tool calls", func(k *kit) {
			k.register("w")
			k.yield(k.commit(k.own("a", "w"), calling("c1")))
			k.doom("a")
			k.die("a", "third")
			k.says("a", "1.0@0 user hello", "1.1@1 assistant c1", "1.2@8 tool not run: the turn endedc1", "1.2@8 assistant  error")
			k.row("a", state{Status: chat.Parked, Turn: 1, Step: 1, Epoch: 8, Takeovers: 3, Recoveries: 3, Error: "poison"})
		}},
	}
}

func dispatching() []rule {
	return []rule{
		{"a pending chat is reported when its dispatch is due, begun or not, the oldest first", func(k *kit) {
			k.register("w")
			k.yield(k.own("begun", "w"))
			k.yield(k.commit(k.own("stepped", "w"), answer("one")))
			k.elapse(time.Minute / 2)
			k.start("new")
			k.equal("before it is due", len(k.sweep(pass()).Stale), 0)
			k.elapse(10 * time.Minute)
			stale := k.sweep(pass()).Stale
			k.equal("due", len(stale), 3)
			k.equal("the newest is last", []any{stale[2].Chat, stale[2].Begun}, []any{chat.ID("new"), false})
			p := pass()
			p.Batch = 1
			r := k.sweep(p)
			k.equal("a batch", len(r.Stale), 1)
		}},
		{"a real re-publishing backs off, doubling to the longest wait", func(k *kit) {
			k.start("a")
			n := k.rows().Chats[0].Chat.Number
			for _, minutes := range []int{2, 4, 8, 16, 32, 60, 60} {
				k.ok(k.s.Dispatched(k.ctx, []chat.Number{n}, nil, time.Minute, longest))
				k.due(time.Duration(minutes) * time.Minute)
			}
			k.equal("version", k.rows().Chats[0].Chat.Version, int64(1))
		}},
		{"a dispatch that is still on the bus is looked for again after as long as it has waited", func(k *kit) {
			k.start("a")
			n := k.rows().Chats[0].Chat.Number
			k.ok(k.s.Dispatched(k.ctx, nil, []chat.Number{n}, 2*time.Minute, longest))
			k.due(2 * time.Minute)
			k.elapse(30 * time.Minute)
			k.ok(k.s.Dispatched(k.ctx, nil, []chat.Number{n}, 2*time.Minute, longest))
			k.due(30 * time.Minute)
			k.elapse(3 * time.Hour)
			k.ok(k.s.Dispatched(k.ctx, nil, []chat.Number{n}, 2*time.Minute, longest))
			k.due(longest)
			k.equal("re-publishings", k.rows().Chats[0].Dispatch.Count, 0)
		}},
	}
}

func waking() []rule {
	return []rule{
		{"what is noted of a dispatch touches pending chats only", func(k *kit) {
			k.register("w")
			l := k.own("a", "w")
			k.unchanged(func() {
				k.ok(k.s.Dispatched(k.ctx, []chat.Number{l.Number}, nil, time.Minute, longest))
				k.ok(k.s.Dispatched(k.ctx, nil, []chat.Number{l.Number}, time.Minute, longest))
				k.ok(k.s.Anew(k.ctx))
			})
		}},
		{"a new stream makes every pending chat due, and its back-off start anew", func(k *kit) {
			k.start("a")
			n := k.rows().Chats[0].Chat.Number
			for range 5 {
				k.ok(k.s.Dispatched(k.ctx, []chat.Number{n}, nil, time.Minute, longest))
			}
			k.ok(k.s.Anew(k.ctx))
			k.due(0)
			k.equal("stale", len(k.sweep(pass()).Stale), 1)
			k.ok(k.s.Dispatched(k.ctx, []chat.Number{n}, nil, time.Minute, longest))
			k.due(2 * time.Minute)
		}},
		{"a chat that becomes pending again starts its back-off anew", func(k *kit) {
			k.register("w")
			k.start("a")
			n := k.rows().Chats[0].Chat.Number
			for range 5 {
				k.ok(k.s.Dispatched(k.ctx, []chat.Number{n}, nil, time.Minute, longest))
			}
			k.yield(k.claim("a", "w"))
			k.due(RedispatchAfter)
			k.equal("re-publishings", k.rows().Chats[0].Dispatch.Count, 0)
		}},
	}
}
