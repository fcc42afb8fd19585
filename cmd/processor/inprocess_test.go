package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"processor/internal/bus"
	"processor/internal/chat"
	"processor/internal/chat/chattest"
	"processor/internal/chat/llm"
	"processor/internal/store"
)

// insider is a replica in the test's own process: its context, its timings and its service are the test's.
type insider struct {
	*replica
	d      *deployment
	log    *logBuffer
	cancel context.CancelFunc
	// signal is what a process gets from outside.
	signal chan<- os.Signal
	done   chan struct{}
	err    error
}

// inside says how a replica in the test's own process differs from others.
type inside struct {
	timing   chat.Timing // the default unless given
	slots    int
	database string // the deployment's unless given, as is nats
	nats     string
	tools    []chat.ToolFunc
	// change is called before the replica runs.
	change func(*replica)
}

// inside starts a replica in this process and waits until it is ready.
func (d *deployment) inside(name string, with inside) *insider {
	d.t.Helper()
	if with.timing == (chat.Timing{}) {
		with.timing = chat.DefaultTiming()
	}
	d.must(with.timing.Validate())
	database, nats, slots := d.database, d.natsURL, 100
	if with.database != "" {
		database = with.database
	}
	if with.nats != "" {
		nats = with.nats
	}
	if with.slots != 0 {
		slots = with.slots
	}
	// Nothing here ends with the test's context: a replica that can't shut down while its surroundings are cancelled is what is looked for.
	ctx, cancel := context.WithCancel(context.WithoutCancel(d.ctx))
	signals := make(chan os.Signal, 2)
	i := &insider{d: d, log: &logBuffer{}, cancel: cancel, signal: signals, done: make(chan struct{})}
	logger := logTo(i.log)
	st, err := store.Open(ctx, store.Config{URL: database, Timing: with.timing, Name: name, Logger: logger})
	d.must(err)
	b, err := bus.Connect(d.ctx, bus.Config{URL: nats, Name: name, Logger: logger, AckWait: with.timing.AckWait})
	d.must(err)
	models := llm.New(llm.Config{OpenAIKey: "key", OpenAIBaseURL: d.provider.OpenAIURL()}, logger)
	i.replica = newReplica(st, b, settings{
		worker: chat.Worker{Name: name, Host: "test", PID: os.Getpid(), Slots: slots}, timing: with.timing, budget: chat.DefaultBudget(),
		defaultModel: "openai/test", models: models, tools: with.tools, signals: signals, logger: logger,
	})
	if with.change != nil {
		with.change(i.replica)
	}
	go func() {
		defer close(i.done)
		i.err = i.Run(ctx)
		b.Close()
		models.Close()
		st.Close()
	}()
	d.t.Cleanup(func() {
		i.stop()
		i.stop() // at once
		cancel()
		<-i.done
		if d.t.Failed() {
			d.t.Logf("log of replica %s:\n%s", name, i.log)
		}
	})
	d.await("replica "+name+" is ready", func() bool { return i.ready.Err() == nil && i.self() != "" })
	return i
}

// stop is SIGTERM.
func (i *insider) stop() {
	select {
	case i.signal <- syscall.SIGTERM:
	case <-i.done:
	}
}

// end cancels everything that the replica was started with, and waits until it has ended.
func (i *insider) end() {
	i.d.t.Helper()
	i.cancel()
	i.ended()
}

func (i *insider) ended() {
	i.d.t.Helper()
	select {
	case <-i.done:
	case <-time.After(patience):
		i.d.t.Fatalf("the replica does not end")
	}
}

func logTo(b *logBuffer) *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

func (i *insider) logged(line string) bool { return strings.Contains(i.log.String(), line) }

// fired waits for a trap of a proxy.
func (d *deployment) fired(trap <-chan struct{}) {
	d.t.Helper()
	select {
	case <-trap:
	case <-time.After(patience):
		d.t.Fatal("what was to be lost was never sent")
	}
}

