package chattest

import (
	"fmt"
	"time"

	"processor/internal/chat"
)

func beating() []rule {
	return []rule{
		{"a beat reads what its worker should run and who was asked to stop", func(k *kit) {
			k.register("w", "x")
			a, b := k.own("a", "w"), k.backoff(k.own("b", "w"))
			k.own("c", "x")
			k.interrupt("b")
			got := k.beat("w")
			want := chat.Beat{
				Count: 2, Sum: int64(a.Number)*a.Epoch + int64(b.Number)*b.Epoch,
				Interrupted: []chat.Owned{{Chat: "b", Number: b.Number, Epoch: 2, Turn: 1, Interrupted: true}},
			}
			k.equal("beat", got, want)
			owned, err := k.s.Owned(k.ctx, "w")
			k.ok(err)
			k.equal("owned", len(owned), 2)
		}},
		{"draining only rises", func(k *kit) {
			k.register("w")
			k.drain("w")
			k.beat("w")
			w, _ := k.rows().Worker("w")
			k.equal("draining", w.Draining, true)
		}},
		{"a beat of a worker without a row says that it is lost", func(k *kit) {
			k.equal("lost", k.beat("nobody").Lost, true)
		}},
		{"workers are live, suspect or lost by their heartbeats", func(k *kit) {
			k.register("live", "suspect", "lost")
			k.freeze("lost")
			k.elapse(2 * SuspectAfter)
			_, err := k.s.Beat(k.ctx, "live", 7, true)
			k.ok(err)
			all, err := k.s.Workers(k.ctx)
			k.ok(err)
			got := map[chat.WorkerID]chat.WorkerStatus{}
			for _, w := range all {
				got[w.ID] = w.Status
				if w.ID == "live" {
					k.equal("what the beat said", []any{w.Running, w.Draining, w.Slots, w.Host}, []any{7, true, 10, "host"})
				}
				if (time.Duration(w.HeartbeatAge)*time.Millisecond < SuspectAfter) != (w.ID == "live") {
					k.t.Errorf("worker %s has a heartbeat of age %d ms", w.ID, w.HeartbeatAge)
				}
			}
			k.equal("statuses", got, map[chat.WorkerID]chat.WorkerStatus{
				"live": chat.WorkerLive, "suspect": chat.WorkerSuspect, "lost": chat.WorkerLost,
			})
		}},
	}
}

func pruning() []rule {
	return []rule{
		{"rows of workers go a day after their last beat", func(k *kit) {
			k.register("old", "new")
			k.freeze("old")
			k.elapse(25 * time.Hour)
			k.beat("new")
			_, err := k.s.Prune(k.ctx, 0, 10)
			k.ok(err)
			rows := k.rows()
			k.equal("workers left", len(rows.Workers), 1)
			k.equal("worker left", rows.Workers[0].ID, chat.WorkerID("new"))
		}},
		{"retention takes idle chats that are old enough, a batch at a time, and busy ones never", func(k *kit) {
			k.register("w")
			for i := range 3 {
				k.finish(k.own(chat.ID(fmt.Sprint("idle", i)), "w"), "hi")
			}
			k.start("pending")
			k.own("running", "w")
			k.elapse(10 * time.Hour)
			k.finish(k.own("fresh", "w"), "hi")
			k.unchanged(func() { k.pruned(0, 10, 0) })
			k.unchanged(func() { k.pruned(11*time.Hour, 10, 0) })
			k.pruned(5*time.Hour, 2, 2)
			k.pruned(5*time.Hour, 2, 1)
			k.equal("chats left", len(k.rows().Chats), 3)
		}},
	}
}

func (k *kit) pruned(retain time.Duration, batch, want int) {
	k.t.Helper()
	ids, err := k.s.Prune(k.ctx, retain, batch)
	k.ok(err)
	k.equal("pruned", len(ids), want)
}

