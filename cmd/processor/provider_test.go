package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"processor/internal/chat"
	"processor/internal/chat/llm/llmtest"
)

// modelAttempts is how many calls a step has in these tests; a silent model is given up after silence.
const modelAttempts = 3

func patient(flags ...string) []string {
	return append([]string{"--model-attempts=3", "--first-token-timeout=3s", "--token-timeout=3s"}, flags...)
}

// providerCase is one way in which a provider behaves, and what becomes of the turn.
type providerCase struct {
	name string
	text string
	// finish and said are the turn's last message; code is last_error's.
	finish chat.Finish
	said   string
	code   string
	// calls is how many the provider sees. All but the last are followed by a back-off that names retry.
	calls int
	retry string
}

func providerCases() []providerCase {
	const all = modelAttempts
	return []providerCase{
		{"normal", "#tokens=5", chat.Stop, counted(5), "", 1, ""},
		{"slow", "#tokens=20 #first=500ms #delay=100ms", chat.Stop, counted(20), "", 1, ""},
		{"cut off by the limit of tokens", "#tokens=5 #length", chat.Length, counted(5), "", 1, ""},
		{"429 once", "#tokens=5 #status=429 #times=1", chat.Stop, counted(5), "", 2, "rate_limited"},
		{"429 for ever", "#status=429", chat.Failed, "", "rate_limited", all, "rate_limited"},
		{"500 once", "#tokens=5 #status=500 #times=1", chat.Stop, counted(5), "", 2, "provider_unavailable"},
		{"500 for ever", "#status=500", chat.Failed, "", "provider_unavailable", all, "provider_unavailable"},
		{"408 once", "#tokens=5 #status=408 #times=1", chat.Stop, counted(5), "", 2, "provider_unavailable"},
		{"reset in mid-stream", "#tokens=20 #reset=10 #times=1", chat.Stop, counted(20), "", 2, "connection"},
		{"reset for ever", "#tokens=20 #reset=10", chat.Failed, counted(10), "connection", all, "connection"},
		{"ended in mid-stream", "#tokens=20 #cut=10 #times=1", chat.Stop, counted(20), "", 2, "connection"},
		{"error in mid-stream", "#tokens=20 #error=10 #times=1", chat.Stop, counted(20), "", 2, "provider_unavailable"},
		{"silent before the header", "#tokens=5 #silence #times=1", chat.Stop, counted(5), "", 2, "stalled"},
		{"silent before the first token", "#tokens=5 #silence=0 #times=1", chat.Stop, counted(5), "", 2, "stalled"},
		{"silent between tokens", "#tokens=20 #silence=10 #times=1", chat.Stop, counted(20), "", 2, "stalled"},
		{"silent for ever", "#tokens=20 #silence=10", chat.Failed, counted(10), "stalled", all, "stalled"},
		{"garbage once", "#tokens=20 #garbage=10 #times=1", chat.Stop, counted(20), "", 2, "bad_response"},
		{"garbage for ever", "#tokens=20 #garbage=10", chat.Failed, counted(10), "bad_response", all, "bad_response"},
		{"a page in place of an answer", "#script=page", chat.Failed, "", "bad_response", all, "bad_response"},
		{"bad request", "#status=400", chat.Failed, "", "bad_request", 1, ""},
		{"unknown model", "#script=unknown-model", chat.Failed, "", "unknown_model", 1, ""},
		{"no quota", "#script=no-quota", chat.Failed, "", "quota", 1, ""},
		{"wrong key", "#script=wrong-key", chat.Failed, "", "auth", 1, ""},
		{"history too long", "#script=too-long", chat.Failed, "", "context_overflow", 1, ""},
	}
}

// scripted answers #script=NAME, which the markers have no word for.
func scripted(p *llmtest.Provider) func(llmtest.Call) []llmtest.Step {
	scripts := map[string]llmtest.Step{
		"unknown-model": llmtest.NoSuchModel(), "no-quota": llmtest.NoQuota(), "wrong-key": llmtest.WrongKey(), "too-long": llmtest.TooLong(),
		"page": llmtest.Respond(200, "text/html", "<html>not the provider</html>"),
	}
	return func(c llmtest.Call) []llmtest.Step {
		if _, name, ok := strings.Cut(c.Text, "#script="); ok && scripts[name] != nil {
			return []llmtest.Step{scripts[name]}
		}
		return p.Markers(c)
	}
}

func TestAProviderMayBehaveAsItLikes(t *testing.T) {
	t.Parallel()
	for _, wire := range []string{"openai", "anthropic"} {
		t.Run(wire, func(t *testing.T) {
			t.Parallel()
			d := deploy(t)
			d.provider.Answer = scripted(d.provider)
			d.start("a", patient()...)
			for i, c := range providerCases() {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					d.in(t).behaves(chat.ID(fmt.Sprintf("c%d", i)), wire+"/test", c)
				})
			}
		})
	}
}

