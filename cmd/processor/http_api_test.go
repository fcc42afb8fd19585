package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"processor/internal/chat"
)

// TestTheAPIOverHTTPDoesWhatTheDocumentSays calls every route, and every one of the document.
func TestTheAPIOverHTTPDoesWhatTheDocumentSays(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	with, address := overHTTP(d, HTTPFlags{})
	d.inside("a", with)
	w := d.over(address)
	called := map[string]bool{}
	do := func(status int, method, path, body string) json.RawMessage {
		t.Helper()
		called[method+" "+w.api.pathOf(strings.Split(path, "?")[0])] = true
		return answerOf[json.RawMessage](w, status, method, path, body)
	}

	made := answerOf[chat.CreateReply](w, 201, "POST", "/v1/chats", `{"id":"c","title":"t","metadata":{"a":1},"message":{"text":"#tokens=3","client_id":"first"}}`)
	if got := w.do("POST", "/v1/chats", `{"id":"d"}`).header.Get("Location"); got != "/v1/chats/d" {
		t.Errorf("the new chat is at %q", got)
	}
	do(201, "POST", "/v1/chats", ``)
	again := answerOf[chat.CreateReply](w, 201, "POST", "/v1/chats", `{"id":"c","title":"t","metadata":{"a":1},"message":{"text":"#tokens=3","client_id":"first"}}`)
	if again.Chat.Number != made.Chat.Number || *again.Message.ID != *made.Message.ID {
		t.Errorf("the same creation again made %+v", again)
	}
	d.answered("c")
	do(200, "GET", "/v1/chats/c", "")
	do(200, "GET", "/v1/chats?limit=2&status=waiting", "")
	do(202, "POST", "/v1/chats/c/messages", `{"text":"#tokens=3"}`)
	d.answered("c")
	page := answerOf[chat.MessagesReply](w, 200, "GET", "/v1/chats/c/messages?limit=3", "")
	rest := answerOf[chat.MessagesReply](w, 200, "GET", fmt.Sprintf("/v1/chats/c/messages?after=%d", page.Next), "")
	do(200, "GET", "/v1/chats/c/messages", "")
	if diff := cmp.Diff(says(d.history("c")), says(append(page.Messages, rest.Messages...))); diff != "" {
		t.Errorf("two pages differ from the history: %s", diff)
	}
	do(202, "POST", "/v1/chats/c/truncate", fmt.Sprintf(`{"message":%d,"text":"#status=401"}`, *page.Messages[2].ID))
	d.answered("c")
	do(200, "POST", "/v1/chats/c/retry", "")
	do(200, "POST", "/v1/chats/c/interrupt", `{}`)
	d.answered("c")
	do(200, "PATCH", "/v1/chats/c", `{"title":"renamed"}`)
	do(200, "GET", "/v1/chats/c/queue", "")
	do(200, "GET", "/v1/workers", "")
	do(200, "DELETE", "/v1/chats/c", "")
	if got := w.do("GET", "/v1/chats/c", ""); got.status != 404 {
		t.Errorf("the deleted chat is answered with %d %s", got.status, got.body)
	}
	called["GET /openapi.json"] = true
	for path, methods := range w.api.routes {
		for _, method := range methods {
			if !called[method+" "+path] && !strings.HasSuffix(path, "/events") {
				t.Errorf("%s %s is in the document and was not called", method, path)
			}
			delete(called, method+" "+path)
		}
	}
	for route := range called {
		t.Errorf("%s was called and is not in the document", route)
	}
	d.answered("d")
	d.atRest()
}

// TestTheDocumentNamesEveryFieldOfARequest compares the document's schemas with what is decoded, so that a new field can't be forgotten.
func TestTheDocumentNamesEveryFieldOfARequest(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	with, address := overHTTP(d, HTTPFlags{})
	d.inside("a", with)
	var doc struct {
		Components struct {
			Schemas map[string]struct {
				Properties map[string]json.RawMessage
			}
		}
	}
	d.must(json.Unmarshal([]byte(d.over(address).text("GET", "/openapi.json")), &doc))
	for _, v := range []any{
		chat.CreateRequest{}, chat.SendRequest{}, chat.InterruptRequest{}, chat.ChatRequest{}, chat.TruncateRequest{}, chat.UpdateRequest{}, chat.Params{}, chat.Usage{},
		chat.CreateReply{}, chat.SendReply{}, chat.TruncateReply{}, chat.ListReply{}, chat.MessagesReply{}, chat.QueueReply{}, chat.WorkersReply{}, chat.Worker{}, chat.Part{}, chat.TurnError{},
	} {
		typ := reflect.TypeOf(v)
		var want, got []string
		for i := range typ.NumField() {
			if name := strings.Split(typ.Field(i).Tag.Get("json"), ",")[0]; name != "-" {
				want = append(want, name)
			}
		}
		for name := range doc.Components.Schemas[typ.Name()].Properties {
			got = append(got, name)
		}
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-decoded +document): %s", typ.Name(), diff)
		}
	}
}