// metric sums the samples of a metric, those with a label value if one is named.
func (i *insider) metric(name, value string) float64 {
	i.d.t.Helper()
	families, err := i.registry.Gather()
	i.d.must(err)
	sum := 0.0
	for _, f := range families {
		if f.GetName() != namespace+"_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			found := value == ""
			for _, l := range m.GetLabel() {
				found = found || l.GetValue() == value
			}
			if found {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// post sends by way of a service that the test calls itself.
func (d *deployment) post(s *chat.Service, id chat.ID, text, clientID string) chat.SendReply {
	d.t.Helper()
	_, err := s.Create(d.ctx, chat.CreateRequest{ID: id})
	d.must(err)
	reply, err := s.Send(d.ctx, chat.SendRequest{Chat: id, Text: &text, ClientID: clientID})
	d.must(err)
	return reply
}

// mute is a bus on which nothing that wakes or tells arrives: every publish of the service is lost.
type mute struct{ *bus.Bus }

func (mute) Dispatch(context.Context, chat.ID, bool) error { return errors.New("lost") }
func (mute) Ring(chat.ID, bool)                            {}
func (mute) Look(chat.WorkerID, chat.ID)                   {}
func (mute) Announce(...chat.Event)                        {}

// silence makes the replica's service one whose every publish is lost.
func silence(r *replica) {
	r.service = chat.NewService(r.store, mute{r.bus}, chat.ServiceConfig{DefaultModel: "openai/test", Logger: quiet()})
}

// jetstream is for what no replica would do.
func (d *deployment) jetstream() jetstream.JetStream {
	d.t.Helper()
	nc, err := nats.Connect(d.natsURL)
	d.must(err)
	d.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	d.must(err)
	return js
}

// published is how many dispatches the stream ever got.
func (d *deployment) published() uint64 {
	d.t.Helper()
	s, err := d.jetstream().Stream(d.ctx, bus.ChatsStream)
	d.must(err)
	info := s.CachedInfo() // the stream's numbers begin at the clock's
	return info.State.LastSeq + 1 - max(info.Config.FirstSeq, 1)
}

// dispatched says whether the stream holds a dispatch of a chat.
func (d *deployment) dispatched(id chat.ID) bool {
	d.t.Helper()
	_, present, err := d.client.Missing(d.ctx, []chat.Stale{{Chat: id}})
	d.must(err)
	return len(present) == 1
}

// dispatchedAll is dispatched for many chats.
func (d *deployment) dispatchedAll(ids []chat.ID) bool {
	var stale []chat.Stale
	for _, id := range ids {
		stale = append(stale, chat.Stale{Chat: id})
	}
	missing, _, err := d.client.Missing(d.ctx, stale)
	return err == nil && len(missing) == 0
}

// atRest waits until no chat has work, checks the invariants over all rows, and returns these.
func (d *deployment) atRest() chattest.Rows {
	d.t.Helper()
	d.finished()
	chats, err := d.store.List(d.ctx, chat.Filter{Limit: 10_000})
	d.must(err)
	var rows chattest.Rows
	for _, c := range chats {
		rows.Chats = append(rows.Chats, chattest.ChatRow{Chat: c})
		for _, m := range d.history(c.ID) {
			rows.Messages = append(rows.Messages, chattest.MessageRow{Number: c.Number, Message: m})
		}
	}
	if err := chattest.CheckInvariants(rows); err != nil {
		d.t.Error(err)
	}
	return rows
}

// parked are timings under which nothing is found by looking again for an hour.
func parked() chat.Timing {
	t := chat.DefaultTiming()
	t.Heartbeat, t.SuspectAfter, t.LostAfter = time.Hour, 2*time.Hour, 4*time.Hour
	t.SweepEvery, t.RedispatchAfter, t.RedispatchMax, t.Compare = time.Hour, time.Hour, time.Hour, time.Hour
	return t
}

// brisk are timings under which repairs come soon.
func brisk() chat.Timing {
	t := chat.DefaultTiming()
	t.SweepEvery, t.RedispatchAfter, t.RedispatchMax = 50*time.Millisecond, 200*time.Millisecond, time.Second
	return t
}

func TestAReplicaInsideTheTestAnswers(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	a := d.inside("a", inside{})
	d.post(a.service, "c", "one two three", "")
	d.answered("c")
	d.atRest()
	a.end()
	if a.err != nil {
		t.Error(a.err)
	}
}
