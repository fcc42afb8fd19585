package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"processor/internal/chat"
	"processor/internal/local"
	"processor/internal/local/faultproxy"
	"processor/internal/local/localtest"
)

func TestNoFaultOfPostgresLosesAMessage(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(d *deployment, pg *local.Postgres, l *load){
		"it restarts like after a crash": func(d *deployment, pg *local.Postgres, _ *load) { d.must(pg.Restart(d.ctx, true)) },
		"it is away for 15 s": func(d *deployment, pg *local.Postgres, l *load) {
			pg.Halt(d.ctx, false)
			l.clients.Go(func() { l.talk("late") }) // who has no reply to anything while it is away
			<-time.After(15 * time.Second)          // the fault itself
			if l.repeated.Load() == 0 || l.count()["late"] != 0 {
				d.t.Errorf("without a database %d requests were repeated, %d messages accepted", l.repeated.Load(), l.count()["late"])
			}
			d.must(pg.Start(d.ctx))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pg := suite.OwnPostgres(t)
			d := deployOn(t, pg.URL(), localtest.NATS(t))
			d.start("a", "--slots", "8")
			d.start("b", "--slots", "8")
			// A stream that is open when the fault comes ends in the midst of it.
			d.send("open", "one two #hold=1")
			d.held("open")
			l := d.load(10)
			check := d.alive()
			epoch := d.get("open").Epoch
			pause := time.AfterFunc(time.Second, d.provider.Gate("open").Open)
			defer pause.Stop()
			start := time.Now()
			fault(d, pg, l)
			back := time.Now()
			l.goesOn("every client is served again", 3)
			t.Logf("away for %s, every client had answers %s later", back.Sub(start), time.Since(back))
			l.ends()
			check()
			answer := d.history("open")
			if diff := cmp.Diff([]string{"user: one two #hold=1", "assistant stop: one two #hold=1"}, says(answer)); diff != "" {
				t.Error(diff)
			}
			if n := len(d.calls("open")); n != 1 || answer[1].Epoch != epoch {
				t.Errorf("the turn that ran was called %d times, claimed in epoch %d and answered in %d", n, epoch, answer[1].Epoch)
			}
		})
	}
}

// lossy is a replica whose every exchange with Postgres goes through a proxy, on which one reply gets lost after the server has done the work.
type lossy struct {
	*deployment
	replica *insider
	proxy   *faultproxy.Proxy
}

func deployLossy(t *testing.T) *lossy {
	t.Helper()
	d := deploy(t)
	proxy, through := d.proxy(d.database)
	once := chat.ToolFunc{
		ToolSpec: chat.ToolSpec{Name: "once"},
		Call:     func(context.Context, json.RawMessage) (string, error) { return "done", nil },
	}
	return &lossy{d, d.inside("a", inside{database: through, tools: []chat.ToolFunc{once}}), proxy}
}

// lose loses the reply to the next request with a text in its arguments.
func (l *lossy) lose(text string) <-chan struct{} {
	return l.proxy.CutReply(func(request []byte) bool { return bytes.Contains(request, []byte(text)) }, faultproxy.PostgresDone)
}

// one checks that a chat rests with the messages that it would have without the loss, each turn after so many calls of the model.
func (l *lossy) one(id chat.ID, calls int, want ...string) {
	l.t.Helper()
	if diff := cmp.Diff(want, says(l.answered(id))); diff != "" {
		l.t.Error(diff)
	}
	l.atRest()
	if n := len(l.calls(id)); n != calls {
		l.t.Errorf("the model was called %d times", n)
	}
	if c := l.get(id); c.Recoveries != 0 || c.Takeovers != 0 || c.Attempts != 0 {
		l.t.Errorf("the loss was charged: recoveries=%d takeovers=%d attempts=%d", c.Recoveries, c.Takeovers, c.Attempts)
	}
}

