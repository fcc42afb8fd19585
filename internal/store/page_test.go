package store_test

import (
	"fmt"
	"strings"
	"testing"

	"processor/internal/chat"
)

// A reply holds few long messages. Who asks for many must not make the replica read them all, once for every page.
func TestAPageReadsNoMoreThanFitsAReply(t *testing.T) {
	t.Parallel()
	s := open(t)
	if err := s.Register(t.Context(), chat.Worker{ID: "w"}); err != nil {
		t.Fatal(err)
	}
	l := running(t, s.Store, "chat")
	const long, many = 200 << 10, 30
	for range many {
		said := chat.Message{Role: chat.Assistant, Parts: []chat.Part{{Type: chat.TextPart, Text: strings.Repeat("x", long)}}}
		out, err := s.Commit(t.Context(), l, []chat.Message{said})
		if err != nil {
			t.Fatal(err)
		}
		l.Step = out.Chat.Step
	}
	seen, pages := 0, 0
	for after := int64(0); pages == 0 || after != 0; pages++ {
		snap, err := s.Snapshot(t.Context(), "chat", after, 200)
		if err != nil {
			t.Fatal(err)
		}
		bytes := 0
		for _, m := range snap.Messages {
			bytes += len(m.Text())
		}
		if bytes > 2*chat.MaxReply {
			t.Errorf("a page has %d bytes of text", bytes)
		}
		if snap.Next != 0 && bytes < chat.MaxReply {
			t.Errorf("a page with %d bytes of text was cut", bytes)
		}
		seen, after = seen+len(snap.Messages), snap.Next
	}
	if seen != many+1 {
		t.Errorf("%d pages had %d of %d messages", pages, seen, many+1)
	}
}

func TestAListReadsNoMoreThanFitsAReply(t *testing.T) {
	t.Parallel()
	s := open(t)
	const many = 20
	for i := range many {
		if _, err := s.Create(t.Context(), chat.NewChat{ID: chat.ID(fmt.Sprint(i)), System: strings.Repeat("x", chat.MaxSystem)}); err != nil {
			t.Fatal(err)
		}
	}
	seen := 0
	for before := chat.Number(0); seen < many; {
		page, err := s.List(t.Context(), chat.Filter{Limit: 200, Before: before})
		if err != nil || len(page) == 0 {
			t.Fatalf("after %d chats: %d, %v", seen, len(page), err)
		}
		bytes := len(page) * chat.MaxSystem
		if bytes > 2*chat.MaxReply || (seen+len(page) < many && bytes < chat.MaxReply) {
			t.Errorf("a page has %d bytes of system prompts", bytes)
		}
		seen, before = seen+len(page), page[len(page)-1].Number
	}
	if seen != many {
		t.Errorf("%d of %d chats were listed", seen, many)
	}
}
