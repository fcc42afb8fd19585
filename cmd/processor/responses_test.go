package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/conversations"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"

	"processor/internal/local/nodetest"
)

func TestTheOfficialGoClientTalks(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	o := d.official(d.startHTTP("a").http)
	first := o.create(asking("one two three"))
	if first.Status != "completed" || first.OutputText() != "one two three" || first.Model != "test" || first.Usage.TotalTokens == 0 {
		t.Fatalf("the first response is %s", first.RawJSON())
	}
	if diff := cmp.Diff(first.RawJSON(), o.get(first.ID).RawJSON()); diff != "" {
		t.Errorf("read again it differs:\n%s", diff)
	}
	follow := func(text, previous string) *responses.Response {
		p := asking(text)
		p.PreviousResponseID = openai.String(previous)
		return o.create(p)
	}
	second := follow("second", first.ID)
	if chatOfResponse(second.ID) != chatOfResponse(first.ID) || second.PreviousResponseID != first.ID {
		t.Errorf("after the newest response came %s", second.RawJSON())
	}
	fork := follow("fork", first.ID)
	want := []string{"user: one two three", "assistant stop: one two three", "user: fork", "assistant stop: fork"}
	if diff := cmp.Diff(want, says(d.answered(chatOfResponse(fork.ID)))); diff != "" || chatOfResponse(fork.ID) == chatOfResponse(first.ID) {
		t.Errorf("a response after an older one is a turn of %s:\n%s", fork.ID, diff)
	}
	items, err := o.client.Responses.InputItems.List(o.ctx, second.ID, responses.InputItemListParams{})
	d.must(err)
	if len(items.Data) != 1 || items.Data[0].Content.OfInputItemContentList[0].Text != "second" {
		t.Errorf("the input of the second response is %s", items.RawJSON())
	}
	last := o.create(responses.ResponseNewParams{
		Model: "openai/test", Instructions: openai.String("be brief"), MaxOutputTokens: openai.Int(7), Metadata: map[string]string{"k": "v"},
		Input: responses.ResponseNewParamsInputUnion{OfInputItemList: responses.ResponseInputParam{
			responses.ResponseInputItemParamOfMessage("earlier", "user"), responses.ResponseInputItemParamOfMessage("answer", "assistant"),
			responses.ResponseInputItemParamOfMessage("now", "user"),
		}},
	})
	if diff := cmp.Diff([]string{"user: earlier", "assistant stop: answer", "user: now", "assistant stop: now"}, says(d.answered(chatOfResponse(last.ID)))); diff != "" {
		t.Errorf("a response to a history: %s", diff)
	}
	if last.Instructions.OfString != "be brief" || last.MaxOutputTokens != 7 || last.Metadata["k"] != "v" || last.Model != "openai/test" {
		t.Errorf("what was asked for is %s", last.RawJSON())
	}
}

func TestTheOfficialGoClientHoldsConversations(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	o := d.official(d.startHTTP("a").http)
	c, err := o.client.Conversations.New(o.ctx, conversations.ConversationNewParams{
		Metadata: map[string]string{"k": "v"},
		Items:    []responses.ResponseInputItemUnionParam{responses.ResponseInputItemParamOfMessage("hi", "user"), responses.ResponseInputItemParamOfMessage("hello", "assistant")},
	})
	d.must(err)
	p := asking("#tokens=3")
	p.Conversation = responses.ResponseNewParamsConversationUnion{OfString: openai.String(c.ID)}
	r := o.create(p)
	if r.Conversation.ID != c.ID || r.OutputText() != "w0 w1 w2 " && strings.TrimSpace(r.OutputText()) != "w0 w1 w2" {
		t.Errorf("the response is %s", r.RawJSON())
	}
	_, err = o.client.Conversations.Items.New(o.ctx, c.ID, conversations.ItemNewParams{
		Items: []responses.ResponseInputItemUnionParam{responses.ResponseInputItemParamOfMessage("by the way", "user")},
	})
	d.must(err)
	pages := o.client.Conversations.Items.ListAutoPaging(o.ctx, c.ID, conversations.ItemListParams{Order: "asc", Limit: openai.Int(2)})
	var got []string
	for pages.Next() {
		it := pages.Current()
		one, err := o.client.Conversations.Items.Get(o.ctx, c.ID, it.ID, conversations.ItemGetParams{})
		d.must(err)
		if one.ID != it.ID {
			t.Errorf("item %s is %s", it.ID, one.RawJSON())
		}
		got = append(got, it.Role)
	}
	d.must(pages.Err())
	if diff := cmp.Diff([]string{"user", "assistant", "user", "assistant", "user"}, got); diff != "" {
		t.Errorf("the conversation's items: %s", diff)
	}
	busy := asking("#tokens=3 #hold=1")
	busy.Conversation, busy.Background = p.Conversation, openai.Bool(true)
	held := o.create(busy)
	d.held(string(chatOfResponse(held.ID)))
	if _, err := o.client.Responses.New(o.ctx, p, option.WithMaxRetries(0)); status(err) != http.StatusConflict {
		t.Errorf("a second response at the same time: %v", err)
	}
	_, err = o.client.Conversations.Delete(o.ctx, c.ID)
	d.must(err)
	if _, err := o.client.Responses.Get(o.ctx, r.ID, responses.ResponseGetParams{}); status(err) != http.StatusNotFound {
		t.Errorf("a response of a deleted conversation: %v", err)
	}
}

