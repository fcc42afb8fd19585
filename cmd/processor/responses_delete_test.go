package main

import (
	"errors"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/conversations"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"

	"processor/internal/chat"
)

// gone expects that nothing finds a response by its id.
func (o *official) gone(id string) {
	o.t.Helper()
	after := asking("x")
	after.PreviousResponseID = openai.String(id)
	for name, ask := range map[string]func() error{
		"get":      func() error { _, err := o.client.Responses.Get(o.ctx, id, responses.ResponseGetParams{}); return err },
		"stream":   func() error { s := o.after(id, -1); s.Next(); return errors.Join(s.Err(), s.Close()) },
		"cancel":   func() error { _, err := o.client.Responses.Cancel(o.ctx, id); return err },
		"delete":   func() error { return o.client.Responses.Delete(o.ctx, id) },
		"previous": func() error { _, err := o.client.Responses.New(o.ctx, after); return err },
		"input": func() error {
			_, err := o.client.Responses.InputItems.List(o.ctx, id, responses.InputItemListParams{})
			return err
		},
	} {
		if err := ask(); status(err) != http.StatusNotFound {
			o.t.Errorf("%s of a deleted response: %v", name, err)
		}
	}
}

func TestWhatADeletedResponseSaidStays(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	one, two := d.startHTTP("a"), d.startHTTP("b")
	o, other := d.official(one.http), d.official(two.http)
	follow := func(text, previous string) *responses.Response {
		p := asking(text)
		p.PreviousResponseID = openai.String(previous)
		return o.create(p)
	}
	first := o.create(asking("first"))
	second := follow("second", first.ID)
	fork := follow("fork", first.ID)
	id := chatOfResponse(first.ID)
	version, said := d.get(id).Version, says(d.answered(id))
	d.must(o.client.Responses.Delete(o.ctx, first.ID))
	other.gone(first.ID)
	if diff := cmp.Diff(second.RawJSON(), other.get(second.ID).RawJSON()); diff != "" {
		t.Errorf("the response after it changed:\n%s", diff)
	}
	if diff := cmp.Diff(said, says(d.answered(id))); diff != "" || d.get(id).Version != version {
		t.Errorf("the conversation is at version %d, not %d: %s", d.get(id).Version, version, diff)
	}
	if third := follow("third", second.ID); chatOfResponse(third.ID) != id {
		t.Errorf("the conversation does not go on: %s", third.RawJSON())
	}
	// The fork's history has responses of its own, which nobody deleted.
	other.get("resp_" + string(chatOfResponse(fork.ID)) + "_1")
	d.must(o.client.Responses.Delete(o.ctx, fork.ID))
	other.gone(fork.ID)
}

func TestAnOnlyResponseGoesWithItsChatUnlessThatIsAConversation(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	o := d.official(d.startHTTP("a").http)
	alone := o.create(asking("alone"))
	d.must(o.client.Responses.Delete(o.ctx, alone.ID))
	o.gone(alone.ID)
	var refusal *chat.Error
	if _, err := d.store.Get(d.ctx, chatOfResponse(alone.ID)); !errors.As(err, &refusal) || refusal.Code != chat.NotFound {
		t.Errorf("the chat of a deleted only response: %v", err)
	}
	c, err := o.client.Conversations.New(o.ctx, conversations.ConversationNewParams{})
	d.must(err)
	p := asking("hello")
	p.Conversation = responses.ResponseNewParamsConversationUnion{OfString: openai.String(c.ID)}
	only := o.create(p)
	d.must(o.client.Responses.Delete(o.ctx, only.ID))
	o.gone(only.ID)
	items, err := o.client.Conversations.Items.List(o.ctx, c.ID, conversations.ItemListParams{})
	d.must(err)
	if len(items.Data) != 2 {
		t.Errorf("the conversation has %s", items.RawJSON())
	}
}

func TestAResponseInProgressIsNotDeleted(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	o := d.official(d.startHTTP("a").http)
	busy := asking("#tokens=3 #hold=1")
	busy.Background = openai.Bool(true)
	held := o.create(busy)
	d.held(string(chatOfResponse(held.ID)))
	if err := o.client.Responses.Delete(o.ctx, held.ID, option.WithMaxRetries(0)); status(err) != http.StatusConflict {
		t.Errorf("a response in progress is deleted: %v", err)
	}
	_, err := o.client.Responses.Cancel(o.ctx, held.ID)
	d.must(err)
	d.must(o.client.Responses.Delete(o.ctx, held.ID))
	o.gone(held.ID)
}
