package chattest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"processor/internal/chat"
)

// moves are the five writes of an owner.
func (k *kit) moves(l chat.Lease) map[chat.Transition]func() error {
	return map[chat.Transition]func() error{
		chat.Backoff: func() error {
			_, err := k.s.Backoff(k.ctx, l, time.Minute, chat.TurnError{Code: "rate_limited"})
			return err
		},
		chat.Commit: func() error { _, err := k.s.Commit(k.ctx, l, answer("step")); return err },
		chat.End:    func() error { _, err := k.s.Finish(k.ctx, l, final("done")); return err },
		chat.Fail:   func() error { _, err := k.s.Fail(k.ctx, l, failure()); return err },
		chat.Yield:  func() error { _, err := k.s.Yield(k.ctx, l); return err },
	}
}

// wrap says which move an error is of.
func wrap(t chat.Transition, err error) error {
	if err == nil {
		return errors.New(string(t) + " was accepted")
	}
	return fmt.Errorf("%s: %w", string(t), err)
}

func claiming() []rule {
	return []rule{
		{"a claim makes the worker the owner in an epoch of its own", func(k *kit) {
			k.register("w")
			k.start("a")
			c, err := k.s.Claim(k.ctx, "a", "w", false, roomy())
			k.ok(err)
			k.equal("history", lines(c.History), []string{"1.0@0 user hello"})
			k.equal("version", c.Chat.Version, int64(2))
			k.row("a", state{Status: chat.Running, Turn: 1, Epoch: 1, Worker: "w"})
		}},
		{"a turn is begun when somebody owned it, whatever became of the turns before", func(k *kit) {
			k.register("w")
			l := k.backoff(k.own("a", "w"))
			k.equal("begun", k.rows().Chats[0].Chat.Begun(), true)
			k.finish(l, "done")
			k.send("a", "again")
			k.equal("begun", k.rows().Chats[0].Chat.Begun(), false)
		}},
		{"of two claims the second finds nothing to do", func(k *kit) {
			k.register("w", "x")
			k.own("a", "w")
			k.unchanged(func() {
				_, err := k.s.Claim(k.ctx, "a", "x", true, roomy())
				k.is(err, chat.ErrNothingToDo)
				_, err = k.s.Claim(k.ctx, "nobody", "x", true, roomy())
				k.is(err, chat.ErrNothingToDo)
			})
		}},
		{"a lost, draining or unknown worker may not claim", func(k *kit) {
			k.register("lost", "draining")
			k.freeze("lost")
			k.drain("draining")
			k.start("a")
			k.unchanged(func() {
				for _, w := range []chat.WorkerID{"lost", "draining", "unknown"} {
					_, err := k.s.Claim(k.ctx, "a", w, true, roomy())
					k.is(err, chat.ErrNotEntitled)
				}
			})
		}},
		{"a suspect is claimed only by a worker with a free suspect slot", func(k *kit) {
			k.start("a")
			k.doom("a")
			k.register("w")
			k.unchanged(func() {
				_, err := k.s.Claim(k.ctx, "a", "w", false, roomy())
				k.is(err, chat.ErrSuspect)
			})
			k.claim("a", "w")
			k.row("a", state{Status: chat.Running, Turn: 1, Epoch: 5, Worker: "w", Takeovers: 2, Recoveries: 2})
		}},
		{"a new owner keeps the back-off", func(k *kit) {
			k.register("w", "x")
			l := k.backoff(k.own("a", "w"))
			k.yield(l)
			k.row("a", state{Status: chat.Pending, Turn: 1, Epoch: 3, Void: 1, Attempts: 1, Retry: true})
			k.claim("a", "x")
			k.row("a", state{Status: chat.Running, Turn: 1, Epoch: 4, Void: 1, Worker: "x", Attempts: 1, Retry: true})
		}},
	}
}

func loading() []rule {
	return []rule{
		{"the history ends where the budget ends, and has the open turn in any case", func(k *kit) {
			k.register("w")
			k.finish(k.own("a", "w"), strings.Repeat("a", 2000))
			k.send("a", "second")
			k.commit(k.claim("a", "w"), answer(strings.Repeat("b", 2000)))
			for _, r := range []struct {
				b    chat.Budget
				want int
			}{
				{chat.Budget{Messages: 100, Bytes: 100000}, 4},
				{chat.Budget{Messages: 3, Bytes: 100000}, 3},
				{chat.Budget{Messages: 100, Bytes: 3000}, 2},
				{chat.Budget{Messages: 1, Bytes: 100000}, 2},
				{chat.Budget{Messages: 100, Bytes: 10}, 2},
			} {
				k.releaseAll("w")
				c, err := k.s.Claim(k.ctx, "a", "w", false, r.b)
				k.ok(err)
				k.equal(fmt.Sprintf("history within %+v", r.b), lines(c.History), lines(k.history("a"))[4-r.want:])
			}
		}},
	}
}

