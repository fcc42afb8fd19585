package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"processor/internal/chat"
)

// uiBody is what the AI SDK posts.
func uiBody(id, message, text, more string) string {
	said, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	if id != "" {
		id = fmt.Sprintf(`"id":%q,`, id)
	}
	return fmt.Sprintf(`{%s"messages":[{"id":%q,"role":"user","parts":[{"type":"text","text":%s}]}]%s}`, id, message, said, more)
}

// whole joins the deltas that follow each other: how many they are is the pace of the model.
func whole(chunks []string) (all []string) {
	for _, c := range chunks {
		text, delta := strings.CutPrefix(c, "text-delta ")
		if n := len(all); delta && n > 0 && strings.HasPrefix(all[n-1], "text-delta ") {
			all[n-1] += " " + text
			continue
		}
		all = append(all, c)
	}
	return all
}

// unreset is what is left of chunks after the last reset, which takes back all that came after start and start-step.
func unreset(chunks []string) []string {
	for i, c := range slices.Backward(chunks) {
		if c == "reset-step" {
			return slices.Concat(chunks[:2], chunks[i+1:])
		}
	}
	return chunks
}

// chunks are the types and texts of a stream, in order.
func (r reply) chunks() (all []string) {
	for frame := range strings.SplitSeq(string(r.body), "\n\n") {
		data, ok := strings.CutPrefix(frame, "data: ")
		if !ok {
			continue
		}
		var c struct{ Type, Delta, FinishReason, Reason, ErrorText, MessageID string }
		if json.Unmarshal([]byte(data), &c) != nil {
			c.Type = data
		}
		all = append(all, strings.Join(strings.Fields(strings.Join([]string{c.Type, c.MessageID, c.Delta, c.FinishReason, c.Reason, c.ErrorText}, " ")), " "))
	}
	return all
}

func (w *web) streams(what string, r reply, want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(whole(want), whole(r.chunks())); diff != "" || r.status != 200 {
		w.t.Errorf("%s: status %d %s\n%s", what, r.status, r.body, diff)
	}
}

func TestAUIStreamHasTheHeadersAndChunksOfItsProtocol(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	w := d.over(d.startHTTP("a").http)
	got := w.do("POST", "/api/chat", uiBody("c", "u1", "#tokens=2", `,"trigger":"submit-message","userId":7`))
	w.streams("sent", got, "start msg_c_1", "start-step", "text-start", "text-delta w0", "text-delta w1", "text-end", "finish-step", "finish stop", "[DONE]")
	for name, want := range map[string]string{
		"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Vercel-Ai-Ui-Message-Stream": "v1", "X-Accel-Buffering": "no", "X-Workflow-Run-Id": "c.1",
	} {
		if got.header.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, got.header.Get(name), want)
		}
	}
	if idle := w.do("GET", "/api/chat/c/stream", ""); idle.status != 204 || len(idle.body) > 0 {
		t.Errorf("an idle chat: %d %s", idle.status, idle.body)
	}
	w.streams("from an index", w.do("GET", "/api/chat/c.1/stream?startIndex=4", ""), "text-delta w1", "text-end", "finish-step", "finish stop", "[DONE]")
	w.streams("all of it", w.do("GET", "/api/chat/c/stream?startIndex=0", ""), got.chunks()...)
	w.streams("beyond its end", w.do("GET", "/api/chat/c.1/stream?startIndex=99", ""), "finish other", "[DONE]")
	tail := w.do("GET", "/api/chat/c/stream?startIndex=-2", "")
	w.streams("its tail", tail, "finish-step", "finish stop", "[DONE]")
	if index := tail.header.Get("X-Workflow-Stream-Tail-Index"); index != "7" {
		t.Errorf("the tail is at %q", index)
	}
	if none := w.do("GET", "/api/chat/nobody/stream", ""); none.status != 204 {
		t.Errorf("a chat that is not there yet: %d", none.status)
	}
	w.streams("nothing to count", w.do("GET", "/api/chat/nobody/stream?startIndex=0", ""), "finish other", "[DONE]")
}

