package main

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/conversations"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
	"github.com/openai/openai-go/v3/shared"

	"processor/internal/chat"
)

// conversation makes one of messages that take turns, the user's first.
func (o *official) conversation(texts ...string) string {
	o.t.Helper()
	var items []responses.ResponseInputItemUnionParam
	for i, text := range texts {
		role := responses.EasyInputMessageRoleUser
		if i%2 == 1 {
			role = responses.EasyInputMessageRoleAssistant
		}
		items = append(items, responses.ResponseInputItemParamOfMessage(text, role))
	}
	c, err := o.client.Conversations.New(o.ctx, conversations.ConversationNewParams{Metadata: shared.Metadata{"k": "v"}, Items: items})
	o.must(err)
	return c.ID
}

// inConversation is a request for a response in a conversation.
func inConversation(id, text string) responses.ResponseNewParams {
	p := asking(text)
	p.Conversation = responses.ResponseNewParamsConversationUnion{OfString: openai.String(id)}
	return p
}

func (o *official) relabel(id string, m shared.Metadata) (*conversations.Conversation, error) {
	return o.client.Conversations.Update(o.ctx, id, conversations.ConversationUpdateParams{Metadata: m}, option.WithMaxRetries(0))
}

// TestAConversationsMetadataIsReplacedWhileAResponseIsMade updates at one replica what another one works on.
func TestAConversationsMetadataIsReplacedWhileAResponseIsMade(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	one, two := d.startHTTP("a"), d.startHTTP("b")
	o, other := d.official(one.http), d.official(two.http)
	id := o.conversation("hi", "hello")
	p := inConversation(id, "#tokens=9 #hold=3")
	p.Background = openai.Bool(true)
	held := o.create(p)
	d.held(string(chatOfResponse(held.ID)))
	stream := other.after(held.ID, -1)
	defer stream.Close()
	seen := other.read(stream, isDelta)
	for _, m := range []shared.Metadata{{"topic": "x"}, {"topic": "x"}, {"a": "b", "c": "d"}} {
		c, err := other.relabel(id, m)
		d.must(err)
		if diff := cmp.Diff(map[string]any{"topic": "x"}, c.Metadata); m["topic"] != "" && diff != "" {
			t.Errorf("the updated conversation is %s", c.RawJSON())
		}
	}
	got, err := o.client.Conversations.Get(o.ctx, id)
	d.must(err)
	if diff := cmp.Diff(any(map[string]any{"a": "b", "c": "d"}), got.Metadata); diff != "" {
		t.Errorf("the conversation's metadata: %s", diff)
	}
	d.provider.Gate(string(chatOfResponse(held.ID))).Open()
	seen = append(seen, other.read(stream, nil)...)
	final := other.end(seen)
	if final.Status != "completed" || len(strings.Fields(final.OutputText())) != 9 || unvoided(seen, final) != final.OutputText() {
		t.Errorf("the response ends as %s", final.RawJSON())
	}
	if c := d.get(chatOfResponse(held.ID)); c.Status != chat.Waiting || c.Recoveries != 0 {
		t.Errorf("the chat is %+v", c)
	}
	for _, m := range []shared.Metadata{{}, nil} {
		if _, err := o.relabel(id, shared.Metadata{"k": "v"}); err != nil {
			t.Error(err)
		}
		body := map[string]any{"metadata": m}
		var c conversations.Conversation
		d.must(o.client.Post(o.ctx, "conversations/"+id, body, &c))
		if diff := cmp.Diff(any(map[string]any{}), c.Metadata); diff != "" {
			t.Errorf("metadata after %v: %s", body, diff)
		}
	}
}

func TestWhatCantBeDoneToAConversationIsRefused(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	p := d.startHTTP("a", "--http-token", "secret,t=of-t,u=of-u")
	web := d.over(p.http).as("of-t")
	made := fieldsOf(string(web.do("POST", "/v1/conversations", `{"metadata":{"k":"v"},"items":[{"role":"user","content":"hi"}]}`).body))["id"].(string)
	at := "/v1/conversations/" + made
	items := fieldsOf(string(web.do("GET", at+"/items", "").body))["data"].([]any)
	first := items[0].(map[string]any)["id"].(string)
	before := d.get(chat.ID(strings.TrimPrefix(made, "conv_")))
	for _, r := range []struct {
		token, method, path, body string
		status                    int
		code, param               string
	}{
		{"of-t", "POST", at, `{}`, 400, "missing_required_parameter", "metadata"},
		{"of-t", "POST", at, ``, 400, "missing_required_parameter", "metadata"},
		{"of-t", "POST", at, `[]`, 400, "invalid_json", ""},
		{"of-t", "POST", at, `{"metadata":{"a":1}}`, 400, "invalid_value", "metadata"},
		{"of-t", "POST", at, `{"metadata":{"a":"` + strings.Repeat("x", 513) + `"}}`, 400, "invalid_value", "metadata"},
		{"of-t", "POST", at, `{"metadata":{"a":"\u0000"}}`, 400, "invalid", "metadata"},
		{"of-t", "POST", at, `{"metadata":{},"items":[]}`, 400, "unknown_parameter", "items"},
		{"of-u", "POST", at, `{"metadata":{}}`, 404, "conversation_not_found", ""},
		{"of-t", "POST", "/v1/conversations/conv_nope", `{"metadata":{}}`, 404, "conversation_not_found", ""},
		{"of-t", "POST", "/v1/conversations/nope", `{"metadata":{}}`, 404, "conversation_not_found", ""},
		{"of-t", "DELETE", at + "/items/" + first, ``, 400, "unsupported_operation", ""},
		{"of-t", "DELETE", at + "/items/msg_nope_1", ``, 404, "item_not_found", ""},
		{"of-u", "DELETE", at + "/items/" + first, ``, 404, "conversation_not_found", ""},
		{"of-t", "GET", at + "/items/msg_nope_1", ``, 404, "item_not_found", ""},
		{"of-t", "POST", at + "/items", `{"items":[]}`, 400, "invalid_value", "items"},
	} {
		got := web.as(r.token).do(r.method, r.path, r.body)
		e, _ := fieldsOf(string(got.body))["error"].(map[string]any)
		param, _ := e["param"].(string)
		if got.status != r.status || e["code"] != r.code || param != r.param {
			t.Errorf("%s %s %.60s: %d %s", r.method, r.path, r.body, got.status, got.body)
		}
	}
	if diff := cmp.Diff(before, d.get(before.ID)); diff != "" {
		t.Errorf("refused requests changed the chat: %s", diff)
	}
	o := d.official(p.http)
	_, err := o.client.Conversations.Items.Delete(o.ctx, made, first, option.WithAPIKey("of-t"), option.WithMaxRetries(0))
	var refusal *openai.Error
	if !errors.As(err, &refusal) || refusal.StatusCode != http.StatusBadRequest || !strings.Contains(refusal.Message, "previous_response_id") {
		t.Errorf("an item is deleted by itself: %v", err)
	}
}

