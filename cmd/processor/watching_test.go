package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"

	"processor/internal/chat"
)

// watching follows a chat like any client does, until the test ends.
type watching struct {
	d      *deployment
	mu     sync.Mutex
	events []chat.Event
	news   chan struct{}
}

func (d *deployment) watch(id chat.ID) *watching {
	d.t.Helper()
	return d.watchAfter(id, 0)
}

// watchAfter goes on after a message.
func (d *deployment) watchAfter(id chat.ID, after int64) *watching {
	d.t.Helper()
	w := &watching{d: d, news: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(d.ctx)
	done := make(chan struct{})
	watcher := chat.Watcher{Feed: feed{d.client}, Compare: chat.DefaultTiming().Compare}
	go func() {
		defer close(done)
		if err := watcher.Watch(ctx, id, after, w.take); err != nil && ctx.Err() == nil {
			d.t.Errorf("watching %s: %v", id, err)
		}
	}()
	d.t.Cleanup(func() { cancel(); <-done })
	w.until("its first snapshot", func(seen []chat.Event) bool { return len(seen) > 0 })
	return w
}

func (w *watching) take(e chat.Event) error {
	w.mu.Lock()
	w.events = append(w.events, e)
	w.mu.Unlock()
	select {
	case w.news <- struct{}{}:
	default:
	}
	return nil
}

func (w *watching) seen() []chat.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.events)
}

// until waits until the events so far fulfil holds, and returns them.
func (w *watching) until(what string, holds func([]chat.Event) bool) []chat.Event {
	w.d.t.Helper()
	deadline := time.After(patience)
	for {
		if seen := w.seen(); holds(seen) {
			return seen
		}
		select {
		case <-w.news:
		case <-deadline:
			w.d.t.Fatalf("waited %s in vain for the watcher to see: %s; it saw %s", patience, what, describeEvents(w.seen()))
		}
	}
}

// transcript is what the watcher ends with.
func transcript(seen []chat.Event) []chat.Message {
	var all []chat.Message
	for _, e := range seen {
		switch e.Type {
		case chat.MessageEvent:
			all = append(all, *e.Message)
		case chat.RemovedEvent:
			all = slices.DeleteFunc(all, func(m chat.Message) bool { return *m.ID >= e.RemovedFrom && *m.ID <= e.MessageID })
		case chat.DeletedEvent:
			all = nil
		}
	}
	return all
}

func describeEvents(events []chat.Event) string {
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "\n%s epoch %d seq %d %s%s", e.Type, e.Epoch, e.Seq, e.Status, e.Reason)
		if e.Message != nil {
			fmt.Fprintf(&b, " %s %s", e.Message.Role, e.Message.Finish)
		}
	}
	return b.String()
}

// has says whether an event of a type was seen.
func has(seen []chat.Event, t chat.EventType) bool {
	return slices.ContainsFunc(seen, func(e chat.Event) bool { return e.Type == t })
}

// answers are the messages that ended turns.
func answers(seen []chat.Event) []chat.Message {
	var out []chat.Message
	for _, e := range seen {
		if e.Type == chat.MessageEvent && e.Message.Ends() {
			out = append(out, *e.Message)
		}
	}
	return out
}

// rests says whether the last status that was seen is one in which nobody has to act.
func rests(seen []chat.Event) bool {
	for _, e := range slices.Backward(seen) {
		if e.Type == chat.StatusEvent {
			return e.Status == chat.Waiting || e.Status == chat.Parked
		}
	}
	return false
}

// shown is what a screen shows of the step that is not committed.
func shown(seen []chat.Event) string {
	var b strings.Builder
	for _, e := range seen {
		switch {
		case e.Type == chat.DeltaEvent:
			b.WriteString(e.Delta.Text)
		case e.Type == chat.VoidEvent, e.Type == chat.DeletedEvent, e.Type == chat.MessageEvent && e.Message.Role == chat.Assistant:
			b.Reset()
		}
	}
	return b.String()
}

// ends waits until the watcher has seen the chat come to rest with a transcript, and checks it against Postgres.
func (w *watching) ends(want ...string) {
	w.d.t.Helper()
	seen := w.until(fmt.Sprintf("%q", want), func(seen []chat.Event) bool { return rests(seen) && slices.Equal(says(transcript(seen)), want) })
	w.d.sameTranscript(seen)
}

// rested waits until the watcher has seen the chat come to rest after its answer to a text, and returns the transcript in short.
func (w *watching) rested(text string) []string {
	w.d.t.Helper()
	seen := w.until("the answer to "+text, func(seen []chat.Event) bool {
		all := transcript(seen)
		asked := slices.IndexFunc(all, func(m chat.Message) bool { return m.Role == chat.User && m.Text() == text })
		return asked >= 0 && all[len(all)-1].Ends() && len(all)-1 > asked && rests(seen)
	})
	w.d.sameTranscript(seen)
	return says(transcript(seen))
}

// sameTranscript compares what a watcher saw with what Postgres holds (I10): the messages, and that nothing was shown of a step that its
// message does not have, unless it was declared void.
func (d *deployment) sameTranscript(seen []chat.Event) {
	d.t.Helper()
	if diff := cmp.Diff(says(d.history(seen[0].Chat)), says(transcript(seen))); diff != "" {
		d.t.Errorf("the watcher ends with another transcript than Postgres (-Postgres +watcher): %s", diff)
	}
	for i, e := range seen {
		if e.Type == chat.MessageEvent && e.Message.Role == chat.Assistant {
			if before := shown(seen[:i]); !strings.HasPrefix(e.Message.Text(), before) {
				d.t.Errorf("the watcher was shown %.80q of %.80q", before, e.Message.Text())
			}
		}
	}
}
