package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"processor/internal/bus"
	"processor/internal/chat"
	"processor/internal/chat/chattest"
)

// rawAPI speaks to the API like a client that knows NATS and JSON only.
type rawAPI struct {
	*deployment
	nc *nats.Conn
}

func (d *deployment) raw() rawAPI {
	d.t.Helper()
	nc, err := nats.Connect(d.natsURL)
	d.must(err)
	d.t.Cleanup(nc.Close)
	return rawAPI{d, nc}
}

func (a rawAPI) ask(subject, request string) *nats.Msg {
	a.t.Helper()
	m, err := a.nc.RequestWithContext(a.ctx, subject, []byte(request))
	a.must(err)
	if !json.Valid(m.Data) {
		a.t.Fatalf("%s %.200s was answered with what is not JSON: %.200s", subject, request, m.Data)
	}
	return m
}

// refusal is an error reply: what its headers say, and its body. Status and sentence must be the same in both.
func (a rawAPI) refusal(subject, request string) (status int, e chat.Error) {
	a.t.Helper()
	m := a.ask(subject, request)
	var body struct {
		Error *chat.Error
	}
	a.must(json.Unmarshal(m.Data, &body))
	if body.Error == nil {
		a.t.Fatalf("%s %.200s was not refused: %.200s", subject, request, m.Data)
	}
	status, err := strconv.Atoi(m.Header.Get("Nats-Service-Error-Code"))
	if sentence := m.Header.Get("Nats-Service-Error"); err != nil || sentence != body.Error.Message || sentence == "" || status != body.Error.Code.Status() {
		a.t.Errorf("%s %.200s: the headers are %v and the body %s", subject, request, m.Header, m.Data)
	}
	return status, *body.Error
}

// dump is everything that the database holds of chats, in one text.
func (d *deployment) dump() (all string) {
	d.t.Helper()
	conn := d.connect()
	defer conn.Close(d.ctx)
	d.must(conn.QueryRow(d.ctx, `select jsonb_pretty(jsonb_build_array(
		(select jsonb_agg(to_jsonb(c) - 'digest' order by c.number) from processor.chats c),
		(select jsonb_agg(to_jsonb(m) - 'parts' - 'chunks' order by m.id) from processor.messages m),
		(select jsonb_agg(to_jsonb(q) - 'parts' order by q.id) from processor.queued_messages q)))`).Scan(&all))
	return all
}

func chatMarshal(v any) (string, error) {
	raw, err := chat.Marshal(v)
	return string(raw), err
}

// refusable makes the chats that badRequests are about.
func (a rawAPI) refusable() {
	a.t.Helper()
	known := "hello"
	a.create("idle")
	call[chat.SendReply](a.deployment, "chats.send", chat.SendRequest{Chat: "idle", Text: &known, ClientID: "known"})
	a.answered("idle")
	a.send("parked", "#status=401")
	a.answered("parked")
	a.send("busy", "#tokens=2 #hold=1")
	a.held("busy")
	for i := range chat.MaxQueue {
		call[chat.SendReply](a.deployment, "chats.send", chat.SendRequest{Chat: "busy", Text: &known, ClientID: fmt.Sprintf("queued-%d", i)})
	}
}

func TestBadInputIsRefusedByNameAndChangesNothing(t *testing.T) {
	t.Parallel()
	a := deploy(t).raw()
	a.start("a")
	a.refusable()
	before := a.dump()
	for _, r := range badRequests() {
		status, e := a.refusal(r.subject, r.request)
		if status != r.status || e.Code != r.code || e.Field != r.field {
			t.Errorf("%s %.100s: %d %s %q (%s), want %d %s %q", r.subject, r.request, status, e.Code, e.Field, e.Message, r.status, r.code, r.field)
		}
	}
	if diff := cmp.Diff(before, a.dump()); diff != "" {
		t.Errorf("refused requests changed rows: %s", diff)
	}
	a.provider.Gate("busy").Open()
	if n := len(a.answered("busy")); n != 2*(1+chat.MaxQueue) {
		t.Errorf("the busy chat ended with %d messages", n)
	}
}

