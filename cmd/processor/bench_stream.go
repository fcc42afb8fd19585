package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/alecthomas/kong"
	"github.com/tidwall/gjson"

	"processor/internal/chat"
	"processor/internal/measure"
)

// BenchStreamCmd measures relaying.
type BenchStreamCmd struct {
	Chats    int           `name:"chats" default:"200" placeholder:"N" help:"Chats that stream."`
	Watchers int           `name:"watchers" default:"2" placeholder:"N" help:"Watchers of each chat."`
	Every    time.Duration `name:"every" default:"100ms" placeholder:"DURATION" help:"Time between two tokens of a chat; below 50ms tokens are gathered, which is counted as delay."`
	Duration time.Duration `name:"duration" default:"20s" placeholder:"DURATION" help:"How long each chat streams."`
	Taps     bool          `name:"taps" help:"Watchers that only look for the tokens and their times and keep no transcript, so that a small machine has enough of them."`
	Replicas int           `name:"replicas" default:"1" placeholder:"N" help:"How many replicas are started; 0 measures those of the deployment."`

	BenchFlags
}

// Validate is called by the command line's parser.
func (c *BenchStreamCmd) Validate() error {
	err := positive(map[string]float64{"chats": float64(c.Chats), "watchers": float64(c.Watchers), "every": c.Every.Seconds(), "duration": c.Duration.Seconds()})
	if err == nil && float64(c.Chats*c.Watchers)*c.Duration.Seconds()/c.Every.Seconds() > most {
		err = fmt.Errorf("these chats and watchers see more than %d tokens: fewer of them, or a shorter --duration", most)
	}
	return err
}

// Run measures.
func (c *BenchStreamCmd) Run(ctx context.Context, std *Streams, command *kong.Context) error {
	return c.measure(ctx, std, command, "stream", c.bench)
}

func (c *BenchStreamCmd) bench(ctx context.Context, r *rig, report *benchReport) error {
	report.About = fmt.Sprintf("%d chats with %d watchers each, a token every %s, for %s, %d replicas", c.Chats, c.Watchers, c.Every, c.Duration, c.Replicas)
	if err := r.startReplicas(ctx, c.Replicas, max(c.Chats, chat.DefaultSlots)); err != nil {
		return err
	}
	chats, err := r.chats(ctx, c.Chats, benchModel)
	if err != nil {
		return err
	}
	limit := c.Duration + c.Duration/2 + callPatience
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the streams did not end within %s", limit))
	defer cancel()
	n := len(chats) * c.Watchers
	watch := (*tokenWatchers).watch
	if c.Taps {
		watch = (*tokenWatchers).tap
	}
	w := &tokenWatchers{rig: r, ready: make(chan struct{}, n)}
	watched := make(chan error, 1)
	go func() {
		watched <- each(ctx, n, n, func(ctx context.Context, i int) error { return watch(w, ctx, chats[i%len(chats)]) })
	}()
	for range n {
		select {
		case <-w.ready:
		case err := <-watched:
			return err
		}
	}
	before, err := r.read(ctx)
	if err != nil {
		return err
	}
	r.std.note("streaming for %s…", c.Duration)
	tokens := max(int(c.Duration/c.Every), 1)
	err = each(ctx, len(chats), benchSenders, func(ctx context.Context, i int) error {
		text := fmt.Sprintf("#n=%d #stamp #tokens=%d #delay=%s say the time", i, tokens, c.Every)
		_, err := ask[chat.SendReply](ctx, r.bus, "chats.send", chat.SendRequest{Chat: chats[i], Text: &text})
		return err
	})
	if err == nil {
		err = <-watched
	}
	if err != nil {
		return err
	}
	after, err := r.read(ctx)
	if err != nil {
		return err
	}
	w.report(report, before, after)
	return nil
}

// tokenWatchers follow chats as clients do.
type tokenWatchers struct {
	rig   *rig
	ready chan struct{} // one for each watcher that has its first snapshot

	mu             sync.Mutex
	first, last    time.Time
	deltas, voids  int
	relayed, whole measure.Samples
}

// watch returns when the chat's answer is complete.
func (w *tokenWatchers) watch(ctx context.Context, id chat.ID) error {
	watcher := chat.Watcher{Feed: feed{w.rig.bus}, Compare: chat.DefaultTiming().Compare}
	ready := sync.OnceFunc(func() { w.ready <- struct{}{} })
	return watcher.Watch(ctx, id, 0, func(e chat.Event) error {
		ready()
		switch {
		case e.Type == chat.DeltaEvent:
			w.take(e.Delta.Text, e.At, time.Now())
		case e.Type == chat.VoidEvent:
			w.mu.Lock()
			w.voids++
			w.mu.Unlock()
		case e.Type == chat.MessageEvent && e.Message.Ends():
			return chat.ErrStopWatching
		}
		return nil
	})
}

// take notes the delay of every token in a delta: each is the time at which the provider sent it.
func (w *tokenWatchers) take(text string, at, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.deltas == 0 {
		w.first = now
	}
	w.deltas++
	w.last = now
	for token := range strings.FieldsSeq(text) {
		if said, err := strconv.ParseInt(token, 10, 64); err == nil {
			w.whole = append(w.whole, now.Sub(time.Unix(0, said)))
			w.relayed = append(w.relayed, at.Sub(time.Unix(0, said)))
		}
	}
}

// tap is watch for --taps.
func (w *tokenWatchers) tap(ctx context.Context, id chat.ID) error {
	ended := make(chan string, 1)
	stop, err := w.rig.bus.Tap(id, func(event []byte) {
		now := time.Now()
		if gjson.GetBytes(event, "type").Str != string(chat.DeltaEvent) {
			answered(event, ended)
			return
		}
		w.take(gjson.GetBytes(event, "delta.text").Str, gjson.GetBytes(event, "at").Time(), now)
	})
	if err != nil {
		return err
	}
	defer stop()
	w.ready <- struct{}{}
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (w *tokenWatchers) report(report *benchReport, before, after reading) {
	report.latency("provider → watcher", "from just before the provider writes a token to its arrival at a watcher", w.whole)
	report.latency("provider → published", "of that, until the replica publishes it", w.relayed)
	seconds := max(w.last.Sub(w.first).Seconds(), 1e-3)
	report.figure("deltas at watchers", float64(w.deltas)/seconds, "deltas/s")
	report.figure("tokens at watchers", float64(len(w.whole))/seconds, "tokens/s")
	report.figure("streams that began again", float64(w.voids), "")
	report.costs(before, after, 0)
}