func (d *deployment) behaves(id chat.ID, model string, c providerCase) {
	d.t.Helper()
	d.createFor(model, id)
	w := d.watch(id)
	d.say(id, c.text)
	w.ends("user: "+c.text, "assistant "+string(c.finish)+": "+c.said)

	calls := d.ended(id)
	if len(calls) != c.calls {
		d.t.Errorf("%d calls, want %d: %v", len(calls), c.calls, calls)
	}
	for i, got := range calls {
		// Each failed call raised the epoch, and the claim made it 1.
		if want := fmt.Sprintf("%s/1/1/%d/%d", id, i+1, i+1); got.ID != want || string(got.Wire)+"/"+got.Model != model {
			d.t.Errorf("call %d is %s of %s/%s, want %s of %s", i+1, got.ID, got.Wire, got.Model, want, model)
		}
	}
	var retries, want []string
	for _, e := range w.seen() {
		if e.Type == chat.RetryEvent {
			retries = append(retries, fmt.Sprintf("%d %s epoch %d", e.Retry.Attempt, e.Retry.Error, e.Epoch))
		}
	}
	for i := 1; i < c.calls; i++ {
		want = append(want, fmt.Sprintf("%d %s epoch %d", i, c.retry, i+1))
	}
	if diff := cmp.Diff(want, retries); diff != "" {
		d.t.Errorf("retries that the watcher saw (-want +got):\n%s", diff)
	}
	d.failedWith(id, c.code, c.calls)
}