// TestWhatIsLongButAllowedIsAnswered has texts that JSON writes longer than they are.
func TestWhatIsLongButAllowedIsAnswered(t *testing.T) {
	t.Parallel()
	a := deploy(t).raw()
	a.start("a")
	fill := func(piece string) string { return "#tokens=1 " + strings.Repeat(piece, (256<<10-10)/len(piece)) }
	for name, text := range map[string]string{"plain": fill("x"), "html": fill("<"), "quotes": fill(`"`), "newlines": fill("\n"), "wide": fill("日"), "lines": fill("\u2028")} {
		id := chat.ID(name)
		request, err := chatMarshal(chat.CreateRequest{ID: id, Title: strings.Repeat("🙂", 200), System: strings.Repeat("s", chat.MaxSystem), Message: &chat.FirstMessage{Text: &text}})
		a.must(err)
		if m := a.ask("chats.create", request); m.Header.Get("Nats-Service-Error") != "" {
			t.Errorf("%s: refused: %s", name, m.Header.Get("Nats-Service-Error"))
			continue
		}
		if diff := cmp.Diff([]string{"user: " + text, "assistant stop: w0 "}, says(a.answered(id))); diff != "" {
			t.Errorf("%s: %.300s", name, diff)
		}
		if page := call[chat.MessagesReply](a.deployment, "chats.messages", chat.MessagesRequest{Chat: id}); len(page.Messages) == 0 || page.Messages[0].Text() != text {
			t.Errorf("%s: the API does not show the text", name)
		}
	}
}

func TestMetadataThatJSONBWouldRefuseIsStoredClean(t *testing.T) {
	t.Parallel()
	a := deploy(t).raw()
	a.start("a")
	a.ask("chats.create", `{"id":"c","metadata":{"half":"\ud800","number":1e30,"big":12345678901234567890}}`)
	want := `{"big":12345678901234567890,"half":"` + "\ufffd" + `","number":1000000000000000000000000000000}`
	var got bytes.Buffer
	a.must(json.Compact(&got, call[chat.ChatReply](a.deployment, "chats.get", chat.ChatRequest{Chat: "c"}).Chat.Metadata))
	if got.String() != want {
		t.Errorf("stored %s, want %s", got.String(), want)
	}
	a.ask("chats.create", `{"id":"none","metadata":null}`)
	if m := a.get("none").Metadata; string(m) != "{}" {
		t.Errorf("null was stored as %s", m)
	}
}

func TestTheSameCreationAgainReturnsTheFirstResult(t *testing.T) {
	t.Parallel()
	a := deploy(t).raw()
	a.start("a")
	const request = `{"id":"c","title":"t","metadata":{"a":1,"b":2},"message":{"text":"hello","client_id":"one"}}`
	var first, again chat.CreateReply
	a.must(json.Unmarshal(a.ask("chats.create", request).Data, &first))
	a.answered("c")
	a.must(json.Unmarshal(a.ask("chats.create", strings.Replace(request, `{"a":1,"b":2}`, `{"b":2, "a":1}`, 1)).Data, &again))
	if again.Chat.Number != first.Chat.Number || *again.Message.ID != *first.Message.ID {
		t.Errorf("first %+v, again %+v", first, again)
	}
	if status, e := a.refusal("chats.create", strings.Replace(request, "hello", "hullo", 1)); status != 409 || e.Field != "id" {
		t.Errorf("another first message: %d %v", status, e)
	}
	if n := len(a.history("c")); n != 2 {
		t.Errorf("the chat has %d messages", n)
	}
}

func TestTheSameSendManyTimesAtOnceIsOneMessage(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.start("a")
	d.start("b")
	d.create("c")
	text, ids := "hello", make(chan int64, 20)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			var reply chat.SendReply
			if err := d.client.Call(d.ctx, "chats.send", chat.SendRequest{Chat: "c", Text: &text, ClientID: "one"}, &reply); err != nil || reply.Queued || reply.Message.ID == nil {
				t.Errorf("%v: %+v", err, reply)
				return
			}
			ids <- *reply.Message.ID
		})
	}
	all.Wait()
	close(ids)
	first := <-ids
	for id := range ids {
		if id != first {
			t.Errorf("one send is message %d, another %d", first, id)
		}
	}
	if diff := cmp.Diff([]string{"user: hello", "assistant stop: hello"}, says(d.answered("c"))); diff != "" {
		t.Error(diff)
	}
	if row, calls := d.get("c"), d.calls("c"); row.Turn != 1 || len(calls) != 1 {
		t.Errorf("turn %d after %d calls", row.Turn, len(calls))
	}
}

