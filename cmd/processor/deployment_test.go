package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"processor/internal/bus"
	"processor/internal/chat"
	"processor/internal/chat/llm/llmtest"
	"processor/internal/local"
	"processor/internal/local/faultproxy"
	"processor/internal/local/localtest"
	"processor/internal/store"
)

// patience bounds every wait. Tests wait for events; only one that never comes takes this long.
const patience = 60 * time.Second

// deployment is a Postgres database, NATS, a provider, and replicas as processes.
type deployment struct {
	t        *testing.T
	ctx      context.Context
	database string
	natsURL  string
	nats     *local.NATS // nil if NATS is a cluster
	provider *llmtest.Provider
	client   *bus.Bus
	store    *store.Store
	replicas []*process
}

// deploy starts everything but replicas. Proxies, if given, stand between replicas and the servers; the test's own connections go directly.
func deploy(t *testing.T) *deployment {
	t.Helper()
	return deployOn(t, suite.Postgres(t), localtest.NATS(t))
}

func deployOn(t *testing.T, database string, nats *local.NATS) *deployment {
	t.Helper()
	d := deployAt(t, database, nats.URL())
	d.nats = nats
	return d
}

func deployAt(t *testing.T, database, natsURL string) *deployment {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	t.Cleanup(cancel)
	d := &deployment{t: t, ctx: ctx, database: database, natsURL: natsURL, provider: llmtest.New(t)}
	var err error
	d.client, err = bus.Connect(ctx, bus.Config{URL: natsURL, Name: "test"})
	d.must(err)
	t.Cleanup(d.client.Close)
	d.store, err = store.Open(ctx, store.Config{URL: database, Pool: 4, Name: "test"})
	d.must(err)
	t.Cleanup(d.store.Close)
	return d
}

func (d *deployment) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *deployment) workers() []chat.Worker {
	workers, err := d.store.Workers(d.ctx)
	if err != nil {
		return nil
	}
	return workers
}

// await polls a condition of Postgres or of the API; what can signal is waited for by its signal instead.
func (d *deployment) await(what string, holds func() bool) {
	d.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			d.t.Fatalf("waited %s in vain: %s", patience, what)
		case <-tick.C:
		}
	}
}

// call asks the API.
func call[Out any](d *deployment, subject string, in any) Out {
	d.t.Helper()
	var out Out
	d.must(d.client.Call(d.ctx, subject, in, &out))
	return out
}

// refused asks the API for what it must refuse, and returns the refusal.
func (d *deployment) refused(subject string, in any) *chat.Error {
	d.t.Helper()
	err := d.client.Call(d.ctx, subject, in, nil)
	var refusal *chat.Error
	if !errors.As(err, &refusal) {
		d.t.Fatalf("%s was not refused but: %v", subject, err)
	}
	return refusal
}

// send sends a text to a chat, which is made if it does not exist.
func (d *deployment) send(id chat.ID, text string) chat.SendReply {
	d.t.Helper()
	d.create(id)
	return d.say(id, text)
}

// say sends a text to a chat that exists.
func (d *deployment) say(id chat.ID, text string) chat.SendReply {
	d.t.Helper()
	return call[chat.SendReply](d, "chats.send", chat.SendRequest{Chat: id, Text: &text})
}

// sendAll makes a chat for each text, several at once.
func (d *deployment) sendAll(texts map[chat.ID]string) {
	d.t.Helper()
	var group sync.WaitGroup
	places, failed := make(chan struct{}, 16), make(chan error, len(texts))
	for id, text := range texts {
		places <- struct{}{}
		group.Go(func() {
			defer func() { <-places }()
			failed <- d.client.Call(d.ctx, "chats.create", chat.CreateRequest{ID: id, Message: &chat.FirstMessage{Text: &text}}, nil)
		})
	}
	group.Wait()
	close(failed)
	for err := range failed {
		d.must(err)
	}
}

// numbered makes n ids.
func numbered(name string, n int) []chat.ID {
	ids := make([]chat.ID, n)
	for i := range ids {
		ids[i] = chat.ID(fmt.Sprintf("%s-%d", name, i))
	}
	return ids
}

// same gives all chats one text.
func same(ids []chat.ID, text string) map[chat.ID]string {
	texts := map[chat.ID]string{}
	for _, id := range ids {
		texts[id] = text
	}
	return texts
}

