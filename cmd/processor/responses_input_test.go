package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/conversations"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/responses"

	"processor/internal/chat"
)

// items is a request for a response to items.
func items(all ...responses.ResponseInputItemUnionParam) responses.ResponseNewParams {
	return responses.ResponseNewParams{Model: "test", Input: responses.ResponseNewParamsInputUnion{OfInputItemList: all}}
}

func spokenBy(role, text string) responses.ResponseInputItemUnionParam {
	return responses.ResponseInputItemParamOfMessage(text, responses.EasyInputMessageRole(role))
}

// input lists what a response was given, oldest first.
func (o *official) input(id string) (all []string) {
	o.t.Helper()
	pages := o.client.Responses.InputItems.ListAutoPaging(o.ctx, id, responses.InputItemListParams{Order: "asc", Limit: openai.Int(2)})
	for pages.Next() {
		it := pages.Current()
		text := ""
		for _, p := range it.Content.OfInputItemContentList {
			text += p.Text
		}
		if it.Role == "assistant" {
			text = it.AsOutputMessage().Content[0].Text
		}
		all = append(all, it.Role+": "+text)
	}
	o.must(pages.Err())
	return all
}

// TestAClientMaySendTheWholeHistoryEveryTime keeps the history at the client, which sends back the output as it came.
func TestAClientMaySendTheWholeHistoryEveryTime(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	o := d.official(d.startHTTP("a").http)
	history := []responses.ResponseInputItemUnionParam{spokenBy("developer", "be brief"), spokenBy("user", "#tokens=3 #think=2")}
	first := o.create(items(history...))
	for _, it := range first.Output {
		history = append(history, param.Override[responses.ResponseInputItemUnionParam](json.RawMessage(it.RawJSON())))
	}
	second := o.create(items(append(history, spokenBy("user", "second"))...))
	id := chatOfResponse(second.ID)
	answer := strings.TrimSpace(first.OutputText())
	want := []string{"user: #tokens=3 #think=2", "assistant stop: " + answer, "user: second", "assistant stop: second"}
	got := says(d.answered(id))
	for i := range got {
		got[i] = strings.TrimSpace(got[i])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the second chat says: %s", diff)
	}
	if diff := cmp.Diff([]string{"user: #tokens=3 #think=2", "assistant: " + first.OutputText(), "user: second"}, o.input(second.ID)); diff != "" {
		t.Errorf("the input of the second response: %s", diff)
	}
	if got := d.get(id).System; got != "be brief" || second.Instructions.OfString != "" {
		t.Errorf("the developer said %q, the instructions are %q", got, second.Instructions.OfString)
	}
	// What the developer said holds for who goes on from there without saying it again.
	p := asking("third")
	p.PreviousResponseID = openai.String(second.ID)
	if third := o.create(p); chatOfResponse(third.ID) != id {
		t.Errorf("the third response is %s", third.RawJSON())
	}
	p = items(spokenBy("user", "aside"), spokenBy("assistant", "noted"), spokenBy("user", "fourth"))
	p.PreviousResponseID = openai.String(second.ID)
	fork := o.create(p)
	got = says(d.answered(chatOfResponse(fork.ID)))
	for i := range got {
		got[i] = strings.TrimSpace(got[i])
	}
	if diff := cmp.Diff(append(want, "user: aside", "assistant stop: noted", "user: fourth", "assistant stop: fourth"), got); diff != "" {
		t.Errorf("after a response with turns between: %s", diff)
	}
	if diff := cmp.Diff([]string{"user: aside", "assistant: noted", "user: fourth"}, o.input(fork.ID)); diff != "" {
		t.Errorf("its input: %s", diff)
	}
	if d.get(chatOfResponse(fork.ID)).System != "be brief" || fork.PreviousResponseID != second.ID {
		t.Errorf("it is %s", fork.RawJSON())
	}
}

// TestWhatADeveloperSaysLaterHoldsForItsTurn sends the same request three times: the first goes on, the others fork.
func TestWhatADeveloperSaysLaterHoldsForItsTurn(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	o := d.official(d.startHTTP("a").http)
	first := o.create(asking("first"))
	p := items(spokenBy("developer", "in short"), spokenBy("user", "second"))
	p.PreviousResponseID, p.Instructions = openai.String(first.ID), openai.String("be kind")
	for range 3 {
		r := o.create(p)
		if r.Instructions.OfString != "be kind\n\nin short" || d.get(chatOfResponse(r.ID)).System != "" {
			t.Errorf("the response is %s", r.RawJSON())
		}
		next := asking("third")
		next.PreviousResponseID = openai.String(r.ID)
		if next := o.create(next); next.Instructions.OfString != "" {
			t.Errorf("the next response is %s", next.RawJSON())
		}
	}
}