// asHTTP is a request of the NATS API as one of HTTP, if there is such a one.
func (r badRequest) asHTTP() (method, path, body string, ok bool) {
	var fields map[string]json.RawMessage
	if json.Unmarshal([]byte(r.request), &fields) != nil {
		fields = nil
	}
	var id string
	if json.Unmarshal(fields["chat"], &id) != nil || id == "" {
		id = "idle"
	}
	base, named := "/v1/chats/"+url.PathEscape(id), fields["chat"] != nil
	query := url.Values{}
	for name, raw := range fields {
		var text string
		if json.Unmarshal(raw, &text) != nil {
			text = string(raw)
		}
		if name != "chat" {
			query.Set(name, text)
		}
	}
	switch r.subject {
	case "chats.create":
		return "POST", "/v1/chats", r.request, true
	case "chats.send":
		return "POST", base + "/messages", r.request, named || (fields == nil && r.request != "")
	case "chats.interrupt", "chats.retry", "chats.truncate":
		return "POST", base + strings.Replace(r.subject, "chats.", "/", 1), r.request, named
	case "chats.update":
		return "PATCH", base, r.request, named
	case "chats.get":
		return "GET", base + "?" + query.Encode(), "", named
	case "chats.messages":
		return "GET", base + "/messages?" + query.Encode(), "", named && r.field != "after"
	case "chats.queue":
		return "GET", base + "/queue?" + query.Encode(), "", named
	case "chats.list":
		return "GET", "/v1/chats?" + query.Encode(), "", fields != nil
	case "chats.delete":
		return "DELETE", base, "", named && len(query) == 0
	default:
		return "", "", "", false
	}
}

// TestWhatIsRefusedOverNATSIsRefusedOverHTTPInTheSameWords has one table for both.
func TestWhatIsRefusedOverNATSIsRefusedOverHTTPInTheSameWords(t *testing.T) {
	t.Parallel()
	a := deploy(t).raw()
	with, address := overHTTP(a.deployment, HTTPFlags{})
	a.inside("a", with)
	a.refusable()
	w := a.over(address)
	before, tried := a.dump(), 0
	for _, r := range badRequests() {
		method, path, body, ok := r.asHTTP()
		if !ok {
			continue
		}
		tried++
		got := w.do(method, path, body)
		e := got.refusal()
		if got.status != r.status || e.Code != r.code || e.Field != r.field {
			t.Errorf("%s %s %.100s: %d %s %q (%s), want %d %s %q", method, path, body, got.status, e.Code, e.Field, e.Message, r.status, r.code, r.field)
		}
		if retry := got.header.Get("Retry-After"); (retry != "") != (r.status == 429) {
			t.Errorf("%s %s: Retry-After is %q", method, path, retry)
		}
	}
	if tried < 70 {
		t.Errorf("only %d requests were tried", tried)
	}
	for _, own := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/v1/chats/idle/messages?after=x", "", 400},
		{"GET", "/v1/chats/idle/messages?after=1&after=2", "", 400},
		{"GET", "/v1/chats/idle/messages?limit=%zz", "", 400},
		{"GET", "/v1/chats/idle?x=1", "", 400},
		{"GET", "/v1/workers?x=1", "", 400},
		{"GET", "/v1/events?x=1", "", 400},
		{"GET", "/v1/chats/idle/events?last_event_id=1-2-3", "", 422},
		{"GET", "/v1/chats/idle/events?last_event_id=99999999999999999999-1-1-1", "", 422},
		{"GET", "/v1/chats/nobody/events", "", 404},
		{"GET", "/v1/chats/a.b/events", "", 422},
		{"POST", "/v1/chats/idle/messages", `{"chat":"busy","text":"a"}`, 422},
		{"GET", "/v1/nothing", "", 404},
		{"GET", "/v1/chats/idle/nothing", "", 404},
		{"PUT", "/v1/chats/idle", "", 405},
		{"POST", "/v1/chats/idle", "{}", 405},
		{"DELETE", "/v1/events", "", 405},
	} {
		got := w.do(own.method, own.path, own.body)
		if got.status != own.status || got.refusal().Code.Status() != own.status {
			t.Errorf("%s %s: %d %s, want %d", own.method, own.path, got.status, got.body, own.status)
		}
	}
	if diff := cmp.Diff(before, a.dump()); diff != "" {
		t.Errorf("refused requests changed rows: %s", diff)
	}
	a.provider.Gate("busy").Open()
	a.answered("busy")
}