// TestPagesOfItemsAreTheConversation reads a conversation with turns of one side, of several items and with gaps between, page by page.
func TestPagesOfItemsAreTheConversation(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	p := d.startHTTP("a")
	o, web := d.official(p.http), d.over(p.http)
	var elsewhere []responses.ResponseInputItemUnionParam
	for i := range 260 {
		role := "user"
		if i%3 == 1 || i%7 == 0 {
			role = "assistant"
		}
		elsewhere = append(elsewhere, spokenBy(role, fmt.Sprintf("elsewhere %d", i)))
	}
	c, err := o.client.Conversations.New(d.ctx, conversations.ConversationNewParams{Items: elsewhere})
	d.must(err)
	id := chat.ID(strings.TrimPrefix(c.ID, "conv_"))
	for i := range 4 { // each is taken back but the last
		o.create(inConversation(c.ID, "#tokens=3 #think=2"))
		if i < 3 {
			all := d.history(id)
			web.do("POST", "/v1/chats/"+string(id)+"/truncate", fmt.Sprintf(`{"message":%d,"text":"again"}`, *all[len(all)-2].ID))
			d.answered(id)
		}
	}
	read := func(order conversations.ItemListParamsOrder, limit int64) (all []string) {
		pages := o.client.Conversations.Items.ListAutoPaging(d.ctx, c.ID, conversations.ItemListParams{Order: order, Limit: openai.Int(limit)})
		for pages.Next() {
			all = append(all, pages.Current().RawJSON())
		}
		d.must(pages.Err())
		return all
	}
	want := read("asc", 100)
	var told, listed []string
	for _, m := range d.history(id) {
		for _, part := range m.Parts {
			told = append(told, part.Text)
		}
	}
	for _, raw := range want {
		for _, part := range fieldsOf(raw)["content"].([]any) {
			listed = append(listed, part.(map[string]any)["text"].(string))
		}
	}
	if diff := cmp.Diff(told, listed); diff != "" {
		t.Errorf("the list is not what the transcript says: %s", diff)
	}
	for _, limit := range []int64{3, 20, 99} {
		for _, order := range []conversations.ItemListParamsOrder{"asc", "desc"} {
			got := read(order, limit)
			if order == "desc" {
				slices.Reverse(got)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, %d at a time: %s", order, limit, diff)
			}
		}
	}
	for _, query := range []string{"limit=0", "limit=101", "limit=x", "order=up", "after=msg_nope_1", "after=msg_" + string(id) + "_99999"} {
		if got := web.do("GET", "/v1/conversations/"+c.ID+"/items?"+query, ""); got.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", query, got.status, got.body)
		}
	}
}

// TestItemsAreAddedAfterTheResponseThatFollowsAFailedOne says so, because it is no conversation that is busy.
func TestItemsAreAddedAfterTheResponseThatFollowsAFailedOne(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	o := d.official(d.startHTTP("a").http)
	id := o.conversation("hi")
	p := inConversation(id, "hello")
	p.Model = "nowhere/model"
	if r := o.create(p); r.Status != "failed" {
		t.Fatalf("the response is %s", r.RawJSON())
	}
	add := func() error {
		_, err := o.client.Conversations.Items.New(d.ctx, id, conversations.ItemNewParams{Items: []responses.ResponseInputItemUnionParam{spokenBy("user", "more")}})
		return err
	}
	var refusal *openai.Error
	if err := add(); !errors.As(err, &refusal) || refusal.StatusCode != http.StatusConflict || refusal.Code != "response_failed" {
		t.Errorf("items after a failed response: %v", err)
	}
	o.create(inConversation(id, "better"))
	d.must(add())
}