// status is the status of a refusal, 0 for anything else.
func status(err error) int {
	var e *openai.Error
	if errors.As(err, &e) {
		return e.StatusCode
	}
	return 0
}

// TestAResponseIsTakenUpAfterEveryEvent reads a response with two steps that failed in between, from two replicas, after NATS was wiped.
func TestAResponseIsTakenUpAfterEveryEvent(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	a, b := d.startHTTP("a"), d.startHTTP("b")
	one, other := d.official(a.http), d.official(b.http)
	p := asking("#tokens=12 #think=3 #reset=8 #times=1")
	stream := one.client.Responses.NewStreaming(d.ctx, p)
	live := one.all(stream)
	final := one.end(live)
	if got := unvoided(live, final); got != final.OutputText() || len(strings.Fields(got)) != 12 {
		t.Fatalf("the deltas of what counts are %q, the text is %q", got, final.OutputText())
	}
	d.must(d.nats.Wipe(d.ctx))
	whole := other.all(other.after(final.ID, -1))
	known := map[string]string{}
	for _, e := range append(live, whole...) {
		n := fmt.Sprint(e.SequenceNumber)
		if s, ok := known[n]; ok && s != e.RawJSON() {
			t.Errorf("number %s is\n%s\nand\n%s", n, s, e.RawJSON())
		}
		known[n] = e.RawJSON()
	}
	for i, e := range live {
		rest := other.all(other.after(final.ID, e.SequenceNumber))
		if i == len(live)-1 {
			if len(rest) != 0 {
				t.Errorf("after the last event came %q", raws(rest))
			}
			continue
		}
		if end := other.end(rest); end.RawJSON() != final.RawJSON() {
			t.Fatalf("cut after %s it ends as %s", e.RawJSON(), end.RawJSON())
		}
		if got := unvoided(append(live[:i+1:i+1], rest...), final); got != final.OutputText() {
			t.Fatalf("cut after %s the deltas are %q", e.RawJSON(), got)
		}
		if n := rest[0].SequenceNumber; n <= e.SequenceNumber {
			t.Fatalf("after number %d came %d", e.SequenceNumber, n)
		}
	}
}

// TestAResponseSurvivesItsReplicas kills the replica that makes an answer while another relays it, and then the one that relays.
func TestAResponseSurvivesItsReplicas(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	replicas := map[string]*process{}
	for _, name := range []string{"a", "b", "c"} {
		replicas[name] = d.startHTTP(name)
	}
	p := asking("#tokens=30 #hold=10")
	p.Background = openai.Bool(true)
	r := d.official(replicas["a"].http).create(p)
	id := chatOfResponse(r.ID)
	d.held(string(id))
	maker := d.owner(id)
	relay, last := others(replicas, maker)
	stream := d.official(relay.http).after(r.ID, -1)
	defer stream.Close()
	o := d.official(last.http)
	events := o.read(stream, isDelta)
	maker.kill()
	d.held(string(id)) // somebody calls the model again
	events = append(events, o.read(stream, func(e responses.ResponseStreamEventUnion) bool {
		return isDelta(e) && e.OutputIndex > 0
	})...)
	if d.owner(id) == last {
		relay.kill()
	} else {
		relay.pause() // it makes the answer now; what it relays is cut all the same
		stream.Close()
		relay.resume()
	}
	d.provider.Gate(string(id)).Open()
	rest := o.all(o.after(r.ID, events[len(events)-1].SequenceNumber))
	final := o.end(rest)
	if got := unvoided(append(events, rest...), final); final.Status != "completed" || got != final.OutputText() || len(strings.Fields(got)) != 30 {
		t.Fatalf("it ends as %s, and the deltas are %q", final.RawJSON(), got)
	}
	open := map[int64]bool{}
	for _, e := range append(events, rest...) {
		switch e.Type {
		case "response.output_item.added":
			open[e.OutputIndex] = true
		case "response.output_item.done":
			delete(open, e.OutputIndex)
		}
	}
	if len(open) > 0 {
		t.Errorf("items %v were never closed: %q", open, raws(append(events, rest...)))
	}
}

