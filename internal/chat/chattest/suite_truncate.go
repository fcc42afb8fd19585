package chattest

import (
	"errors"

	"processor/internal/chat"
)

// truncate cuts chat a at the message of a place in its history.
func (k *kit) truncate(place int, text string) (chat.Outcome, error) {
	k.t.Helper()
	t := chat.Truncation{Chat: "a", Message: *k.history("a")[place].ID}
	if text != "" {
		t.Parts = say(text)
	}
	return k.s.Truncate(k.ctx, t)
}

// talk leaves chat a with two answered turns.
func (k *kit) talk() {
	k.t.Helper()
	k.register("w")
	k.finish(k.own("a", "w"), "hi")
	k.send("a", "second")
	k.finish(k.claim("a", "w"), "two")
}

func truncating() []rule {
	return []rule{
		{"a truncation with new content replaces a message and all that followed it", func(k *kit) {
			k.talk()
			was := k.history("a")
			out, err := k.truncate(2, "edited")
			k.ok(err)
			k.equal("removed", out.Removed, []int64{*was[2].ID, *was[3].ID})
			k.equal("kept and evicted", []any{out.Kept, out.Evicted, out.From}, []any{*was[1].ID, (*chat.WorkerID)(nil), chat.Waiting})
			k.says("a", "1.0@0 user hello", "1.1@1 assistant hi stop", "3.0@3 user edited")
			k.row("a", state{Status: chat.Pending, Turn: 3, Epoch: 3})
			k.equal("client id", out.Messages[0].ClientID, was[2].ClientID)
			k.due(RedispatchAfter)
		}},
		{"a truncation without content answers the message again", func(k *kit) {
			k.talk()
			was := k.history("a")
			out, err := k.truncate(2, "")
			k.ok(err)
			k.equal("a new id", *out.Messages[0].ID > *was[3].ID, true)
			k.finish(k.claim("a", "w"), "otherwise")
			k.says("a", "1.0@0 user hello", "1.1@1 assistant hi stop", "3.0@3 user second", "3.1@4 assistant otherwise stop")
		}},
		{"a truncation at the first message leaves nothing else", func(k *kit) {
			k.talk()
			out, err := k.truncate(0, "from the start")
			k.ok(err)
			k.equal("kept", out.Kept, int64(0))
			k.says("a", "3.0@3 user from the start")
		}},
		{"a truncation keeps the message's own model and parameters, or takes others", func(k *kit) {
			m := message("a", "hello")
			m.Model, m.Params = "openai/x", []byte(`{"max_tokens": 9}`)
			_, err := k.s.Create(k.ctx, chat.NewChat{ID: "a", Message: &m})
			k.ok(err)
			_, err = k.truncate(0, "edited")
			k.ok(err)
			k.equal("model and parameters", []string{k.history("a")[0].Model, string(k.history("a")[0].Params)}, []string{"openai/x", `{"max_tokens": 9}`})
			out, err := k.s.Truncate(k.ctx, chat.Truncation{Chat: "a", Message: *k.history("a")[0].ID, Model: "demo/echo", Params: []byte(`{"max_tokens": 7}`)})
			k.ok(err)
			k.equal("model and parameters", []string{out.Messages[0].Model, string(out.Messages[0].Params)}, []string{"demo/echo", `{"max_tokens": 7}`})
		}},
		{"a truncation of what is not there, or not a user's, or of another version, changes nothing", func(k *kit) {
			k.talk()
			k.unchanged(func() {
				_, err := k.s.Truncate(k.ctx, chat.Truncation{Chat: "nobody", Message: 1})
				k.refused(err, chat.NotFound, "chat")
				_, err = k.s.Truncate(k.ctx, chat.Truncation{Chat: "a", Message: 1 << 40})
				k.refused(err, chat.NotFound, "message")
				_, err = k.truncate(1, "edited")
				k.refused(err, chat.Invalid, "message")
				_, err = k.s.Truncate(k.ctx, chat.Truncation{Chat: "a", Message: *k.history("a")[0].ID, Version: 2})
				k.refused(err, chat.Conflict, "version")
			})
		}},
		{"a truncation that is repeated finds its message gone", func(k *kit) {
			k.talk()
			t := chat.Truncation{Chat: "a", Message: *k.history("a")[2].ID}
			_, err := k.s.Truncate(k.ctx, t)
			k.ok(err)
			k.unchanged(func() {
				_, err := k.s.Truncate(k.ctx, t)
				k.refused(err, chat.NotFound, "message")
			})
		}},
		{"a removed client_id may be used again, the one that stayed is a duplicate", func(k *kit) {
			k.talk()
			_, err := k.truncate(0, "")
			k.ok(err)
			k.equal("duplicate", k.send("a", "hello").Duplicate, true)
			k.equal("queued anew", k.send("a", "second").Queued, true)
		}},
		{"a snapshot says what was removed of what its reader knows", func(k *kit) {
			k.talk()
			was := k.history("a")
			_, err := k.truncate(2, "")
			k.ok(err)
			for after, kept := range map[int64]int64{0: 0, *was[0].ID: *was[0].ID, *was[1].ID: *was[1].ID, *was[2].ID: *was[1].ID, *was[3].ID: *was[1].ID} {
				s, err := k.s.Snapshot(k.ctx, "a", after, 10)
				k.ok(err)
				k.equal("kept", *s.Kept, kept)
			}
		}},
	}
}