func TestListsArePagedNewestFirst(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.start("a")
	var want []chat.ID
	for i := range 25 {
		id := chat.ID(fmt.Sprintf("c%d", i))
		call[chat.CreateReply](d, "chats.create", chat.CreateRequest{ID: id, Tenant: fmt.Sprintf("t%d", i%2)})
		if i%2 == 1 {
			want = slices.Insert(want, 0, id)
		}
	}
	d.say("c1", "#status=401")
	d.answered("c1")
	list := func(r chat.ListRequest) (ids []chat.ID) {
		t.Helper()
		for page := 0; ; page++ {
			reply := call[chat.ListReply](d, "chats.list", r)
			for _, c := range reply.Chats {
				ids = append(ids, c.ID)
			}
			if reply.Next == "" {
				return ids
			}
			if len(reply.Chats) != r.Limit || page > 20 {
				t.Fatalf("page %d has %d chats and a next one", page, len(reply.Chats))
			}
			r.Cursor = reply.Next
			d.create(chat.ID(fmt.Sprintf("late-%s-%d", r.Status, page))) // what comes meanwhile disturbs nobody
		}
	}
	if diff := cmp.Diff(want, list(chat.ListRequest{Tenant: "t1", Limit: 5})); diff != "" {
		t.Errorf("of a tenant: %s", diff)
	}
	if diff := cmp.Diff(want[:len(want)-1], list(chat.ListRequest{Tenant: "t1", Status: chat.Waiting, Limit: 12})); diff != "" {
		t.Errorf("of a tenant, waiting: %s", diff)
	}
	if diff := cmp.Diff([]chat.ID{"c1"}, list(chat.ListRequest{Status: chat.Parked})); diff != "" {
		t.Errorf("parked: %s", diff)
	}
	if ids := list(chat.ListRequest{Status: chat.Running}); ids != nil {
		t.Errorf("running: %v", ids)
	}
}

func TestMessagesArePagedInOrder(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.start("a")
	for i := range 5 {
		d.send("c", fmt.Sprintf("#tokens=%d", i))
		d.answered("c")
	}
	for _, limit := range []int{1, 3, 10, 200} {
		var all []chat.Message
		for after := int64(0); ; {
			page := call[chat.MessagesReply](d, "chats.messages", chat.MessagesRequest{Chat: "c", After: after, Limit: limit})
			all = append(all, page.Messages...)
			if after = page.Next; after == 0 {
				break
			}
			if len(page.Messages) != limit || *page.Messages[limit-1].ID != after {
				t.Fatalf("a page of %d has %d messages and says next %d", limit, len(page.Messages), after)
			}
		}
		if diff := cmp.Diff(says(d.history("c")), says(all)); diff != "" {
			t.Errorf("in pages of %d: %s", limit, diff)
		}
	}
}

// TestRepliesStopBelow768KiBAndSayNext reads large chats and large messages to the end.
func TestRepliesStopBelow768KiBAndSayNext(t *testing.T) {
	t.Parallel()
	a := deploy(t).raw()
	a.start("a")
	system := strings.Repeat("s", 200<<10)
	for i := range 8 {
		call[chat.CreateReply](a.deployment, "chats.create", chat.CreateRequest{ID: chat.ID(fmt.Sprintf("c%d", i)), System: system})
	}
	for i := range 6 {
		a.say("c0", fmt.Sprintf("#tokens=%d %s", i, strings.Repeat("x", 255<<10)))
		a.answered("c0")
	}
	read := func(subject, request, cursor string, count func(raw []byte) (n int, next string)) (total, pages int) {
		t.Helper()
		for next := ""; ; {
			r := request
			if next != "" {
				r = strings.TrimSuffix(request, "}") + `,"` + cursor + `":` + next + `}`
			}
			m := a.ask(subject, r)
			if len(m.Data) > chat.MaxReply+1024 {
				t.Errorf("%s answered with %d bytes", subject, len(m.Data))
			}
			var n int
			n, next = count(m.Data)
			total, pages = total+n, pages+1
			if n == 0 || next == "" {
				return total, pages
			}
		}
	}
	total, pages := read("chats.list", `{"limit":200}`, "cursor", func(raw []byte) (int, string) {
		var r chat.ListReply
		a.must(json.Unmarshal(raw, &r))
		if r.Next == "" {
			return len(r.Chats), ""
		}
		return len(r.Chats), strconv.Quote(r.Next)
	})
	if total != 8 || pages < 3 {
		t.Errorf("%d chats in %d pages", total, pages)
	}
	total, pages = read("chats.messages", `{"chat":"c0","limit":200}`, "after", func(raw []byte) (int, string) {
		var r chat.MessagesReply
		a.must(json.Unmarshal(raw, &r))
		if r.Next == 0 {
			return len(r.Messages), ""
		}
		return len(r.Messages), strconv.FormatInt(r.Next, 10)
	})
	if total != 12 || pages < 3 {
		t.Errorf("%d messages in %d pages", total, pages)
	}
}