// others are the two replicas that are not the given one.
func others(all map[string]*process, not *process) (one, two *process) {
	for _, name := range []string{"a", "b", "c"} {
		switch p := all[name]; {
		case p == not:
		case one == nil:
			one = p
		default:
			two = p
		}
	}
	return one, two
}

func TestAResponseIsCancelledByAnotherClientWhileManyWatch(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	a, b := d.startHTTP("a"), d.startHTTP("b")
	p := asking("#tokens=30 #hold=5")
	p.Background = openai.Bool(true)
	r := d.official(a.http).create(p)
	if r.Status != "queued" && r.Status != "in_progress" {
		t.Errorf("the new response is %s", r.RawJSON())
	}
	d.held(string(chatOfResponse(r.ID)))
	const viewers = 20
	ends := make([]string, viewers)
	var seen, done sync.WaitGroup
	for i := range viewers {
		seen.Add(1)
		done.Go(func() {
			o := d.official([]string{a.http, b.http}[i%2])
			s := o.after(r.ID, -1)
			defer s.Close()
			tell := sync.OnceFunc(seen.Done)
			defer tell()
			for s.Next() {
				if e := s.Current(); isDelta(e) {
					tell()
				} else if e.Type == "response.incomplete" {
					ends[i] = e.Response.RawJSON()
				}
			}
		})
	}
	seen.Wait()
	o := d.official(b.http)
	for range 2 {
		got, err := o.client.Responses.Cancel(d.ctx, r.ID)
		d.must(err)
		if got.Status != "cancelled" || len(strings.Fields(got.OutputText())) != 5 {
			t.Errorf("the cancelled response is %s", got.RawJSON())
		}
	}
	done.Wait()
	for i, end := range ends {
		if end != o.get(r.ID).RawJSON() {
			t.Errorf("viewer %d saw the end %q", i, end)
		}
	}
}

func TestARequestSentAgainIsAnsweredOnce(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	o := d.official(d.startHTTP("a").http)
	again := option.WithHeader("X-Stainless-Retry-Count", "1")
	key := option.WithHeader("Idempotency-Key", "k")
	do := func(text string, previous string, options ...option.RequestOption) (*responses.Response, error) {
		p := asking(text)
		if previous != "" {
			p.PreviousResponseID = openai.String(previous)
		}
		return o.client.Responses.New(d.ctx, p, append(options, option.WithMaxRetries(0))...)
	}
	same := func(what string, one, two *responses.Response, want bool) {
		t.Helper()
		if (one.ID == two.ID) != want {
			t.Errorf("%s: %s and %s", what, one.ID, two.ID)
		}
	}
	must := func(r *responses.Response, err error) *responses.Response {
		t.Helper()
		d.must(err)
		return r
	}
	first := must(do("hello", ""))
	same("a retry", first, must(do("hello", "", again)), true)
	same("another request that says the same", first, must(do("hello", "")), false)
	keyed := must(do("keyed", "", key))
	same("the same key", keyed, must(do("keyed", "", key)), true)
	if _, err := do("other", "", key); status(err) != http.StatusConflict {
		t.Errorf("the same key for another request: %v", err)
	}
	next := must(do("next", first.ID))
	same("a retry of what follows", next, must(do("next", first.ID, again)), true)
	same("the same after the same response", next, must(do("next", first.ID)), false)
}