// failedWith checks last_error, and that the message which ended the turn says the same. An empty code is no error.
func (d *deployment) failedWith(id chat.ID, code string, attempts int) {
	d.t.Helper()
	row, messages := d.get(id), d.history(id)
	last := messages[len(messages)-1]
	switch {
	case code == "":
		if row.LastError != nil || last.Error != nil || row.Status != chat.Waiting {
			d.t.Errorf("an answered chat is %s with %+v, its message has %+v", row.Status, row.LastError, last.Error)
		}
	case row.Status != chat.Parked || row.LastError == nil || last.Error == nil:
		d.t.Errorf("a failed chat is %s with %+v, its message has %+v", row.Status, row.LastError, last.Error)
	case row.LastError.Code != code || last.Error.Code != code || row.LastError.Message == "" || row.LastError.At.IsZero():
		d.t.Errorf("the error is %+v, its message's %+v, want code %s", row.LastError, last.Error, code)
	case last.Error.Attempts != attempts:
		d.t.Errorf("the message says %d attempts, want %d", last.Error.Attempts, attempts)
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.start("a")
	d.send("c", "#tokens=5 #status=429 #retry-after=4 #times=1")
	d.answered("c")
	calls := d.called("c", 2)
	if gap := calls[1].At.Sub(calls[0].Ended); gap < 4*time.Second {
		t.Errorf("called again after %s", gap)
	}
}

// TestABackOffIsKeptByTheNextOwner kills the owner while it waits: the next one has claimed the chat long before it calls.
func TestABackOffIsKeptByTheNextOwner(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.start("a")
	d.start("b")
	w := d.watch(d.create("c").ID)
	d.send("c", "#tokens=5 #status=429 #retry-after=12 #times=1")
	w.until("the back-off", func(seen []chat.Event) bool { return has(seen, chat.RetryEvent) })
	victim := d.owner("c")
	before := d.get("c")
	victim.kill()
	d.await("another owner", func() bool { c := d.get("c"); return c.Worker != nil && *c.Worker != *before.Worker })
	after := d.get("c")
	if after.Attempts != 1 || after.RetryAt == nil || !after.RetryAt.Equal(*before.RetryAt) || !after.ClaimedAt.Before(*after.RetryAt) {
		t.Errorf("the next owner has attempts %d, retry at %v, claimed at %v; before: %v", after.Attempts, after.RetryAt, after.ClaimedAt, before.RetryAt)
	}
	w.ends("user: #tokens=5 #status=429 #retry-after=12 #times=1", "assistant stop: "+counted(5))
	calls := d.ended("c")
	if len(calls) != 2 || calls[1].At.Before(*before.RetryAt) {
		t.Fatalf("the calls %v, the next was due at %s", calls, before.RetryAt)
	}
	if want := fmt.Sprintf("c/1/1/%d/2", after.Epoch); calls[1].ID != want {
		t.Errorf("the second call is %s, want %s", calls[1].ID, want)
	}
}

func TestARetryByTheUserGivesAParkedTurnNewAttempts(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.start("a", patient()...)
	text := "#tokens=5 #status=500 #times=4"
	w := d.watch(d.create("c").ID)
	d.send("c", text)
	w.ends("user: "+text, "assistant error: ")
	d.failedWith("c", "provider_unavailable", modelAttempts)
	failed := *d.history("c")[1].ID
	call[chat.ChatReply](d, "chats.retry", chat.ChatRequest{Chat: "c"})
	w.ends("user: "+text, "assistant stop: "+counted(5))
	if !slices.ContainsFunc(w.seen(), func(e chat.Event) bool { return e.Type == chat.RemovedEvent && e.MessageID == failed }) {
		t.Error("the watcher was not told that the error is gone")
	}
	if n := len(d.ended("c")); n != 5 {
		t.Errorf("%d calls, want 3 that failed, and after the retry one that failed and one that did not", n)
	}
	d.failedWith("c", "", 0)
}

// TestAWrongKeyIsNamedAndNeverShown has a provider that says the key back.
func TestAWrongKeyIsNamedAndNeverShown(t *testing.T) {
	t.Parallel()
	const secret = "sk-very-secret-0123456789"
	d := deploy(t)
	d.provider.Key = "another key"
	d.startWith("a", map[string]string{"OPENAI_API_KEY": secret, "ANTHROPIC_API_KEY": secret})
	for _, wire := range []string{"openai", "anthropic"} {
		id := chat.ID(wire)
		d.ask(id, wire+"/test", "hello")
		d.answered(id)
		d.failedWith(id, "auth", 1)
		if e := d.get(id).LastError.Message; strings.Contains(e, secret) || !strings.Contains(e, "API_KEY") {
			t.Errorf("%s: the error should say what to do and hide the key: %s", wire, e)
		}
	}
	if strings.Contains(d.logs(), secret) {
		t.Error("the key is in the log")
	}
}

func TestAModelThatNobodyServesFailsTheTurn(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.start("a")
	for id, model := range map[chat.ID]string{"provider": "nobody/model", "demo": "demo/other"} {
		d.ask(id, model, "hello")
		d.answered(id)
		d.failedWith(id, "unknown_model", 1)
	}
	if n := d.provider.Count(); n != 0 {
		t.Errorf("the provider was called %d times", n)
	}
}

// TestAnAnswerEndsAt512KiBAsLength has texts of several kinds: what JSON writes longer than it is must still fit into messages of NATS.
func TestAnAnswerEndsAt512KiBAsLength(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	pieces := map[chat.ID]string{"plain": "abcdefgh", "html": "<", "newlines": "\n", "controls": "\x01", "wide": "日本語", "lines": "\u2028"}
	d.provider.Answer = func(c llmtest.Call) []llmtest.Step {
		const piece = 16 << 10
		text := strings.Repeat(pieces[chat.ID(c.Chat())], 700<<10/len(pieces[chat.ID(c.Chat())]))
		var words []string
		for ; len(text) > piece; text = text[piece/6*6:] {
			words = append(words, text[:piece/6*6])
		}
		return []llmtest.Step{llmtest.Text(words...), llmtest.Silence()}
	}
	d.start("a")
	for id, piece := range pieces {
		t.Run(string(id), func(t *testing.T) {
			t.Parallel()
			d := d.in(t)
			w := d.watch(d.create(id).ID)
			d.send(id, "go on for ever")
			seen := w.until("the whole answer", func(seen []chat.Event) bool { return len(answers(seen)) == 1 && rests(seen) })
			d.sameTranscript(seen)
			m := answers(seen)[0]
			text := m.Text()
			if m.Finish != chat.Length || len(text) > 512<<10 || strings.Trim(text, piece) != "" {
				t.Errorf("the answer has %d bytes and ended as %s", len(text), m.Finish)
			}
			if piece == "abcdefgh" && len(text) != 512<<10 {
				t.Errorf("a plain answer has %d bytes", len(text))
			}
			page := call[chat.MessagesReply](d, "chats.messages", chat.MessagesRequest{Chat: id})
			if len(page.Messages) != 2 || page.Messages[1].Text() != text {
				t.Errorf("the API shows %d messages", len(page.Messages))
			}
			if calls := d.ended(id); len(calls) != 1 || calls[0].Outcome != llmtest.Left {
				t.Errorf("the calls are %v, want one that we left", calls)
			}
		})
	}
}

// TestTextIsStoredCleanHoweverItArrives sends characters in halves, bytes that are none, and NUL.
func TestTextIsStoredCleanHoweverItArrives(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.provider.Answer = func(llmtest.Call) []llmtest.Step {
		return []llmtest.Step{llmtest.Text("gr", "\xc3", "\xbc", "n \xe6\x97", "\xa5 ", "a\x00b \xff\xfe c", " \xf0\x9f", " end \xf0\x9f\x99\x82 \xed\xa0\x80")}
	}
	d.start("a")
	for _, wire := range []string{"openai", "anthropic"} {
		id := chat.ID(wire)
		d.ask(id, wire+"/test", "hello")
		w := d.watch(id)
		said := w.rested("hello")
		if text := strings.TrimPrefix(said[1], "assistant stop: "); text != chat.Clean(text) || !strings.HasPrefix(text, "gr") || !strings.HasSuffix(strings.TrimRight(text, "\ufffd"), " end 🙂 ") {
			t.Errorf("%s: stored as %q", wire, said[1])
		}
	}
}

// ask makes a chat for a model and sends it a text.
func (d *deployment) ask(id chat.ID, model, text string) {
	d.t.Helper()
	d.createFor(model, id)
	d.say(id, text)
}

func (d *deployment) createFor(model string, id chat.ID) {
	d.t.Helper()
	call[chat.CreateReply](d, "chats.create", chat.CreateRequest{ID: id, Model: model})
}