// TestTheServiceShowsItselfToTheNATSTool asks what `nats micro info` and `nats micro stats` ask.
func TestTheServiceShowsItselfToTheNATSTool(t *testing.T) {
	t.Parallel()
	a := deploy(t).raw()
	a.start("a", "--slots=7")
	a.send("c", "#tokens=2 #hold=1")
	a.held("c")
	want := []string{"create", "delete", "get", "interrupt", "list", "messages", "queue", "retry", "send", "truncate", "update", "workers"}
	var info struct {
		Name, Version, Description string
		Metadata                   map[string]string
		Endpoints                  []struct{ Name, Subject string }
	}
	a.must(json.Unmarshal(a.ask("$SRV.INFO.processor", "").Data, &info))
	var names []string
	for _, e := range info.Endpoints {
		if e.Subject != "chats."+e.Name {
			t.Errorf("endpoint %s is on %s", e.Name, e.Subject)
		}
		names = append(names, e.Name)
	}
	slices.Sort(names)
	if diff := cmp.Diff(slices.Sorted(slices.Values(Endpoints())), names); diff != "" {
		t.Errorf("what is counted by name (-) is not what is served (+): %s", diff)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return name == "snapshot" }) // for watchers
	if diff := cmp.Diff(want, names); diff != "" || info.Name != "processor" || info.Description == "" || info.Metadata["name"] != "a" {
		t.Errorf("%+v: %s", info, diff)
	}
	var stats struct {
		Endpoints []struct {
			Name string
			Data struct {
				Worker         string
				Slots, Running int
				Suspects       *int
				Draining       *bool
			}
		}
	}
	a.must(json.Unmarshal(a.ask("$SRV.STATS.processor", "").Data, &stats))
	if len(stats.Endpoints) != len(info.Endpoints) {
		t.Errorf("stats of %d endpoints, info of %d", len(stats.Endpoints), len(info.Endpoints))
	}
	for _, e := range stats.Endpoints {
		if d := e.Data; d.Slots != 7 || d.Running != 1 || d.Worker != string(*a.get("c").Worker) || d.Draining == nil || *d.Draining || d.Suspects == nil || *d.Suspects != 0 {
			t.Errorf("the stats of %s are %+v", e.Name, e.Data)
		}
	}
}

// TestNoRequestEndsAReplica sends what the fuzzer starts from to a real one, on every subject.
func TestNoRequestEndsAReplica(t *testing.T) {
	t.Parallel()
	a := deploy(t).raw()
	p := a.start("a")
	for _, seed := range fuzzSeeds() {
		for name := range endpoints(nil) {
			m := a.ask("chats."+name, seed)
			if status := m.Header.Get("Nats-Service-Error-Code"); status == "503" {
				t.Errorf("chats.%s %.200s: %s", name, seed, m.Data)
			}
		}
	}
	if w := p.worker(); w == nil || w.Status != chat.WorkerLive {
		t.Errorf("the replica is %+v", w)
	}
	if log := p.log.String(); strings.Contains(log, "panic") || strings.Contains(log, "request failed") {
		t.Error("a request failed")
	}
}

