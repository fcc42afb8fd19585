package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"processor/internal/bus"
	"processor/internal/chat"
	"processor/internal/chat/llm/llmtest"
)

// through is the deployment as a client sees it whose NATS connection is another one.
func (d *deployment) through(url string) *deployment {
	d.t.Helper()
	client, err := bus.Connect(d.ctx, bus.Config{URL: url, Name: "watcher"})
	d.must(err)
	d.t.Cleanup(client.Close)
	other := *d
	other.client = client
	return &other
}

// TestAWatcherMayJoinAtAnyMoment starts watchers before, in every part of, and after a chat of several turns.
func TestAWatcherMayJoinAtAnyMoment(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.start("a")
	d.start("b")
	var all []*watching
	join := func() { all = append(all, d.watch("c")) }
	d.create("c")
	join()
	d.say("c", "#tokens=40 #hold=20")
	join()
	d.held("c")
	join()
	d.say("c", "#status=500 #times=1 #tokens=7")
	d.provider.Gate("c").Open()
	join()
	d.called("c", 3)
	join()
	d.say("c", "#tokens=20 #reset=10 #times=1")
	d.called("c", 4)
	join()
	d.called("c", 5)
	join()
	d.answered("c")
	join()
	want := []string{"user: #tokens=40 #hold=20", "assistant stop: " + counted(40), "user: #status=500 #times=1 #tokens=7", "assistant stop: " + counted(7),
		"user: #tokens=20 #reset=10 #times=1", "assistant stop: " + counted(20)}
	for _, w := range all {
		w.ends(want...)
	}
	if first := all[2].seen(); !has(first, chat.DeltaEvent) {
		t.Error("who joined in mid-stream was shown nothing of it")
	}
}

// TestAWatcherThatLosesEventsEndsWithTheTranscript cuts its connection again and again while a takeover and an interruption go on.
func TestAWatcherThatLosesEventsEndsWithTheTranscript(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.start("a")
	d.start("b")
	proxy, url := d.proxy(d.natsURL)
	d.create("c")
	w := d.through(url).watch("c")
	cut := func() { proxy.Cut() }
	d.say("c", "#tokens=60 #delay=20ms #hold=50")
	d.say("c", "#tokens=7")
	d.held("c")
	cut()
	d.owner("c").kill()
	d.held("c")
	cut()
	d.interrupt("c", 1)
	d.answered("c")
	cut()
	proxy.Refuse()
	cut()
	d.say("c", "#tokens=5")
	d.answered("c")
	d.must(proxy.Heal())
	said := w.rested("#tokens=5")
	if len(said) != 6 || !strings.HasPrefix(said[1], "assistant interrupted: "+counted(20)) || said[3] != "assistant stop: "+counted(7) || said[5] != "assistant stop: "+counted(5) {
		t.Errorf("the transcript is %q", said)
	}
}

// TestManyWatchersSeeTheSame has some on connections that are cut.
func TestManyWatchersSeeTheSame(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.start("a")
	proxy, url := d.proxy(d.natsURL)
	cut := d.through(url)
	d.create("c")
	var all []*watching
	for i := range 60 {
		if i%3 == 0 {
			all = append(all, cut.watch("c"))
		} else {
			all = append(all, d.watch("c"))
		}
	}
	for i := range 3 {
		d.say("c", fmt.Sprintf("#tokens=50 #delay=10ms #hold=25 #gate=g%d", i))
		d.held(fmt.Sprintf("g%d", i))
		proxy.Cut()
		d.provider.Gate(fmt.Sprintf("g%d", i)).Open()
	}
	d.answered("c")
	want := says(d.history("c"))
	for _, w := range all {
		w.ends(want...)
	}
}

// TestASlowWatcherIsDroppedComesBackAndHarmsNobody has one that takes no event until the end.
func TestASlowWatcherIsDroppedComesBackAndHarmsNobody(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.start("a")
	d.create("c")
	slow := d.through(d.natsURL)
	goOn, began := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var mu sync.Mutex
	var seen []chat.Event
	ctx, cancel := context.WithCancel(d.ctx)
	defer cancel()
	done := make(chan error, 1)
	watcher := chat.Watcher{Feed: feed{slow.client}, Compare: chat.DefaultTiming().Compare}
	go func() {
		done <- watcher.Watch(ctx, "c", 0, func(e chat.Event) error {
			once.Do(func() { close(began) })
			<-goOn
			mu.Lock()
			defer mu.Unlock()
			if seen = append(seen, e); rests(seen) && len(answers(seen)) == 2 {
				return chat.ErrStopWatching
			}
			return nil
		})
	}()
	<-began
	quick := d.watch("c")
	d.say("c", "#tokens=3")
	d.answered("c")
	// More events than a feed holds, by way of the API's own subject.
	filler := make([]chat.Event, 5000)
	row := d.get("c")
	for i := range filler {
		filler[i] = chat.Event{Type: chat.StatusEvent, Chat: "c", Number: row.Number, Version: 1, Status: chat.Waiting}
	}
	d.client.Announce(filler...)
	d.say("c", "#tokens=4")
	quick.ends("user: #tokens=3", "assistant stop: "+counted(3), "user: #tokens=4", "assistant stop: "+counted(4))
	d.await("the slow one is dropped", func() bool { return slow.client.Counts().Slow > 0 })
	close(goOn)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	d.sameTranscript(seen)
	if row, calls := d.get("c"), d.calls("c"); row.Epoch != 2 || len(calls) != 2 {
		t.Errorf("two turns were answered in %d claims and %d calls", row.Epoch, len(calls))
	}
}

// TestAWatcherFollowsAChatWhoseHistoryAndPartialAreLarge reads a page of messages, a system prompt and a partial that together are more than a
// message of NATS.
func TestAWatcherFollowsAChatWhoseHistoryAndPartialAreLarge(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.provider.Answer = func(c llmtest.Call) []llmtest.Step {
		if c.Text != "a long answer" {
			return d.provider.Markers(c)
		}
		word := strings.Repeat("y", 100<<10)
		return []llmtest.Step{llmtest.Text(word, word, word, word), llmtest.Hold(d.provider.Gate("c"))}
	}
	d.start("a", "--history-bytes=4KiB")
	call[chat.CreateReply](d, "chats.create", chat.CreateRequest{ID: "c", System: strings.Repeat("s", chat.MaxSystem)})
	large := strings.Repeat("x", 200<<10)
	for range 2 {
		d.say("c", "#tokens=1 "+large)
		d.answered("c")
	}
	d.say("c", "a long answer")
	d.held("c")
	w := d.watch("c")
	w.until("all that was said", func(seen []chat.Event) bool { return len(transcript(seen)) == 5 && len(shown(seen)) == 400<<10 })
	d.provider.Gate("c").Open()
	if said := w.rested("a long answer"); len(said) != 6 || len(said[5]) != len("assistant stop: ")+(400<<10) {
		t.Errorf("the watcher saw %d messages", len(said))
	}
}
