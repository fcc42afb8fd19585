package main

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"processor/internal/chat"
)

func noon() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

func someChats() []chat.Chat {
	return []chat.Chat{
		{ID: "weather", Status: chat.Running, Turn: 3, Queued: 1, Model: "demo/echo", Title: "Is it\x1b[2J going\nto rain?", UpdatedAt: noon().Add(-90 * time.Second), CreatedAt: noon()},
		{ID: "broken", Status: chat.Parked, Turn: 1, UpdatedAt: noon().Add(-50 * time.Hour), LastError: &chat.TurnError{Code: "auth", Message: "no key"}, CreatedAt: noon()},
	}
}

func TestChatsAreATableForPeople(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	heads := []string{"ID", "STATUS", "TURN", "QUEUED", "MODEL", "CHANGED", "TITLE"}
	if err := list(&out, OutputFlags{}, someChats(), heads, func(c chat.Chat) []string { return chatRow(c, noon()) }); err != nil {
		t.Fatal(err)
	}
	want := "" +
		"ID       STATUS        TURN  QUEUED  MODEL      CHANGED  TITLE\n" +
		"weather  running       3     1       demo/echo  1m       Is it[2J going to rain?\n" +
		"broken   error (auth)  1     0       -          2d       -\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestChatsAreOneObjectPerLineForScripts(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := list(&out, OutputFlags{JSON: true}, someChats(), nil, nil); err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSuffix(out.Bytes(), []byte("\n")), []byte("\n"))
	if len(lines) != 2 {
		t.Fatalf("%d lines, want 2", len(lines))
	}
	for i, line := range lines {
		var c chat.Chat
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatal(err)
		}
		if c.ID != someChats()[i].ID {
			t.Errorf("line %d is of %s", i, c.ID)
		}
	}
}

func TestWorkersAreATable(t *testing.T) {
	t.Parallel()
	w := chat.Worker{
		ID: "w1", Name: "dev-1", Host: "laptop", PID: 42, Build: "v1", Slots: 10, Running: 3, Draining: true, Status: chat.WorkerLive,
		StartedAt: noon().Add(-3 * time.Hour), HeartbeatAge: 312,
	}
	want := []string{"dev-1", "live (draining)", "3/10", "laptop", "42", "v1", "3h", "300ms ago", "w1"}
	if diff := cmp.Diff(want, workerRow(w, noon())); diff != "" {
		t.Error(diff)
	}
}

func TestAChatIsShownForPeople(t *testing.T) {
	t.Parallel()
	id := int64(1)
	text := func(s string) []chat.Part { return []chat.Part{{Type: chat.TextPart, Text: s}} }
	worker := chat.WorkerID("w1")
	s := chat.Snapshot{
		Chat: chat.Chat{ID: "weather", Status: chat.Running, Model: "demo/echo", Worker: &worker, Queued: 2, CreatedAt: noon()},
		Messages: []chat.Message{
			{ID: &id, Turn: 1, Role: chat.User, Parts: text("hello\n"), CreatedAt: noon()},
			{ID: &id, Turn: 1, Role: chat.Assistant, Parts: text("hell"), Model: "demo/echo", Usage: &chat.Usage{InputTokens: 1, OutputTokens: 2}, Finish: chat.Length, CreatedAt: noon()},
		},
		Partial: &chat.Partial{Parts: text("so f")},
	}
	var out bytes.Buffer
	showChat(&out, s, time.UTC)
	want := `weather · running · demo/echo · since 2026-03-01 12:00:00 · on w1

── 1 · user · 12:00:00
hello

── 1 · assistant · 12:00:00 · demo/echo · 1 in, 2 out · length
hell

── assistant, so far
so f

── 2 in the queue
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestEventsAreOneLineEach(t *testing.T) {
	t.Parallel()
	worker := chat.WorkerID("w1")
	for _, row := range []struct {
		event chat.Event
		want  string
	}{
		{chat.Event{Type: chat.StatusEvent, Status: chat.Running, Worker: &worker, Reason: "claimed"}, "12:00:00.000 c status running on w1 (claimed)"},
		{chat.Event{Type: chat.DeltaEvent, Delta: &chat.Delta{Text: "so\n"}}, `12:00:00.000 c delta "so"`},
		{chat.Event{Type: chat.RetryEvent, Retry: &chat.RetryNote{Attempt: 2, Error: "stalled"}}, "12:00:00.000 c retry attempt 2, stalled"},
		{message(1, 1, chat.Assistant, "hi", chat.Stop), `12:00:00.000 c message assistant stop "hi"`},
	} {
		row.event.Chat, row.event.At = "c", noon()
		if got := eventLine(row.event, time.UTC); got != row.want {
			t.Errorf("got %q, want %q", got, row.want)
		}
	}
}