func TestWhatResponsesDoNotDoIsRefusedByName(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	p := d.startHTTP("a", "--http-token", "secret,t=of-t,u=of-u")
	web := d.over(p.http).as("secret")
	for body, want := range map[string][2]string{
		`{`:             {"invalid_json", ""},
		`{"model":"m"}`: {"invalid_value", "input"},
		`{"input":""}`:  {"invalid", "text"},
		`{"input":[]}`:  {"invalid_value", "input"},
		`{"input":5}`:   {"invalid_value", "input"},
		`{"input":"x","tools":[{"type":"web_search"}]}`:                                {"unsupported_parameter", "tools"},
		`{"input":"x","store":5}`:                                                      {"invalid_value", "store"},
		`{"input":"x","store":false,"background":true}`:                                {"invalid_value", "store"},
		`{"input":"x","store":false,"conversation":"conv_a"}`:                          {"invalid_value", "store"},
		`{"input":"x","reasoning":{"effort":"low"}}`:                                   {"unsupported_parameter", "reasoning"},
		`{"input":"x","text":{"format":{"type":"json_object"}}}`:                       {"unsupported_parameter", "text"},
		`{"input":"x","include":["message.output_text.logprobs"]}`:                     {"unsupported_parameter", "include"},
		`{"input":"x","moon":1}`:                                                       {"unknown_parameter", "moon"},
		`{"input":"x","temperature":9}`:                                                {"invalid_value", "temperature"},
		`{"input":"x","metadata":{"a":1}}`:                                             {"invalid_value", "metadata"},
		`{"input":[{"role":"user","content":[{"type":"input_image"}]}]}`:               {"unsupported_parameter", "input[0].content[0].type"},
		`{"input":[{"type":"function_call_output","call_id":"x","output":"y"}]}`:       {"unsupported_parameter", "input[0].type"},
		`{"input":[{"type":"item_reference","id":"x"}]}`:                               {"item_not_found", ""},
		`{"input":[{"type":"item_reference"}]}`:                                        {"invalid_value", "input[0].id"},
		`{"input":[{"role":"user","content":"x"},{"role":"assistant","content":"y"}]}`: {"invalid_value", "input"},
		`{"input":[{"role":"system","content":"x"}]}`:                                  {"invalid_value", "input"},
		`{"input":"x","previous_response_id":"resp_nope_1"}`:                           {"previous_response_not_found", "previous_response_id"},
		`{"input":"x","conversation":"conv_nope"}`:                                     {"conversation_not_found", ""},
		`{"input":"x","conversation":"conv_a","previous_response_id":"resp_a_1"}`:      {"invalid_value", "conversation"},
	} {
		got := web.do("POST", "/v1/responses", body)
		e, _ := fieldsOf(string(got.body))["error"].(map[string]any)
		param, _ := e["param"].(string)
		if e["code"] != want[0] || param != want[1] || got.status < 400 || got.status > 404 {
			t.Errorf("%s: %d %s", body, got.status, got.body)
		}
	}
	made := fieldsOf(string(web.as("of-t").do("POST", "/v1/responses", `{"input":"x"}`).body))["id"].(string)
	for _, path := range []string{"", "?stream=true", "/input_items"} {
		if got := web.as("of-u").do("GET", "/v1/responses/"+made+path, ""); got.status != http.StatusNotFound {
			t.Errorf("another tenant's response%s: %d %s", path, got.status, got.body)
		}
	}
	for method, path := range map[string]string{"POST": "/cancel", "DELETE": ""} {
		if got := web.as("of-u").do(method, "/v1/responses/"+made+path, ""); got.status != http.StatusNotFound {
			t.Errorf("%s of another tenant's response: %d %s", method, got.status, got.body)
		}
	}
	if got := web.as("of-t").do("GET", "/v1/responses/"+made, ""); got.status != http.StatusOK {
		t.Errorf("the tenant's own response: %d %s", got.status, got.body)
	}
	if got := web.as("of-t").do("GET", "/v1/responses/"+made+"?starting_after=x&stream=true", ""); got.status != http.StatusBadRequest {
		t.Errorf("a cursor that is no number: %d %s", got.status, got.body)
	}
}

// TestTheOfficialNodeClient runs the suite of the npm package against four replicas, two of which it has killed.
func TestTheOfficialNodeClient(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	var replicas []*process
	var addresses []string
	for _, name := range []string{"a", "b", "c", "d"} {
		replicas = append(replicas, d.startHTTP(name))
		addresses = append(addresses, replicas[len(replicas)-1].http)
	}
	nodetest.Run(t, "responses.mjs", map[string]string{"REPLICAS": strings.Join(addresses, " "), "CONTROL": d.control(replicas)})
}