func (k *kit) releaseAll(w chat.WorkerID) []chat.Outcome {
	k.t.Helper()
	all, err := k.s.Release(k.ctx, w)
	k.ok(err)
	return all
}

func committing() []rule {
	return []rule{
		{"a commit writes one step and ends the back-off", func(k *kit) {
			k.register("w")
			l := k.commit(k.backoff(k.own("a", "w")), calling("c1"))
			k.row("a", state{Status: chat.Running, Turn: 1, Step: 1, Epoch: 2, Void: 1, Worker: "w"})
			k.commit(l, []chat.Message{{Role: chat.Tool, Parts: []chat.Part{{Type: chat.ToolResultPart, CallID: "c1"}}}, answer("two")[0]})
			k.says("a", "1.0@0 user hello", "1.1@2 assistant c1", "1.2@2 tool c1", "1.2@2 assistant two")
		}},
		{"what a message carries is what is read back", func(k *kit) {
			k.register("w")
			m := chat.Message{
				Role: chat.Assistant, Model: "demo/echo", Usage: &chat.Usage{InputTokens: 3, OutputTokens: 4}, Chunks: []int32{1, 2},
				Parts: []chat.Part{{Type: chat.ReasoningPart, Text: "hm"}, {Type: chat.TextPart, Text: "ünï <b>&"}},
			}
			k.commit(k.own("a", "w"), []chat.Message{m})
			got := k.history("a")[1]
			m.ID, m.Chat, m.Turn, m.Step, m.Epoch, m.CreatedAt = got.ID, "a", 1, 1, 1, got.CreatedAt
			k.equal("message", got, m)
		}},
		{"a back-off voids the partial and stores when the model is called again", func(k *kit) {
			k.register("w")
			l := k.backoff(k.own("a", "w"))
			k.row("a", state{Status: chat.Running, Turn: 1, Epoch: 2, Void: 1, Worker: "w", Attempts: 1, Retry: true})
			k.backoff(l)
			k.row("a", state{Status: chat.Running, Turn: 1, Epoch: 3, Void: 2, Worker: "w", Attempts: 2, Retry: true})
		}},
		{"a write under a lease that differs in anything is refused", func(k *kit) {
			k.register("w", "x")
			k.commit(k.own("a", "w"), answer("one"))
			l := leaseOf(k.rows().Chats[0].Chat, "w")
			for what, change := range map[string]func(*chat.Lease){
				"number": func(l *chat.Lease) { l.Number++ },
				"worker": func(l *chat.Lease) { l.Worker = "x" },
				"epoch":  func(l *chat.Lease) { l.Epoch-- },
				"future": func(l *chat.Lease) { l.Epoch++ },
				"turn":   func(l *chat.Lease) { l.Turn++ },
				"step":   func(l *chat.Lease) { l.Step++ },
			} {
				k.fences(what, l, change)
			}
		}},
	}
}

func (k *kit) fences(what string, l chat.Lease, change func(*chat.Lease)) {
	k.t.Helper()
	change(&l)
	k.unchanged(func() {
		for t, move := range k.moves(l) {
			if err := move(); !errors.Is(err, chat.ErrFenced) {
				k.t.Errorf("another %s: %v", what, wrap(t, err))
			}
		}
	})
}

func ending() []rule {
	return []rule{
		{"a finish with an empty queue makes the chat idle", func(k *kit) {
			k.register("w")
			out := k.finish(k.backoff(k.own("a", "w")), "hi")
			k.equal("messages", lines(out.Messages), []string{"1.1@2 assistant hi stop"})
			k.row("a", state{Status: chat.Waiting, Turn: 1, Step: 1, Epoch: 2, Void: 1})
		}},
		{"a finish opens the next turn with the queue's head, under the same owner and epoch", func(k *kit) {
			k.register("w")
			l := k.own("a", "w")
			k.send("a", "second")
			k.send("a", "third")
			out := k.finish(l, "hi")
			k.equal("messages", lines(out.Messages), []string{"1.1@1 assistant hi stop", "2.0@1 user second"})
			k.row("a", state{Status: chat.Running, Turn: 2, Epoch: 1, Worker: "w", Queued: 1})
		}},
		{"a finish writes the closing tool results into the step of its last message", func(k *kit) {
			k.register("w")
			l := k.commit(k.own("a", "w"), calling("c1"))
			_, err := k.s.Finish(k.ctx, l, append(chat.CloseCalls(k.history("a")), final("done")...))
			k.ok(err)
			k.says("a", "1.0@0 user hello", "1.1@1 assistant c1", "1.2@1 tool not run: the turn endedc1", "1.2@1 assistant done stop")
			k.row("a", state{Status: chat.Waiting, Turn: 1, Step: 2, Epoch: 1})
		}},
		{"a failure parks the chat with its cause and keeps the queue", func(k *kit) {
			k.register("w")
			l := k.backoff(k.own("a", "w"))
			k.send("a", "second")
			k.fail(l)
			k.row("a", state{Status: chat.Parked, Turn: 1, Epoch: 2, Void: 1, Attempts: 1, Queued: 1, Error: "auth"})
			e := k.rows().Chats[0].Chat.LastError
			k.equal("message and attempts of the cause", []any{e.Message, e.Attempts, e.At.IsZero()}, []any{"it went wrong", 1, false})
		}},
	}
}

