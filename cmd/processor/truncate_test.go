package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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

// TestTheCommandsOfAHistorySayWhatTheyDid edits a message by the number that show prints, and has it answered again.
func TestTheCommandsOfAHistorySayWhatTheyDid(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.start("a")
	run := func(args ...string) (out, errs string, code int) {
		p := start(t, t.TempDir(), append(args, "--nats-url", d.nats.URL())...)
		code = p.exit()
		return p.out.String(), p.err.String(), code
	}
	d.create("c")
	d.send("c", "one")
	number := func() string { return strconv.FormatInt(*d.answered("c")[0].ID, 10) }
	first := number()
	if out, _, code := run("show", "c"); code != 0 || !strings.Contains(out, "── "+first+" · user") {
		t.Errorf("show: %d %q", code, out)
	}
	out, errs, code := run("truncate", "c", first, "number", "two")
	want := fmt.Sprintf("the messages from %s on were removed; what was %s is %s now, and turn 2 answers it\n", first, first, number())
	if code != 0 || out != want {
		t.Errorf("truncate: %d %q %q, want %q", code, out, errs, want)
	}
	if got := says(d.answered("c")); len(got) != 2 || !strings.HasSuffix(got[1], "number two") {
		t.Errorf("after the edit the chat says %q", got)
	}
	out, errs, code = run("truncate", "c", number(), "--json", "--if-version", strconv.FormatInt(d.get("c").Version, 10))
	var reply chat.TruncateReply
	if err := json.Unmarshal([]byte(out), &reply); code != 0 || err != nil || reply.Message.Text() != "number two" || reply.Chat.Turn != 3 {
		t.Errorf("truncate --json: %d %q %q, %v", code, out, errs, err)
	}
	d.answered("c")
	for _, row := range []struct {
		args []string
		errs string
	}{
		{[]string{"truncate", "c", first}, "processor: there is no message " + first + " in the history of chat \"c\": see the numbers with `processor show c`\n"},
		{[]string{"truncate", "c", number(), "--if-version", "1"}, fmt.Sprintf("processor: the chat is at version %d, the request is for 1\n", d.get("c").Version)},
		{[]string{"truncate", "nosuch", "1"}, "processor: there is no chat \"nosuch\"\n"},
		{[]string{"watch", "no.such"}, "processor: chat must be 1 to 64 of A-Z a-z 0-9 _ -\n"},
	} {
		if out, errs, code := run(row.args...); code != 1 || out != "" || errs != row.errs {
			t.Errorf("%s: %d %q %q", row.args, code, out, errs)
		}
	}
	full, err := os.Create(filepath.Join(t.TempDir(), "full"))
	d.must(err)
	d.must(full.Close())
	show := ShowCmd{ID: "c", NATSFlags: NATSFlags{NATSURL: d.nats.URL()}}
	if err := show.Run(t.Context(), &Streams{Out: full, Err: io.Discard}); err == nil {
		t.Error("a chat is shown where nothing can be written")
	}
}