// chats are all chats in a status.
func (d *deployment) chats(s chat.Status) []chat.Chat {
	d.t.Helper()
	all, err := d.store.List(d.ctx, chat.Filter{Status: s, Limit: 10_000})
	d.must(err)
	return all
}

// connect is a connection to the database of the test's own.
func (d *deployment) connect() *pgx.Conn {
	d.t.Helper()
	conn, err := pgx.Connect(d.ctx, d.database)
	d.must(err)
	d.t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(d.ctx)) })
	return conn
}

// lock runs a locking statement in a transaction that lasts until release.
func (d *deployment) lock(statement string, args ...any) (release func()) {
	d.t.Helper()
	tx, err := d.connect().Begin(d.ctx)
	d.must(err)
	_, err = tx.Exec(d.ctx, statement, args...)
	d.must(err)
	return func() { d.must(tx.Rollback(context.WithoutCancel(d.ctx))) }
}

// ghost registers a worker that is no process and serves nothing: it beats once and never again.
func (d *deployment) ghost(id chat.WorkerID) chat.WorkerID {
	d.t.Helper()
	d.must(d.store.Register(d.ctx, chat.Worker{ID: id, Name: string(id), Host: "nowhere", PID: 1, Build: "test", Slots: 1}))
	return id
}

// orphan makes a chat that a worker of the test's runs, without anybody else hearing of it.
func (d *deployment) orphan(id chat.ID, owner chat.WorkerID, text string) chat.Claimed {
	d.t.Helper()
	d.unheard(id, text)
	claimed, err := d.store.Claim(d.ctx, id, owner, false, chat.DefaultBudget())
	d.must(err)
	return claimed
}

// unheard makes a chat that is pending, and rings for nobody.
func (d *deployment) unheard(id chat.ID, text string) {
	d.t.Helper()
	parts := []chat.Part{{Type: chat.TextPart, Text: text}}
	_, err := d.store.Create(d.ctx, chat.NewChat{ID: id, Model: "openai/test", Message: &chat.NewMessage{Chat: id, Parts: parts, ClientID: "first"}})
	d.must(err)
}

func (d *deployment) create(id chat.ID) chat.Chat {
	d.t.Helper()
	return call[chat.CreateReply](d, "chats.create", chat.CreateRequest{ID: id}).Chat
}

func (d *deployment) get(id chat.ID) chat.Chat {
	d.t.Helper()
	c, err := d.store.Get(d.ctx, id)
	d.must(err)
	return c
}

// history reads the whole transcript from Postgres.
func (d *deployment) history(id chat.ID) []chat.Message {
	d.t.Helper()
	var all []chat.Message
	for after := int64(0); ; {
		s, err := d.store.Snapshot(d.ctx, id, after, 200)
		d.must(err)
		all = append(all, s.Messages...)
		if s.Next == 0 {
			return all
		}
		after = s.Next
	}
}

// answered waits until a chat rests, and returns its transcript.
func (d *deployment) answered(id chat.ID) []chat.Message {
	d.t.Helper()
	d.await("chat "+string(id)+" rests", func() bool { s := d.get(id).Status; return s == chat.Waiting || s == chat.Parked })
	return d.history(id)
}

// says is a transcript in short: role, finish if there is one, and text of each message.
func says(messages []chat.Message) []string {
	lines := []string{}
	for _, m := range messages {
		word := string(m.Role)
		if m.Finish != "" {
			word += " " + string(m.Finish)
		}
		lines = append(lines, word+": "+m.Text())
	}
	return lines
}

// owner is the replica that runs a chat.
func (d *deployment) owner(id chat.ID) *process {
	d.t.Helper()
	c := d.get(id)
	if c.Worker == nil {
		d.t.Fatalf("chat %s is %s and has no owner", id, c.Status)
	}
	for _, p := range d.replicas {
		if w := p.worker(); w != nil && w.ID == *c.Worker {
			return p
		}
	}
	d.t.Fatalf("the owner %s of chat %s is none of the test's replicas", *c.Worker, id)
	return nil
}

// held waits until the provider holds a stream at the gate named after the chat.
func (d *deployment) held(gate string) llmtest.Call {
	d.t.Helper()
	select {
	case c := <-d.provider.Gate(gate).Arrived():
		return c
	case <-time.After(patience):
		d.t.Fatalf("no call arrived at gate %s", gate)
		return llmtest.Call{}
	}
}