func TestAUIChatMayComeWithoutAnIdAndWithASystemMessage(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	w := d.over(d.startHTTP("a").http)
	body := `{"messages":[{"id":"s","role":"system","parts":[{"type":"text","text":"be brief"}]},
		{"id":"x","role":"assistant","parts":[{"type":"text","text":"what we never said"}]},{"id":"u","role":"user","parts":[{"type":"text","text":"hi"}]}]}`
	got := w.do("POST", "/api/chat", body)
	id, _, _ := strings.Cut(got.header.Get("X-Workflow-Run-Id"), ".")
	w.streams("sent", got, "start msg_"+id+"_1", "start-step", "text-start", "text-delta hi", "text-end", "finish-step", "finish stop", "[DONE]")
	row := d.get(chat.ID(id))
	if row.System != "be brief" {
		t.Errorf("the system prompt is %q", row.System)
	}
	var said []string
	for _, m := range d.history(chat.ID(id)) {
		said = append(said, string(m.Role)+" "+m.Text())
	}
	if diff := cmp.Diff([]string{"user hi", "assistant hi"}, said); diff != "" {
		t.Error(diff)
	}
}

// TestAUIRequestThatIsRefusedChangesNothing: the body is one sentence, since clients throw it as it is.
func TestAUIRequestThatIsRefusedChangesNothing(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	w := d.over(d.startHTTP("a").http)
	w.do("POST", "/api/chat", uiBody("c", "u1", "one", ""))
	before := d.dump()
	for _, row := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"POST", "/api/chat", `{`, 400, "not JSON"},
		{"POST", "/api/chat", `{"messages":1}`, 400, "messages has the wrong type"},
		{"POST", "/api/chat", `{}`, 422, "must be the user's"},
		{"POST", "/api/chat", `{"id":"c","messages":[{"id":"a","role":"assistant","parts":[]}]}`, 422, "must be the user's"},
		{"POST", "/api/chat", `{"id":"c","messages":[{"id":"a","role":"user","parts":[]}]}`, 422, "no text"},
		{"POST", "/api/chat", `{"id":"c","messages":[{"id":"a","role":"user","parts":[{"type":"file","url":"data:,"}]}]}`, 422, `"file" are not supported`},
		{"POST", "/api/chat", uiBody("c", "u2", "x", `,"tools":[{}]`), 422, "tools are not supported"},
		{"POST", "/api/chat", uiBody("c", "u2", "x", `,"trigger":"shout"`), 422, "trigger must be"},
		{"POST", "/api/chat", uiBody("c", "u2", "x", `,"model":"nonsense"`), 422, "model must be"},
		{"POST", "/api/chat", uiBody("c", "u2", "x", `,"busy":"perhaps"`), 422, "busy must be"},
		{"POST", "/api/chat", uiBody("a b", "u2", "x", ""), 422, "id must be"},
		{"POST", "/api/chat", uiBody("c", strings.Repeat("u", 201), "x", ""), 422, "client_id is longer"},
		{"POST", "/api/chat", uiBody("c", "u1", "other", ""), 409, "sent before with another text"},
		{"POST", "/api/chat", uiBody("d", "u", strings.Repeat("x", chat.MaxText+1), ""), 413, "the limit is"},
		{"GET", "/api/chat/a%20b/stream", "", 422, "must be"},
		{"GET", "/api/chat/c.2/stream", "", 404, "no such run"},
		{"GET", "/api/chat/c.x/stream?startIndex=0", "", 404, "no such run"},
		{"GET", "/api/chat/nobody.1/stream?startIndex=0", "", 404, "no chat"},
		{"GET", "/api/chat/c.qAAAA/stream?startIndex=0", "", 422, "NUL"},
		{"GET", "/api/chat/c.qeA/stream?startIndex=0", "", 404, "no message"},
		{"GET", "/api/chat/c/stream?startIndex=x", "", 400, "startIndex must be"},
		{"GET", "/api/chat/c/stream?reset=x", "", 400, "reset must be"},
		{"POST", "/api/chat/nobody/stop", "", 404, "no chat"},
		{"POST", "/api/chat/c/stop", "{", 400, "not JSON"},
		{"POST", "/api/chat/c/stop", `{"activeStreamId":"d.1"}`, 404, "no such run"},
	} {
		got := w.do(row.method, row.path, row.body)
		if got.status != row.status || !strings.Contains(string(got.body), row.says) {
			t.Errorf("%s %s %.80s: %d %s", row.method, row.path, row.body, got.status, got.body)
		}
	}
	if after := d.dump(); after != before {
		t.Errorf("refused requests changed rows:\n%s", cmp.Diff(before, after))
	}
}