func TestATokenLetsInAndATenantSeesItsOwnChatsOnly(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	const all, ours, theirs = "token-for-all==", "token-of-t", "token-of-u"
	with, address := overHTTP(d, HTTPFlags{HTTPToken: []httpToken{all, "t=" + ours, "u=" + theirs}})
	a := d.inside("a", with)
	nobody := d.over(address)
	for _, wrong := range []string{"", "wrong", "token-of-", "token-of-tt", "t=token-of-t", strings.Repeat("x", 10_000)} {
		for _, r := range []struct{ method, path string }{
			{"GET", "/v1/chats"}, {"POST", "/v1/chats"}, {"GET", "/v1/events"}, {"GET", "/v1/workers"}, {"GET", "/metrics"}, {"GET", "/v1/nothing"},
		} {
			got := nobody.as(wrong).do(r.method, r.path, "")
			if got.status != 401 || got.refusal().Code != chat.Unauthorized || got.header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s %s with the token %.20q: %d %s", r.method, r.path, wrong, got.status, got.body)
			}
		}
	}
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/openapi.json": 200} {
		if got := nobody.do("GET", path, "").status; got != want {
			t.Errorf("%s without a token: %d", path, got)
		}
	}

	boss, t1, u1 := nobody.as(all), nobody.as(ours), nobody.as(theirs)
	if c := answerOf[chat.CreateReply](t1, 201, "POST", "/v1/chats", `{"id":"c","message":{"text":"#tokens=2"}}`).Chat; c.Tenant != "t" {
		t.Errorf("the chat is of tenant %q", c.Tenant)
	}
	answerOf[chat.CreateReply](boss, 201, "POST", "/v1/chats", `{"id":"d"}`)
	d.answered("c")
	for _, r := range []struct{ method, path, body string }{
		{"GET", "/v1/chats/%s", ""},
		{"GET", "/v1/chats/%s/messages", ""},
		{"GET", "/v1/chats/%s/queue", ""},
		{"GET", "/v1/chats/%s/events", ""},
		{"POST", "/v1/chats/%s/messages", `{"text":"hello"}`},
		{"POST", "/v1/chats/%s/messages", `{"text":"hello","busy":"interrupt"}`},
		{"POST", "/v1/chats/%s/interrupt", ""},
		{"POST", "/v1/chats/%s/retry", ""},
		{"POST", "/v1/chats/%s/truncate", `{"message":1}`},
		{"PATCH", "/v1/chats/%s", `{"title":"mine"}`},
		{"DELETE", "/v1/chats/%s", ""},
	} {
		for _, id := range []string{"c", "d"} {
			there, nowhere := u1.do(r.method, fmt.Sprintf(r.path, id), r.body), u1.do(r.method, fmt.Sprintf(r.path, "nobody"), r.body)
			if there.status != 404 || strings.ReplaceAll(string(nowhere.body), "nobody", id) != string(there.body) {
				t.Errorf("%s %s of another tenant: %d %s, and of nobody: %s", r.method, r.path, there.status, there.body, nowhere.body)
			}
		}
	}
	if got := u1.do("POST", "/v1/chats", `{"tenant":"t"}`); got.status != 422 {
		t.Errorf("a chat for another tenant: %d %s", got.status, got.body)
	}
	for w, want := range map[*web]string{boss: "[d c]", t1: "[c]", u1: "[]"} {
		var ids []chat.ID
		for _, c := range answerOf[chat.ListReply](w, 200, "GET", "/v1/chats", "").Chats {
			ids = append(ids, c.ID)
		}
		if got := fmt.Sprint(ids); got != want {
			t.Errorf("token %s lists %s", w.token, got)
		}
	}
	for w, told := range map[*web]bool{boss: true, t1: false} {
		worker := answerOf[chat.WorkersReply](w, 200, "GET", "/v1/workers", "").Workers[0]
		if (worker.Host != "") != told || (worker.PID != 0) != told {
			t.Errorf("token %s sees host %q and process %d", w.token, worker.Host, worker.PID)
		}
	}
	if got := t1.do("GET", "/metrics", "").status; got != 404 {
		t.Errorf("a tenant's token gets metrics with %d", got)
	}
	if got := boss.text("GET", "/metrics"); !strings.Contains(got, `processor_http_requests_total{protocol="native",status="401"} 30`) {
		t.Errorf("refused requests are not counted: %s", got)
	}
	for _, secret := range []string{all, ours, theirs} {
		if strings.Contains(a.log.String(), secret) {
			t.Errorf("the log has the token %s", secret)
		}
	}
}