// endpoints are those of a replica, for the fuzzer.
func endpoints(s *chat.Service) map[string]bus.Endpoint {
	return map[string]bus.Endpoint{
		"create": bus.JSON(s.Create), "send": bus.JSON(s.Send), "get": bus.JSON(s.Get), "messages": bus.JSON(s.Messages), "list": bus.JSON(s.List),
		"interrupt": bus.JSON(s.Interrupt), "retry": bus.JSON(s.Retry), "update": bus.JSON(s.Update), "delete": bus.JSON(s.Delete), "workers": bus.JSON(s.Workers), "snapshot": bus.JSON(s.Snapshot),
	}
}

func fuzzSeeds() []string {
	seeds := []string{"", "null", "{}", "[]", "1", `"`, "{", "\xff", "\x00", `{"chat":null}`, `{"chat":"c","text":null}`,
		`{"id":"c"}`, `{"id":"c","message":{"text":"a"}}`, `{"chat":"c","text":"a"}`, `{"chat":"c","parts":null}`, `{"chat":"c","parts":[{}]}`,
		`{"chat":"c","parts":[null]}`, `{"chat":"c","text":"\ud800"}`, `{"chat":"c","text":"a","params":{"temperature":1e308,"top_p":-0,"max_tokens":-1}}`,
		`{"chat":"c","text":"a","model":"a/b","busy":"interrupt","client_id":"x"}`, `{"id":"c2","metadata":{"a":{"b":[1,2.5,1e-9,null,true]}}}`,
		`{"id":"c3","metadata":{"a":1,"a":2}}`, `{"id":"c4","metadata":null,"message":null}`, `{"CHAT":"c","Text":"case"}`, `{"chat":"c","chat":"d"}`,
		`{"chat":"c","after":-1}`, `{"chat":"c","after":9223372036854775807,"limit":200}`, `{"limit":1,"cursor":"1"}`, `{"cursor":"1y2p0ij32e8e7"}`,
		`{"chat":"c","turn":2147483647}`, `{"chat":"c","turn":2147483648}`, `{"chat":"c","text":"a","params":{"max_tokens":9223372036854775807}}`}
	for _, r := range badRequests() {
		if len(r.request) < 1000 {
			seeds = append(seeds, r.request)
		}
	}
	return seeds
}

// FuzzAPI: whatever is asked, the reply is JSON that fits a message, or a refusal with a code; nothing panics. The store is the one in memory.
func FuzzAPI(f *testing.F) {
	for _, seed := range fuzzSeeds() {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, request []byte) {
		s := chat.NewService(chattest.NewMemory(), deaf{}, chat.ServiceConfig{DefaultModel: "demo/echo", Logger: quiet()})
		text := "hello"
		if _, err := s.Create(t.Context(), chat.CreateRequest{ID: "c", Message: &chat.FirstMessage{Text: &text}}); err != nil {
			t.Fatal(err)
		}
		all := endpoints(s)
		for _, name := range []string{"create", "send", "interrupt", "retry", "get", "messages", "snapshot", "list", "workers", "delete"} {
			reply, err := all[name](t.Context(), request)
			if err != nil {
				reply = refusalOf(t, name, err)
			}
			if raw, err := chat.Marshal(reply); err != nil || !json.Valid(raw) || len(raw) > 1000<<10 {
				t.Errorf("%s %.200s: %v, %d bytes", name, request, err, len(raw))
			}
		}
	})
}

func refusalOf(t *testing.T, name string, err error) *chat.Error {
	t.Helper()
	e, ok := err.(*chat.Error) //nolint:errorlint // nothing wraps a refusal on its way to the caller
	if !ok || e.Message == "" || e.Code.Status() == 503 {
		t.Errorf("%s: not a refusal: %v", name, err)
	}
	return e
}

// deaf is a bus that nobody listens to.
type deaf struct{}

var _ chat.ServiceBus = deaf{}

func (deaf) Dispatch(context.Context, chat.ID, bool) error { return nil }
func (deaf) Ring(chat.ID, bool)                            {}
func (deaf) Look(chat.WorkerID, chat.ID)                   {}
func (deaf) Purge(context.Context, chat.ID) error          { return nil }
func (deaf) Announce(...chat.Event)                        {}
func (deaf) SavePartial(chat.Partial)                      {}
func (deaf) AskPartial(context.Context, chat.WorkerID, chat.ID) (chat.Partial, bool) {
	return chat.Partial{}, false
}
func (deaf) LastPartial(context.Context, chat.ID) (chat.Partial, bool, error) {
	return chat.Partial{}, false, nil
}
