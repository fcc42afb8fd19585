package main

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"processor/internal/chat"
)

// TestAQueueIsReadByPagesUntilItIsTaken has texts of which three don't fit a reply.
func TestAQueueIsReadByPagesUntilItIsTaken(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	with, address := overHTTP(d, HTTPFlags{})
	d.inside("a", with)
	w := d.over(address)
	d.send("c", "#tokens=2 #hold=1")
	d.held("c")
	var want []string
	for i := range 7 {
		text := fmt.Sprint("#tokens=1 ", i, strings.Repeat(" x", 120<<10))
		sent := call[chat.SendReply](d, "chats.send", chat.SendRequest{Chat: "c", Text: &text, ClientID: fmt.Sprint("a b?", i)})
		if !sent.Queued || sent.Message.ID != nil {
			t.Fatalf("message %d is not queued", i)
		}
		want = append(want, text)
	}
	for how, read := range map[string]func(after string) chat.QueueReply{
		"NATS": func(after string) chat.QueueReply {
			return call[chat.QueueReply](d, "chats.queue", chat.QueueRequest{Chat: "c", After: after})
		},
		"HTTP": func(after string) chat.QueueReply {
			return answerOf[chat.QueueReply](w, 200, "GET", "/v1/chats/c/queue?after="+url.QueryEscape(after), "")
		},
	} {
		got, pages, after := []string{}, 0, ""
		for {
			page := read(after)
			if page.Chat.Queued != len(want) || page.Chat.Version != d.get("c").Version {
				t.Errorf("%s: the row says %+v", how, page.Chat)
			}
			for _, m := range page.Messages {
				if m.ID != nil || m.Role != chat.User || m.Turn != 0 {
					t.Errorf("%s: a queued message is %+v", how, m)
				}
				got = append(got, m.Text())
			}
			pages++
			if after = page.Next; after == "" {
				break
			}
		}
		if diff := cmp.Diff(want, got); diff != "" || pages < 3 {
			t.Errorf("%s: %d messages in %d pages: %.300s", how, len(got), pages, diff)
		}
		if rest := read("a b?5"); len(rest.Messages) != 1 || rest.Messages[0].Text() != want[6] || rest.Next != "" {
			t.Errorf("%s: behind the last but one are %d messages", how, len(rest.Messages))
		}
	}
	d.provider.Gate("c").Open()
	d.answered("c")
	if got := w.text("GET", "/v1/chats/c/queue"); !strings.HasSuffix(got, `"messages":[]}`) {
		t.Errorf("the queue is empty, and read as %.300s", got)
	}
}