func TestAUIStreamOfAnotherTenantIsNotThere(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	w := d.over(d.startHTTP("a", "--http-token=t=secret-of-t", "--http-token=u=secret-of-u").http)
	mine, other := w.as("secret-of-t"), w.as("secret-of-u")
	mine.streams("sent", mine.do("POST", "/api/chat", uiBody("c", "u1", "hi", "")),
		"start msg_c_1", "start-step", "text-start", "text-delta hi", "text-end", "finish-step", "finish stop", "[DONE]")
	before := d.dump()
	for path, body := range map[string]string{
		"POST /api/chat": uiBody("c", "u2", "hello", ""), "POST /api/chat/c/stop": "", "GET /api/chat/c.1/stream?startIndex=0": "",
	} {
		method, path, _ := strings.Cut(path, " ")
		if got := other.do(method, path, body); got.status != 404 {
			t.Errorf("%s %s: %d %s", method, path, got.status, got.body)
		}
	}
	if got := other.do("GET", "/api/chat/c/stream", ""); got.status != 204 {
		t.Errorf("as if there were no chat: %d %s", got.status, got.body)
	}
	if after := d.dump(); after != before {
		t.Errorf("another tenant changed rows:\n%s", cmp.Diff(before, after))
	}
}

// TestAClientThatKnowsNoResetStepKeepsWhatItShows: the model fails in mid-answer and then says the same.
func TestAClientThatKnowsNoResetStepKeepsWhatItShows(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	w := d.over(d.startHTTP("a", patient()...).http)
	text := "#tokens=4 #error=2 #times=1"
	w.streams("steady", w.do("POST", "/api/chat", uiBody("c", "u1", text, `,"reset":false`)),
		"start msg_c_1", "start-step", "text-start", "text-delta w0", "text-delta w1", "text-delta w2", "text-delta w3", "text-end", "finish-step", "finish stop", "[DONE]")
	// Whether the void attempt was seen depends on how soon the stream was there.
	reset := unreset(w.do("POST", "/api/chat", uiBody("d", "u1", text, "")).chunks())
	want := []string{"start msg_d_1", "start-step", "text-start", "text-delta w0 w1 w2 w3", "text-end", "finish-step", "finish stop", "[DONE]"}
	if diff := cmp.Diff(want, whole(reset)); diff != "" {
		t.Errorf("with resets (-want +left):\n%s", diff)
	}
	got := w.do("GET", "/api/chat/d/stream?startIndex=3", "")
	if all := got.chunks(); len(all) == 0 || all[0] != "reset-step" || all[len(all)-1] != "[DONE]" {
		t.Errorf("an index that can't be exact: %q", all)
	}
	w.streams("steady and not exact", w.do("GET", "/api/chat/d/stream?startIndex=3&reset=false", ""),
		"error what is shown may be void: load the chat again", "finish error", "[DONE]")
}

func TestAUIStreamEndsCleanlyWhenItsReplicaDrains(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	relay := d.startHTTP("a")
	w := d.over(relay.http)
	d.send(d.create("c").ID, "#tokens=40 #hold=5")
	d.held("c")
	done := make(chan reply, 1)
	r := w.request("GET", "/api/chat/c/stream?startIndex=0", "")
	go func() { done <- w.carry(r) }()
	d.await("the stream to be open", func() bool { return relay.metric("processor_http_streams") == 1 })
	relay.drain()
	if all := (<-done).chunks(); len(all) > 0 && all[len(all)-1] == "[DONE]" {
		t.Errorf("a stream that was cut by a drain says that it is whole: %q", all)
	}
}
