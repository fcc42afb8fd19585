package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/responses"

	"processor/internal/chat"
)

// unstored is a request for a response that is not stored, as clients that keep the history themselves send it.
func unstored(p responses.ResponseNewParams) responses.ResponseNewParams {
	p.Store = openai.Bool(false)
	p.Include = []responses.ResponseIncludable{responses.ResponseIncludableReasoningEncryptedContent}
	return p
}

// nothing waits until no chat of a response is left.
func (o *official) nothing(id string) {
	o.t.Helper()
	o.await("the deletion of "+id, func() bool {
		_, err := o.store.Get(o.ctx, chatOfResponse(id))
		var refusal *chat.Error
		return errors.As(err, &refusal) && refusal.Code == chat.NotFound
	})
}

func TestAResponseThatIsNotStoredLeavesNothing(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	one, two := d.startHTTP("a"), d.startHTTP("b")
	o, other := d.official(one.http), d.official(two.http)
	r := o.create(unstored(items(spokenBy("developer", "be brief"), spokenBy("user", "one"), spokenBy("assistant", "two"), spokenBy("user", "three"))))
	if r.Status != "completed" || r.OutputText() != "three" || fieldsOf(r.RawJSON())["store"] != false {
		t.Errorf("the response is %s", r.RawJSON())
	}
	other.gone(r.ID)
	o.nothing(r.ID)
	first := o.create(asking("first"))
	version := d.get(chatOfResponse(first.ID)).Version
	p := unstored(asking("second"))
	p.PreviousResponseID = openai.String(first.ID)
	second := other.create(p)
	if second.OutputText() != "second" || second.PreviousResponseID != first.ID {
		t.Errorf("after a stored one came %s", second.RawJSON())
	}
	o.nothing(second.ID)
	if got := d.get(chatOfResponse(first.ID)).Version; got != version {
		t.Errorf("the chat before is at version %d, not %d", got, version)
	}
}

// TestAResponseThatIsNotStoredIsFoundByNobodyWhileItIsMade reads one to its end, and leaves or drains others in the middle.
func TestAResponseThatIsNotStoredIsFoundByNobodyWhileItIsMade(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"read", "left", "drained"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			d := deploy(t)
			one, two := d.startHTTP("a"), d.startHTTP("b")
			o, other := d.official(one.http), d.official(two.http)
			ctx, leave := context.WithCancel(d.ctx)
			defer leave()
			stream := o.client.Responses.NewStreaming(ctx, unstored(asking("#tokens=9 #hold=3")))
			defer stream.Close()
			seen := o.read(stream, isDelta)
			id := seen[0].Response.ID
			other.gone(id)
			if _, err := other.client.Conversations.Get(d.ctx, "conv_"+string(chatOfResponse(id))); status(err) != 404 {
				t.Errorf("its chat as a conversation: %v", err)
			}
			named := items(responses.ResponseInputItemParamOfItemReference(seen[len(seen)-1].ItemID), spokenBy("user", "x"))
			if _, err := other.client.Responses.New(d.ctx, named); status(err) != 404 {
				t.Errorf("its item by its id: %v", err)
			}
			switch end {
			case "read":
				d.provider.Gate(string(chatOfResponse(id))).Open()
				seen = append(seen, o.read(stream, nil)...)
				final := o.end(seen)
				if got := unvoided(seen, final); final.Status != "completed" || got != final.OutputText() || len(strings.Fields(got)) != 9 {
					t.Errorf("it ends as %s", final.RawJSON())
				}
			case "left":
				leave()
			case "drained":
				one.drain()
			}
			o.nothing(id)
		})
	}
}

// TestAResponseThatIsNotStoredIsMadeAgainByAnotherReplica kills the replica that makes the answer, which is not the one that was asked.
func TestAResponseThatIsNotStoredIsMadeAgainByAnotherReplica(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	relay := d.startHTTP("a", "--slots=1")
	d.send("busy", "#tokens=3 #hold=1") // has the relay's slot, as there is nobody else yet
	d.held("busy")
	maker := d.startHTTP("b")
	o := d.official(relay.http)
	stream := o.client.Responses.NewStreaming(d.ctx, unstored(asking("#tokens=9 #hold=3")))
	defer stream.Close()
	seen := o.read(stream, isDelta)
	id := seen[0].Response.ID
	if d.owner(chatOfResponse(id)) != maker {
		t.Fatal("the relay makes the answer itself")
	}
	d.provider.Gate("busy").Open()
	maker.kill()
	d.provider.Gate(string(chatOfResponse(id))).Open()
	seen = append(seen, o.read(stream, nil)...)
	final := o.end(seen)
	if diff := cmp.Diff(final.OutputText(), unvoided(seen, final)); diff != "" || final.Status != "completed" || len(strings.Fields(final.OutputText())) != 9 {
		t.Errorf("it ends as %s: %s", final.RawJSON(), diff)
	}
	o.nothing(id)
}
