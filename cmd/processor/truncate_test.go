package main

import (
	"testing"

	"processor/internal/chat"
	"processor/internal/chat/llm/llmtest"
)

func (d *deployment) truncate(r chat.TruncateRequest) chat.TruncateReply {
	d.t.Helper()
	return call[chat.TruncateReply](d, "chats.truncate", r)
}

// TestAnEditInMidStreamFencesTheOwner names the control subject as the path on which the owner is told: no beat comes in time.
func TestAnEditInMidStreamFencesTheOwner(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.start("a", noBeat()...)
	w := d.watch(d.create("c").ID)
	d.send("c", "one")
	w.ends("user: one", "assistant stop: one")
	d.send("c", "#tokens=40 #hold=5")
	d.held("c")
	w.until("what the model said", func(seen []chat.Event) bool { return shown(seen) == counted(5) })
	d.send("c", "later")
	edited := "edited"
	reply := d.truncate(chat.TruncateRequest{Chat: "c", Message: *d.history("c")[2].ID, Text: &edited})
	if m := reply.Message; m.Turn != 3 || m.Text() != "edited" || reply.Chat.Queued != 1 {
		t.Errorf("the reply has turn %d, %q, and %d queued", m.Turn, m.Text(), reply.Chat.Queued)
	}
	d.await("the fenced owner to leave the model", func() bool {
		calls := d.calls("c")
		return len(calls) > 1 && calls[1].Outcome == llmtest.Left
	})
	want := []string{"user: one", "assistant stop: one", "user: edited", "assistant stop: edited", "user: later", "assistant stop: later"}
	w.ends(want...)
	d.sameTranscript(w.seen())
}

func TestAnotherAnswerReplacesTheOneThatWas(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.start("a")
	w := d.watch(d.create("c").ID)
	for _, text := range []string{"one", "two", "three"} {
		d.send("c", text)
		w.until("the answer", func(seen []chat.Event) bool {
			return len(transcript(seen)) > 0 && transcript(seen)[len(transcript(seen))-1].Text() == text
		})
	}
	history := d.history("c")
	d.truncate(chat.TruncateRequest{Chat: "c", Message: *history[2].ID, Version: d.get("c").Version})
	w.ends("user: one", "assistant stop: one", "user: two", "assistant stop: two")
	if e := d.refused("chats.truncate", chat.TruncateRequest{Chat: "c", Message: *history[2].ID}); e.Code != chat.NotFound || e.Field != "message" {
		t.Errorf("a repeated truncation is refused by %v", e)
	}
	d.sameTranscript(w.seen())
	late := d.watchAfter("c", *history[5].ID)
	late.until("what was removed", func(seen []chat.Event) bool {
		return len(seen) > 1 && seen[0].Type == chat.RemovedEvent && seen[0].RemovedFrom == *history[1].ID+1 && seen[0].MessageID == *history[5].ID &&
			seen[1].Type == chat.MessageEvent && seen[1].Message.Text() == "two"
	})
}
