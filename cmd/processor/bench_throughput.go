package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/alecthomas/kong"
	"github.com/tidwall/gjson"

	"processor/internal/chat"
	"processor/internal/measure"
)

// BenchThroughputCmd measures whole turns.
type BenchThroughputCmd struct {
	Senders  int           `name:"senders" default:"64" placeholder:"N" help:"Senders, each of which waits for its answer before it sends again."`
	Duration time.Duration `name:"duration" default:"20s" placeholder:"DURATION" help:"How long is measured."`
	Warmup   time.Duration `name:"warmup" default:"3s" placeholder:"DURATION" help:"How long the same load runs before."`
	Tokens   int           `name:"tokens" default:"20" placeholder:"N" help:"Tokens of an answer."`
	Replicas int           `name:"replicas" default:"1" placeholder:"N" help:"How many replicas are started; 0 measures those of the deployment."`
	Instant  bool          `name:"instant" help:"Answer inside of the replica, without HTTP: what is left is the processor's own work."`

	BenchFlags
}

// Validate is called by the command line's parser.
func (c *BenchThroughputCmd) Validate() error {
	if c.Instant && c.Replicas == 0 {
		return errors.New("--instant needs replicas of the benchmark's own: no other replica has that model")
	}
	return positive(map[string]float64{"senders": float64(c.Senders), "duration": c.Duration.Seconds(), "tokens": float64(c.Tokens)})
}

// Run measures.
func (c *BenchThroughputCmd) Run(ctx context.Context, std *Streams, command *kong.Context) error {
	return c.measure(ctx, std, command, "throughput", c.bench)
}

// turnsPerChat bounds the history, which is sent to the model with every turn.
const turnsPerChat = 10

func (c *BenchThroughputCmd) bench(ctx context.Context, r *rig, report *benchReport) error {
	how := "over HTTP"
	if c.Instant {
		how = "from inside of the replica"
	}
	report.About = fmt.Sprintf("%d senders for %s, %d tokens %s, %d replicas, every %d turns another chat, made before", c.Senders, c.Duration, c.Tokens, how, c.Replicas, turnsPerChat)
	if err := r.startReplicas(ctx, c.Replicas, chat.DefaultSlots); err != nil {
		return err
	}
	s := &senders{rig: r, tokens: c.Tokens, model: benchModel}
	if c.Instant {
		s.model = instantModel
	}
	if err := s.prepare(ctx, c.chats()); err != nil {
		return err
	}
	r.std.note("sending for %s…", c.Warmup+c.Duration)
	sending, stop := context.WithCancel(ctx)
	defer stop()
	var group sync.WaitGroup
	failed := make(chan error, c.Senders)
	for range c.Senders {
		group.Go(func() { failed <- s.run(sending) })
	}
	before, after, err := r.window(ctx, c.Warmup, c.Duration, failed)
	stop()
	group.Wait()
	if err != nil {
		return err
	}
	turns := s.between(before.at, after.at)
	report.latency("turn", "from the send to the committed answer at the sender, one turn after the other: under load it is the load that decides", turns)
	report.figure("turns", float64(len(turns))/after.at.Sub(before.at).Seconds(), "turns/s")
	report.figure("chats made in between", float64(s.extra), "")
	report.costs(before, after, float64(len(turns)))
	return nil
}

// chats is how many are made in advance, as making them is no part of a turn: enough for a rate that this is not expected to exceed on few cores.
func (c *BenchThroughputCmd) chats() int {
	rate := 4000.0
	if c.Instant {
		rate = 10_000
	}
	return min(c.Senders+int(rate*(c.Warmup+c.Duration).Seconds())/turnsPerChat, 100_000)
}

// window reads twice, duration apart, unless a sender fails.
func (r *rig) window(ctx context.Context, warmup, duration time.Duration, failed <-chan error) (before, after reading, err error) {
	wait := func(d time.Duration) (reading, error) {
		select {
		case err := <-failed:
			return reading{}, err
		case <-ctx.Done():
			return reading{}, context.Cause(ctx)
		case <-time.After(d):
			return r.read(ctx)
		}
	}
	if before, err = wait(warmup); err == nil {
		after, err = wait(duration)
	}
	return before, after, err
}

// senders send and wait, each in chats of its own.
type senders struct {
	rig    *rig
	tokens int
	model  string

	mu    sync.Mutex
	idle  []chat.ID // made in advance
	extra int       // made when they had run out
	turns []turnTaken
}

type turnTaken struct {
	ended time.Time
	took  time.Duration
}

func (s *senders) run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := s.chat(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

func (s *senders) prepare(ctx context.Context, n int) (err error) {
	s.rig.std.note("making %d chats…", n)
	s.idle, err = s.rig.chats(ctx, n, s.model)
	return err
}

// next is a chat without messages.
func (s *senders) next(ctx context.Context) (chat.ID, error) {
	s.mu.Lock()
	if last := len(s.idle) - 1; last >= 0 {
		defer s.mu.Unlock()
		id := s.idle[last]
		s.idle = s.idle[:last]
		return id, nil
	}
	s.extra++
	s.mu.Unlock()
	ids, err := s.rig.chats(ctx, 1, s.model)
	return ids[0], err
}

// chat is one chat of a few turns.
func (s *senders) chat(ctx context.Context) error {
	id, err := s.next(ctx)
	if err != nil {
		return err
	}
	answers := make(chan string, turnsPerChat)
	stop, err := s.rig.bus.Tap(id, func(event []byte) { answered(event, answers) })
	if err != nil {
		return err
	}
	defer stop()
	text := fmt.Sprintf("#tokens=%d say something", s.tokens)
	for range turnsPerChat {
		start := time.Now()
		if err := tell(ctx, s.rig.bus, "chats.send", chat.SendRequest{Chat: id, Text: &text}); err != nil {
			return err
		}
		if err := awaitAnswer(ctx, answers); err != nil {
			return fmt.Errorf("chat %s: %w", id, err)
		}
		s.note(turnTaken{time.Now(), time.Since(start)})
	}
	return nil
}

func (s *senders) note(t turnTaken) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turns = append(s.turns, t)
}

// between are the turns that ended in a span of time.
func (s *senders) between(from, to time.Time) measure.Samples {
	var samples measure.Samples
	for _, t := range s.turns {
		if t.ended.After(from) && !t.ended.After(to) {
			samples = append(samples, t.took)
		}
	}
	return samples
}

// answered hands on how a turn ended when the event is its last message, committed. The senders share the machine with what is measured, so they look
// for the few fields that tell, and leave the deltas as they are.
func answered(event []byte, answers chan<- string) {
	switch gjson.GetBytes(event, "type").Str {
	case string(chat.MessageEvent):
		if finish := gjson.GetBytes(event, "message.finish").Str; finish != "" {
			answers <- finish
		}
	case string(chat.StatusEvent):
		if gjson.GetBytes(event, "status").Str == string(chat.Parked) {
			answers <- string(chat.Failed)
		}
	}
}

// awaitAnswer returns when the turn's last message is there.
func awaitAnswer(ctx context.Context, answers <-chan string) error {
	limit := time.NewTimer(callPatience)
	defer limit.Stop()
	select {
	case finish := <-answers:
		if finish == string(chat.Failed) {
			return errors.New("the model refused: replicas of a deployment must ask the benchmark's provider")
		}
		return nil
	case <-limit.C:
		return fmt.Errorf("a turn was not answered within %s", callPatience)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