// finished waits until no chat is pending or running.
func (d *deployment) finished() {
	d.t.Helper()
	d.await("all chats rest", func() bool {
		for _, s := range []chat.Status{chat.Pending, chat.Running} {
			if left, err := d.store.List(d.ctx, chat.Filter{Status: s, Limit: 1}); err != nil || len(left) > 0 {
				return false
			}
		}
		return true
	})
}

// proxy puts a fault proxy before a server; the URL goes to replicas.
func (d *deployment) proxy(server string) (*faultproxy.Proxy, string) {
	d.t.Helper()
	u, err := url.Parse(server)
	d.must(err)
	p, err := faultproxy.Start(u.Host)
	d.must(err)
	d.t.Cleanup(p.Close)
	through, err := p.URL(server)
	d.must(err)
	return p, through
}

// quiet is a logger for what runs inside the test's own process.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// logs is what all replicas logged.
func (d *deployment) logs() string {
	var b strings.Builder
	for _, p := range d.replicas {
		b.WriteString(p.log.String())
	}
	return b.String()
}

// interrupt asks by way of the API; turn zero is the current one.
func (d *deployment) interrupt(id chat.ID, turn int) chat.Chat {
	d.t.Helper()
	return call[chat.ChatReply](d, "chats.interrupt", chat.InterruptRequest{Chat: id, Turn: turn}).Chat
}

// service carries out commands in the test's own process: no replica has to be there, or to reach its database.
func (d *deployment) service() *chat.Service {
	return chat.NewService(d.store, d.client, chat.ServiceConfig{DefaultModel: "openai/test", Logger: quiet()})
}

// calls are the model calls of a chat, in order.
func (d *deployment) calls(id chat.ID) []llmtest.Call { return callsOf(d.provider.Calls(), id) }

func callsOf(all []llmtest.Call, id chat.ID) []llmtest.Call {
	return slices.DeleteFunc(slices.Clone(all), func(c llmtest.Call) bool { return c.Chat() != string(id) })
}

// called waits until the model was called n times for a chat, and ended until none of its calls is open.
func (d *deployment) called(id chat.ID, n int) []llmtest.Call {
	d.t.Helper()
	return d.awaitCalls(id, func(calls []llmtest.Call) bool { return len(calls) >= n })
}

func (d *deployment) ended(id chat.ID) []llmtest.Call {
	d.t.Helper()
	return d.awaitCalls(id, func(calls []llmtest.Call) bool {
		return !slices.ContainsFunc(calls, func(c llmtest.Call) bool { return c.Outcome == "" })
	})
}

func (d *deployment) awaitCalls(id chat.ID, holds func([]llmtest.Call) bool) []llmtest.Call {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.ctx, patience)
	defer cancel()
	d.must(d.provider.Await(ctx, func(all []llmtest.Call) bool { return holds(callsOf(all, id)) }))
	return d.calls(id)
}

// streamsUntilSaved makes a chat stream 60 words over some seconds and then hold. It returns what was saved on the bus of them.
func (d *deployment) streamsUntilSaved(id chat.ID) (saved string) {
	d.t.Helper()
	d.send(id, "#tokens=80 #delay=50ms #hold=60")
	d.held(string(id))
	p, ok, err := d.client.LastPartial(d.ctx, id)
	d.must(err)
	if !ok || len(p.Parts) != 1 || !strings.HasPrefix(counted(60), p.Parts[0].Text) {
		d.t.Fatalf("the partial on the bus is %+v", p)
	}
	return p.Parts[0].Text
}

// keeps checks a line of a transcript: a turn whose owner died ends with at least what was saved of it.
func (d *deployment) keeps(line, saved string) {
	d.t.Helper()
	said, ok := strings.CutPrefix(line, "assistant interrupted: ")
	if !ok || !strings.HasPrefix(said, saved) || !strings.HasPrefix(counted(60), said) {
		d.t.Errorf("of %q was kept: %q", saved, line)
	}
}

// counted is what the provider says for #tokens=n.
func counted(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "w%d ", i)
	}
	return b.String()
}

// in is the deployment for a subtest: what fails there fails it. Its time begins here: a parallel subtest may have waited for its turn behind
// every other test.
func (d *deployment) in(t *testing.T) *deployment {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	t.Cleanup(cancel)
	sub := *d
	sub.t, sub.ctx = t, ctx
	return &sub
}