func handing() []rule {
	return []rule{
		{"a yield hands the chat on and costs nothing", func(k *kit) {
			k.register("w")
			l := k.own("a", "w")
			for range 30 {
				k.yield(l)
				l = k.claim("a", "w")
			}
			k.row("a", state{Status: chat.Running, Turn: 1, Epoch: 61, Worker: "w"})
			k.yield(l)
			k.due(RedispatchAfter)
		}},
		{"a release yields everything that the worker owns and nothing else", func(k *kit) {
			k.register("w", "x")
			k.own("a", "w")
			k.own("b", "w")
			k.own("c", "x")
			all := k.releaseAll("w")
			k.equal("released", len(all), 2)
			for _, out := range all {
				k.equal("outcome", []any{out.Changed, out.From, out.Chat.Status}, []any{true, chat.Running, chat.Pending})
			}
			k.row("a", state{Status: chat.Pending, Turn: 1, Epoch: 2})
			k.row("b", state{Status: chat.Pending, Turn: 1, Epoch: 2})
			k.row("c", state{Status: chat.Running, Turn: 1, Epoch: 1, Worker: "x"})
			k.equal("released again", len(k.releaseAll("w")), 0)
		}},
	}
}

func repeating() []rule {
	return []rule{
		{"a commit whose reply was lost returns the first outcome, also when the chat has moved on", func(k *kit) {
			k.register("w")
			l := k.own("a", "w")
			next := k.commit(l, answer("one"))
			k.repeats(func() (chat.Outcome, error) { return k.s.Commit(k.ctx, l, answer("one")) }, "1.1@1 assistant one")
			k.yield(next)
			k.repeats(func() (chat.Outcome, error) { return k.s.Commit(k.ctx, l, answer("one")) }, "1.1@1 assistant one")
		}},
		{"a finish whose reply was lost returns the first outcome, with the turn that it opened", func(k *kit) {
			k.register("w")
			l := k.own("a", "w")
			k.send("a", "second")
			k.finish(l, "hi")
			again := func() (chat.Outcome, error) { return k.s.Finish(k.ctx, l, final("hi")) }
			k.repeats(again, "1.1@1 assistant hi stop", "2.0@1 user second")
			k.interrupt("a")
			k.repeats(again, "1.1@1 assistant hi stop", "2.0@1 user second")
		}},
		{"a finish that left the chat idle can be repeated", func(k *kit) {
			k.register("w")
			l := k.own("a", "w")
			k.finish(l, "hi")
			k.repeats(func() (chat.Outcome, error) { return k.s.Finish(k.ctx, l, final("hi")) }, "1.1@1 assistant hi stop")
		}},
		{"a failure whose reply was lost returns the first outcome, unless a retry took it back", func(k *kit) {
			k.register("w")
			l := k.own("a", "w")
			k.fail(l)
			k.repeats(func() (chat.Outcome, error) { return k.s.Fail(k.ctx, l, failure()) }, "1.1@1 assistant  error")
			_, err := k.s.Retry(k.ctx, "a")
			k.ok(err)
			k.unchanged(func() {
				_, err := k.s.Fail(k.ctx, l, failure())
				k.is(err, chat.ErrFenced)
			})
		}},
		{"a back-off whose reply was lost counts once", func(k *kit) {
			k.register("w")
			l := k.own("a", "w")
			k.backoff(l)
			k.repeats(func() (chat.Outcome, error) {
				return k.s.Backoff(k.ctx, l, time.Minute, chat.TurnError{Code: "rate_limited"})
			})
		}},
		{"a yield whose reply was lost is refused", func(k *kit) {
			k.register("w")
			l := k.own("a", "w")
			k.yield(l)
			k.unchanged(func() {
				_, err := k.s.Yield(k.ctx, l)
				k.is(err, chat.ErrFenced)
			})
		}},
	}
}

// repeats expects that a call repeats an outcome that landed before.
func (k *kit) repeats(again func() (chat.Outcome, error), messages ...string) {
	k.t.Helper()
	k.unchanged(func() {
		out, err := again()
		k.ok(err)
		k.equal("changed", out.Changed, true)
		k.equal("messages", append([]string{}, lines(out.Messages)...), append([]string{}, messages...))
		k.equal("row", stateOf(out.Chat), stateOf(k.rows().Chats[0].Chat))
	})
}