// TestItemsAreSaidAgainByTheirIDs names what other responses said, in whichever conversation, and one whose id looks like another's.
func TestItemsAreSaidAgainByTheirIDs(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	p := d.startHTTP("a", "--http-token", "secret,t=of-t,u=of-u")
	web := d.over(p.http).as("of-t")
	for _, id := range []string{"a", "a_1"} {
		web.do("POST", "/v1/chats", fmt.Sprintf(`{"id":%q,"message":{"text":"I am %s"}}`, id, id))
		d.answered(chat.ID(id))
		web.do("POST", "/v1/chats/"+id+"/messages", fmt.Sprintf(`{"text":"again %s"}`, id))
		d.answered(chat.ID(id))
	}
	ask := func(token, body string) (string, reply) {
		t.Helper()
		got := web.as(token).do("POST", "/v1/responses", body)
		id, _ := fieldsOf(string(got.body))["id"].(string)
		return id, got
	}
	type page struct{ Data []struct{ ID string } }
	var named []string
	for _, id := range []string{"a", "a_1"} {
		list := answerOf[page](web, 200, "GET", "/v1/conversations/conv_"+id+"/items?order=asc", "")
		for _, it := range list.Data {
			named = append(named, fmt.Sprintf(`{"type":"item_reference","id":%q}`, it.ID))
		}
	}
	body := `{"model":"test","input":[` + strings.Join(named, ",") + `,{"role":"user","content":"now"}]}`
	id, got := ask("of-t", body)
	if got.status != http.StatusOK {
		t.Fatalf("%s: %d %s", body, got.status, got.body)
	}
	want := []string{
		"user: I am a", "assistant stop: I am a", "user: again a", "assistant stop: again a",
		"user: I am a_1", "assistant stop: I am a_1", "user: again a_1", "assistant stop: again a_1", "user: now", "assistant stop: now",
	}
	if diff := cmp.Diff(want, says(d.answered(chatOfResponse(id)))); diff != "" {
		t.Errorf("what the items say: %s", diff)
	}
	if _, got := ask("of-u", body); got.status != http.StatusNotFound || !strings.Contains(string(got.body), "item_not_found") {
		t.Errorf("another tenant's items: %d %s", got.status, got.body)
	}
}

// TestInAConversationOnlyTheUserSpeaksInAnInput adds what an assistant said elsewhere as items first.
func TestInAConversationOnlyTheUserSpeaksInAnInput(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	o := d.official(d.startHTTP("a").http)
	c, err := o.client.Conversations.New(o.ctx, conversations.ConversationNewParams{Items: []responses.ResponseInputItemUnionParam{spokenBy("system", "be brief"), spokenBy("user", "hi"), spokenBy("assistant", "hello")}})
	d.must(err)
	in := chat.ID(strings.TrimPrefix(c.ID, "conv_"))
	if got := d.get(in).System; got != "be brief" {
		t.Errorf("the system message is %q", got)
	}
	p := items(spokenBy("assistant", "by the way"), spokenBy("user", "next"))
	p.Conversation = responses.ResponseNewParamsConversationUnion{OfString: openai.String(c.ID)}
	if _, err := o.client.Responses.New(o.ctx, p); status(err) != http.StatusBadRequest {
		t.Errorf("an assistant speaks in the input: %v", err)
	}
	_, err = o.client.Conversations.Items.New(o.ctx, c.ID, conversations.ItemNewParams{Items: []responses.ResponseInputItemUnionParam{spokenBy("assistant", "by the way")}})
	d.must(err)
	p = items(spokenBy("user", "next"), spokenBy("user", "and"))
	p.Conversation = responses.ResponseNewParamsConversationUnion{OfString: openai.String(c.ID)}
	r := o.create(p)
	want := []string{"user: hi", "assistant stop: hello", "user: ", "assistant stop: by the way", "user: nextand", "assistant stop: nextand"}
	if diff := cmp.Diff(want, says(d.answered(in))); diff != "" || r.Conversation.ID != c.ID {
		t.Errorf("the conversation says: %s", diff)
	}
}