// retried checks by which path a run's write came to its end.
func (l *lossy) retried(word string) {
	l.t.Helper()
	if !l.replica.logged(`msg="write not confirmed, trying again" transition=` + word) {
		l.t.Errorf("no %s was tried again:\n%s", word, l.replica.log)
	}
	if l.replica.metric("fenced_total", "") != 0 {
		l.t.Error("a write was taken for another's")
	}
}

func TestACommitWhoseReplyIsLostIsOneStep(t *testing.T) {
	t.Parallel()
	l := deployLossy(t)
	lost := l.lose("landmark")
	l.post(l.service(), "c", `#tool=once #input={"at":"landmark"}`, "")
	l.fired(lost)
	l.one("c", 2, `user: #tool=once #input={"at":"landmark"}`, "assistant: ", "tool: ", `assistant stop: #tool=once #input={"at":"landmark"}`)
	l.retried("commit")
}

func TestAFinishWhoseReplyIsLostIsOneAnswer(t *testing.T) {
	t.Parallel()
	l := deployLossy(t)
	lost := l.lose("w0 w1 w2")
	l.post(l.service(), "c", "#tokens=3", "")
	l.fired(lost)
	l.one("c", 1, "user: #tokens=3", "assistant stop: w0 w1 w2 ")
	l.retried("finish")
}

func TestAFinishWhoseReplyIsLostRunsTheNextTurnOnce(t *testing.T) {
	t.Parallel()
	l := deployLossy(t)
	lost := l.lose("w0 w1 w2")
	l.post(l.service(), "c", "#tokens=3 #hold=1", "")
	l.held("c")
	l.post(l.service(), "c", "next", "")
	l.post(l.service(), "c", "last", "")
	l.provider.Gate("c").Open()
	l.fired(lost)
	l.one("c", 3, "user: #tokens=3 #hold=1", "assistant stop: w0 w1 w2 ", "user: next", "assistant stop: next", "user: last", "assistant stop: last")
	l.retried("finish")
	if row := l.get("c"); row.Epoch != 1 {
		t.Errorf("three turns of one run end in epoch %d", row.Epoch)
	}
}

// A chat that was claimed without the claimer's knowledge has no run; the heartbeat's comparison finds it.
func TestAClaimWhoseReplyIsLostIsGivenBackAndAnsweredOnce(t *testing.T) {
	t.Parallel()
	l := deployLossy(t)
	lost := l.lose("claimed-unawares")
	start := time.Now()
	l.post(l.service(), "claimed-unawares", "one", "")
	l.fired(lost)
	l.one("claimed-unawares", 1, "user: one", "assistant stop: one")
	t.Logf("answered after %s", time.Since(start))
	if !l.replica.logged("yielding a chat that nobody runs here") {
		t.Errorf("it was not the beat that found it:\n%s", l.replica.log)
	}
	if row := l.get("claimed-unawares"); row.Epoch != 3 {
		t.Errorf("claimed, yielded and claimed: epoch %d", row.Epoch)
	}
}

func TestASendWhoseReplyIsLostIsOneMessage(t *testing.T) {
	t.Parallel()
	l := deployLossy(t)
	l.create("c")
	lost := l.lose("only-client-id")
	text := "one"
	request := chat.SendRequest{Chat: "c", Text: &text, ClientID: "only-client-id"}
	if refusal := l.refused("chats.send", request); refusal.Code != chat.Unavailable || strings.Contains(refusal.Message, "reset") {
		t.Errorf("the sender is told %v", refusal)
	}
	l.fired(lost)
	reply := call[chat.SendReply](l.deployment, "chats.send", request)
	l.one("c", 1, "user: one", "assistant stop: one")
	if first := l.history("c")[0]; reply.Message.ID == nil || *reply.Message.ID != *first.ID {
		t.Errorf("the repeated send returns message %v, the transcript begins with %d", reply.Message.ID, *first.ID)
	}
}
