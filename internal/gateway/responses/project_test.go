package responses

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// reader is a client that holds a stream to what the official clients demand of it.
type client struct {
	t     *rapid.T
	seen  []event
	items map[int64]*kept
	final *object
}

// kept is an item as a client puts it together.
type kept struct {
	item item
	text string
	part bool
	done bool
}

func (c *client) broken(e event, format string, args ...any) {
	c.t.Helper()
	var all []string
	for _, s := range c.seen {
		all = append(all, show(s))
	}
	c.t.Fatalf("%s: %s\nafter\n%s", show(e), fmt.Sprintf(format, args...), strings.Join(all, "\n"))
}

func show(e event) string {
	raw, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

func (c *client) read(e event) {
	c.t.Helper()
	if n := len(c.seen); n == 0 && e.Type != "response.created" {
		c.broken(e, "it comes first")
	} else if n > 0 && e.SequenceNumber <= c.seen[n-1].SequenceNumber {
		c.broken(e, "its number does not rise")
	}
	if c.final != nil {
		c.broken(e, "it comes after the end")
	}
	if e.Response != nil {
		c.lifecycle(e)
	} else {
		c.output(e)
	}
	c.seen = append(c.seen, e)
}

func (c *client) lifecycle(e event) {
	if e.Type == "response.created" || e.Type == "response.in_progress" {
		return
	}
	c.final = e.Response
	byID := map[string]*kept{}
	for _, k := range c.items {
		if !k.done {
			c.broken(e, "item %s is open", k.item.ID)
		}
		byID[k.item.ID] = k
	}
	for _, it := range e.Response.Output {
		k := byID[it.ID]
		if k == nil || !k.done {
			c.broken(e, "item %s of the output was not streamed", it.ID)
		}
		if diff := cmp.Diff(it, k.item, cmp.AllowUnexported(item{}, part{})); diff != "" {
			c.broken(e, "item %s of the output is not what was streamed (-output +streamed):\n%s", it.ID, diff)
		}
	}
}

func (c *client) output(e event) {
	k := c.items[*e.OutputIndex]
	if e.Type == "response.output_item.added" {
		if k != nil {
			c.broken(e, "the index is used")
		}
		c.items[*e.OutputIndex] = &kept{item: *e.Item}
		return
	}
	if k == nil || k.done {
		c.broken(e, "there is no such open item")
	}
	if (e.Item != nil && e.Item.ID != k.item.ID) || (e.ItemID != "" && e.ItemID != k.item.ID) {
		c.broken(e, "it names another item than %s", k.item.ID)
	}
	switch kind := e.Type; {
	case kind == "response.content_part.added":
		k.part = true
	case strings.HasSuffix(kind, ".delta"):
		if !k.part {
			c.broken(e, "its part was not added")
		}
		k.text += *e.Delta
	case strings.HasSuffix(kind, "_text.done"):
		if *e.Text != k.text {
			c.broken(e, "the deltas were %q", k.text)
		}
	case kind == "response.output_item.done":
		k.item, k.done = *e.Item, true
		if content := k.item.Content; content != nil && len(*content) == 1 && k.part && (*content)[0].Text != k.text {
			c.broken(e, "the deltas were %q", k.text)
		}
	}
}

// readAll reads a stream, cut into pieces that were asked for one after another.
func readAll(t *rapid.T, pieces ...[]event) *client {
	t.Helper()
	c := &client{t: t, items: map[int64]*kept{}}
	for _, piece := range pieces {
		for _, e := range piece {
			c.read(e)
		}
	}
	return c
}

// TestAStreamCutAnywhereIsTheStreamUncut: whoever watches live, over a bus that loses and repeats, who comes later, and who was cut off after any event
// and comes back with its number, to a replica that knows nothing, get a stream that official clients accept, the same event under the same number, and
// the same response at its end.
func TestAStreamCutAnywhereIsTheStreamUncut(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		live := []*viewer{w.follow(1, -1), w.follow(2, -1), w.follow(3, -1)}
		seen, steps := 0, rapid.IntRange(5, 60).Draw(t, "steps")
		for done := false; !done; {
			if steps--; steps >= 0 {
				w.step()
			} else {
				done = w.settle()
			}
			for ; seen < len(w.published); seen++ {
				for _, v := range live {
					switch rapid.SampledFrom([]string{"deliver", "deliver", "lose", "twice"}).Draw(t, "bus") {
					case "twice":
						v.take(w.published[seen])
						v.take(w.published[seen])
					case "deliver":
						v.take(w.published[seen])
					}
				}
			}
		}
		for i, v := range live {
			v.resync()
			v.check(t, i+1)
		}
	})
}

// check compares what was seen live with replays.
func (v *viewer) check(t *rapid.T, turn int) {
	t.Helper()
	c := readAll(t, v.events)
	whole := v.w.follow(turn, -1)
	whole.resync()
	want := readAll(t, whole.events)
	if v.p.over && want.final == nil { // it failed, and was tried again after this viewer had left
		return
	}
	final := func(c *client) string { return show(event{Response: c.final}) }
	if final(c) != final(want) && !v.ended(want) {
		t.Fatalf("turn %d ends as\n%s\nand a replay as\n%s", turn, final(c), final(want))
	}
	same(t, v.events, whole.events)
	for i, e := range v.events {
		rest := v.w.follow(turn, e.SequenceNumber)
		rest.resync()
		if i == len(v.events)-1 && v.p.over {
			continue // nobody comes back after the end
		}
		cut := readAll(t, v.events[:i+1], rest.events)
		same(t, rest.events, whole.events)
		if final(cut) != final(want) {
			t.Fatalf("turn %d cut after %s ends as\n%s\nuncut as\n%s", turn, show(e), final(cut), final(want))
		}
	}
}

// ended reports whether the viewer saw the turn fail before somebody had it tried again.
func (v *viewer) ended(now *client) bool {
	last := v.events[len(v.events)-1]
	return last.Type == "response.failed" && now.final != nil && now.seen[len(now.seen)-1].SequenceNumber != last.SequenceNumber
}

// same expects the same event under the same number.
func same(t *rapid.T, a, b []event) {
	t.Helper()
	known := map[int64]string{}
	for _, e := range a {
		known[e.SequenceNumber] = show(e)
	}
	for _, e := range b {
		if s, ok := known[e.SequenceNumber]; ok && s != show(e) {
			t.Fatalf("number %d is\n%s\nand\n%s", e.SequenceNumber, s, show(e))
		}
	}
}
