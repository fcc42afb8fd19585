package chat_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"processor/internal/chat"
)

// follower is a client that follows one turn, live or replayed, and keeps the numbered events.
type follower struct {
	viewer

	log    *chat.TurnLog
	events []chat.TurnEvent
}

func follow(w *world, turn int, after chat.Mark) *follower {
	f := &follower{viewer: viewer{w: w}, log: chat.NewTurnLog(turn, after)}
	f.also = func(e chat.Event) { f.events = append(f.events, f.log.Apply(e)...) }
	return f
}

// said is what an event says, without what may differ between a live event and its replay.
func said(e chat.TurnEvent) string {
	switch e.Type {
	case chat.TurnDelta:
		return fmt.Sprintf("delta of step %d: %s %q", e.Step, e.Delta.Kind, e.Delta.Text)
	case chat.TurnVoided:
		return fmt.Sprintf("voided, kept to %d", e.Kept)
	case chat.TurnGone:
		return "gone"
	}
	return fmt.Sprintf("%s %d %q", e.Type, *e.Message.ID, e.Message.Finish)
}

// final is what is left once everything that was voided is taken back.
func final(events []chat.TurnEvent) []string {
	var kept []chat.TurnEvent
	for _, e := range events {
		if e.Type == chat.TurnVoided {
			kept = slices.DeleteFunc(kept, func(k chat.TurnEvent) bool { return k.Attempt == e.Attempt && k.Place > e.Kept })
			continue
		}
		kept = append(kept, e)
	}
	return lines(kept)
}

func lines(events []chat.TurnEvent) []string {
	out := []string{}
	for _, e := range events {
		out = append(out, fmt.Sprintf("%d %s", e.Number(), said(e)))
	}
	return out
}

// TestATurnsEventsAreAFunctionOfItsMessages: what was seen live, over a bus that loses, repeats and delays, and what a replica that knows nothing replays
// later from the messages are the same events under the same numbers, but for attempts that were voided, and those were announced.
// Whoever was cut off anywhere and comes back with the number of the last event seen ends with the same.
func TestATurnsEventsAreAFunctionOfItsMessages(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		w.keep = true // a chat that is deleted has no transcript to compare with
		var live []*follower
		for turn := 1; turn <= 4; turn++ {
			live = append(live, follow(w, turn, chat.MarkOf(-1)))
		}
		seen := 0
		acts, end := rapid.IntRange(10, 80).Draw(t, "acts"), rapid.IntRange(0, 2).Draw(t, "settle")
		for act := 0; act < acts || (end > 0 && !w.settled()); act++ {
			if act < acts {
				w.act()
			} else {
				w.settle()
			}
			for ; seen < len(w.published); seen++ {
				for _, f := range live {
					f.over(w.published[seen], rapid.SampledFrom([]string{"deliver", "deliver", "deliver", "lose", "twice"}).Draw(t, "bus"))
				}
			}
		}
		w.silent = !rapid.Bool().Draw(t, "the owner answers at the end")
		for i, f := range live {
			f.resync()
			f.check(t, i+1)
		}
	})
}

func (f *follower) over(e chat.Event, bus string) {
	if bus == "lose" {
		return
	}
	f.take(e)
	if bus == "twice" {
		f.take(e)
	}
}

// settled says that the chat is idle; settle brings it a step nearer to that.
func (w *world) settled() bool {
	c, err := w.store.Get(w.t.Context(), watched)
	w.must(err)
	return c.Status == chat.Waiting || c.Status == chat.Parked
}

func (w *world) settle() {
	if !w.owned {
		w.do("claim")
		return
	}
	w.delta()
	w.do("finish")
}

func (f *follower) check(t *rapid.T, turn int) {
	t.Helper()
	whole := follow(f.w, turn, chat.MarkOf(-1))
	whole.resync()
	if n := len(f.events); n > 0 && len(whole.events) == 0 {
		if f.events[n-1].Type != chat.TurnGone || !f.log.Over() {
			t.Fatalf("turn %d was removed, and its watcher not told: %q", turn, lines(f.events))
		}
		return
	}
	rises(t, f.events)
	want := final(whole.events)
	same := func(what string, got []string) {
		n := len(want)
		if !whole.log.Over() { // what is not committed yet depends on whom one could ask
			n = min(n, len(got))
			got = got[:n]
		}
		if diff := cmp.Diff(want[:n], got); diff != "" {
			t.Fatalf("turn %d, %s (-replayed +got):\n%s\nlive %q", turn, what, diff, lines(f.events))
		}
	}
	same("live events differ from the replayed", final(f.events))
	for i, e := range f.events {
		rest := follow(f.w, turn, e.Mark)
		rest.resync()
		all := append(slices.Clone(f.events[:i+1]), rest.events...)
		rises(t, all)
		same(fmt.Sprintf("cut after number %d, then came %q", e.Number(), lines(rest.events)), final(all))
	}
}

func rises(t *rapid.T, events []chat.TurnEvent) {
	t.Helper()
	for i := 1; i < len(events); i++ {
		if a, b := events[i-1].Mark, events[i].Mark; !a.Before(b) || a.Number() >= b.Number() {
			t.Fatalf("number %d follows %d: %q", b.Number(), a.Number(), lines(events))
		}
	}
}