func reading() []rule {
	return []rule{
		{"a list is newest first, filtered, and pages without gaps", func(k *kit) {
			for i := range 6 {
				_, err := k.s.Create(k.ctx, chat.NewChat{ID: chat.ID(fmt.Sprint("c", i)), Tenant: fmt.Sprint("t", i%2)})
				k.ok(err)
			}
			k.send("c2", "hello")
			k.listed(chat.Filter{Limit: 10}, "c5", "c4", "c3", "c2", "c1", "c0")
			k.listed(chat.Filter{Limit: 10, Tenant: "t1"}, "c5", "c3", "c1")
			k.listed(chat.Filter{Limit: 10, Status: chat.Pending}, "c2")
			k.listed(chat.Filter{Limit: 10, Status: chat.Waiting, Tenant: "t0"}, "c4", "c0")
			k.listed(chat.Filter{Limit: 2, Tenant: "t0"}, "c4", "c2")
			row, _ := k.rows().Chat("c2")
			k.listed(chat.Filter{Limit: 2, Tenant: "t0", Before: row.Chat.Number}, "c0")
		}},
		{"a snapshot pages through the transcript, oldest first", func(k *kit) {
			k.register("w")
			l := k.own("a", "w")
			for range 4 {
				l = k.commit(l, answer("step"))
			}
			want, after := k.history("a"), int64(0)
			var got []chat.Message
			for pages := range 3 {
				snap, err := k.s.Snapshot(k.ctx, "a", after, 2)
				k.ok(err)
				got, after = append(got, snap.Messages...), snap.Next
				k.equal("more", snap.Next != 0, pages < 2)
				k.equal("row", stateOf(snap.Chat), stateOf(k.rows().Chats[0].Chat))
			}
			k.equal("messages", got, want)
		}},
		{"a snapshot after the last message has the row and no messages", func(k *kit) {
			k.start("a")
			snap, err := k.s.Snapshot(k.ctx, "a", *k.history("a")[0].ID, 10)
			k.ok(err)
			k.equal("page", []any{len(snap.Messages), snap.Next, snap.Chat.Status}, []any{0, int64(0), chat.Pending})
		}},
		{"a queue is read in the order in which it is taken, by pages, and what is taken is gone from it", func(k *kit) {
			k.register("w")
			l := k.own("a", "w")
			k.waits("", 1<<20)
			for _, text := range []string{"second", "third", "fourth"} {
				k.send("a", text)
			}
			k.waits("", 1<<20, "second", "third", "fourth")
			k.waits("", 1, "second", "…")
			k.waits(message("a", "second").ClientID, 1, "third", "…")
			k.waits(message("a", "third").ClientID, 1, "fourth")
			k.waits(message("a", "fourth").ClientID, 1)
			k.finish(l, "hi")
			k.waits("", 1<<20, "third", "fourth")
			k.waits(message("a", "second").ClientID, 1, "third", "…")
			_, err := k.s.Queue(k.ctx, "nobody", "", 1)
			k.refused(err, chat.NotFound, "chat")
		}},
		{"a chat that does not exist cannot be read or deleted", func(k *kit) {
			_, err := k.s.Get(k.ctx, "a")
			k.refused(err, chat.NotFound, "chat")
			_, err = k.s.Snapshot(k.ctx, "a", 0, 10)
			k.refused(err, chat.NotFound, "chat")
			_, err = k.s.Delete(k.ctx, "a")
			k.refused(err, chat.NotFound, "chat")
		}},
		{"a deleted chat leaves nothing behind", func(k *kit) {
			k.start("a")
			k.send("a", "second")
			_, err := k.s.Delete(k.ctx, "a")
			k.ok(err)
			rows := k.rows()
			k.equal("rows left", len(rows.Chats)+len(rows.Messages)+len(rows.Queue), 0)
		}},
	}
}

func (k *kit) listed(f chat.Filter, want ...chat.ID) {
	k.t.Helper()
	all, err := k.s.List(k.ctx, f)
	k.ok(err)
	var got []chat.ID
	for _, c := range all {
		got = append(got, c.ID)
	}
	k.equal(fmt.Sprintf("list of %+v", f), got, want)
}

// waits compares a page of the queue of chat a; a page with more behind it ends with an ellipsis.
func (k *kit) waits(after string, bytes int, want ...string) {
	k.t.Helper()
	q, err := k.s.Queue(k.ctx, "a", after, bytes)
	k.ok(err)
	var got []string
	for _, m := range q.Messages {
		k.equal("id, chat and role", []any{m.ID, m.Chat, m.Role}, []any{(*int64)(nil), chat.ID("a"), chat.User})
		got = append(got, m.Text())
	}
	if q.More {
		got = append(got, "…")
	}
	k.equal("queue", got, want)
	row, _ := k.rows().Chat("a")
	k.equal("row", stateOf(q.Chat), stateOf(row.Chat))
}