func finding() []rule {
	return []rule{
		{"a message is found by its sender's id, in history and queue, and not once it is removed", func(k *kit) {
			k.talk()
			k.send("a", "third")
			k.send("a", "fourth")
			for text, want := range map[string]string{"hello": "1.0@0 user hello", "second": "2.0@1 user second", "fourth": "0.0@0 user fourth"} {
				m, err := k.s.Find(k.ctx, "a", message("a", text).ClientID)
				k.ok(err)
				k.equal("found", []any{line(m), m.ID == nil}, []any{want, text == "fourth"})
			}
			_, err := k.truncate(0, "")
			k.ok(err)
			for _, client := range []string{message("a", "second").ClientID, ""} {
				_, err = k.s.Find(k.ctx, "a", client)
				k.refused(err, chat.NotFound, "client_id")
			}
			_, err = k.s.Find(k.ctx, "nobody", "x")
			k.refused(err, chat.NotFound, "chat")
		}},
	}
}

func truncatingBusy() []rule {
	return []rule{
		{"a truncation of a running chat fences its owner", func(k *kit) {
			k.register("w")
			l := k.commit(k.own("a", "w"), calling("c1"))
			out, err := k.truncate(0, "edited")
			k.ok(err)
			k.equal("evicted", *out.Evicted, chat.WorkerID("w"))
			k.row("a", state{Status: chat.Pending, Turn: 2, Epoch: 2})
			k.unchanged(func() {
				for tr, move := range k.moves(l) {
					k.names(tr, chat.Pending, move())
				}
			})
			k.finish(k.claim("a", "w"), "hi")
			k.says("a", "2.0@2 user edited", "2.1@3 assistant hi stop")
		}},
		{"a truncation forgets a request to stop, and gives the turn its budgets", func(k *kit) {
			k.register("w")
			k.backoff(k.own("a", "w"))
			k.interrupt("a")
			_, err := k.truncate(0, "")
			k.ok(err)
			k.row("a", state{Status: chat.Pending, Turn: 2, Epoch: 3, Void: 1})
		}},
		{"a truncation of a pending chat keeps nothing of its open step", func(k *kit) {
			p := k.partial("a")
			_, err := k.truncate(0, "")
			k.ok(err)
			out, err := k.s.Interrupt(k.ctx, "a", 0, &p)
			k.ok(err)
			k.equal("messages", lines(out.Messages), []string{"2.1@4 assistant  interrupted"})
		}},
		{"a truncation of a parked chat forgets the error", func(k *kit) {
			k.register("w")
			k.fail(k.own("a", "w"))
			_, err := k.truncate(0, "")
			k.ok(err)
			k.row("a", state{Status: chat.Pending, Turn: 2, Epoch: 2})
			k.says("a", "2.0@2 user hello")
		}},
		{"a truncation keeps the queue", func(k *kit) {
			k.register("w")
			k.own("a", "w")
			k.send("a", "second")
			_, err := k.truncate(0, "edited")
			k.ok(err)
			k.row("a", state{Status: chat.Pending, Turn: 2, Epoch: 2, Queued: 1})
			k.finish(k.claim("a", "w"), "hi")
			k.says("a", "2.0@2 user edited", "2.1@3 assistant hi stop", "3.0@3 user second")
		}},
	}
}

func truncatingTogether() []rule {
	return []rule{
		{"of many truncations at one message at once one happens", func(k *kit) {
			k.talk()
			t := chat.Truncation{Chat: "a", Message: *k.history("a")[2].ID}
			won := k.together(8, func(int) (bool, error) {
				_, err := k.s.Truncate(k.ctx, t)
				var refusal *chat.Error
				if errors.As(err, &refusal) && refusal.Code == chat.NotFound {
					return false, nil
				}
				return err == nil, err
			})
			k.equal("truncations", won, 1)
			k.says("a", "1.0@0 user hello", "1.1@1 assistant hi stop", "3.0@3 user second")
		}},
		{"a truncation and a finish at once leave one of two histories", func(k *kit) {
			k.register("w")
			l := k.own("a", "w")
			first := *k.history("a")[0].ID
			finished := k.together(2, func(i int) (bool, error) {
				if i == 0 {
					_, err := k.s.Truncate(k.ctx, chat.Truncation{Chat: "a", Message: first})
					return false, err
				}
				_, err := k.s.Finish(k.ctx, l, final("hi"))
				return err == nil, except(err, chat.ErrFenced)
			})
			k.t.Logf("finished before: %d", finished)
			k.says("a", "2.0@2 user hello")
			k.row("a", state{Status: chat.Pending, Turn: 2, Epoch: 2})
		}},
	}
}
