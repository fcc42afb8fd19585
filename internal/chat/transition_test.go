package chat_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"processor/internal/chat"
)

var update = flag.Bool("update", false, "write docs/states.md instead of comparing it")

func TestEveryRuleOfTheTableNamesRealStatuses(t *testing.T) {
	t.Parallel()
	for _, r := range chat.Rules() {
		if !r.From.Valid() {
			t.Errorf("%s starts from %q", r.Transition, r.From)
		}
		if len(r.To) == 0 {
			t.Errorf("%s from %s leads nowhere", r.Transition, r.From)
		}
		for _, to := range r.To {
			if to.Valid() == (r.Transition == chat.Delete) {
				t.Errorf("%s from %s leads to %q", r.Transition, r.From, to)
			}
		}
	}
}

func TestNoCellOfTheTableIsThereTwice(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, r := range chat.Rules() {
		cell := fmt.Sprintf("%s from %s", r.Transition, r.From)
		if seen[cell] {
			t.Errorf("%s is in the table twice", cell)
		}
		seen[cell] = true
	}
}

func TestOnlyRunningChatsHaveOwnedTransitions(t *testing.T) {
	t.Parallel()
	for _, r := range chat.Rules() {
		if r.Owned && r.From != chat.Running {
			t.Errorf("%s from %s is guarded by a lease that nobody can hold", r.Transition, r.From)
		}
	}
}

func TestEveryStatusIsReachedAndLeft(t *testing.T) {
	t.Parallel()
	for _, s := range chat.Statuses() {
		reached, left := s == chat.Waiting, false
		for _, r := range chat.Rules() {
			reached = reached || r.From != s && slices.Contains(r.To, s)
			left = left || r.From == s && r.Transition != chat.Delete && !slices.Contains(r.To, s)
		}
		if !reached || !left {
			t.Errorf("%s: reached from another status %t, left for another %t", s, reached, left)
		}
	}
}

func TestWhatTheTableDoesNotHaveIsRefusedByBothNames(t *testing.T) {
	t.Parallel()
	for _, tr := range chat.Transitions() {
		for _, s := range append(chat.Statuses(), chat.Gone) {
			err := tr.Check(s)
			if allowed := slices.Contains(tr.From(), s); allowed != (err == nil) {
				t.Errorf("%s from %s: %v", tr, s, err)
			}
			if err != nil && (!strings.Contains(err.Error(), string(tr)) || !strings.Contains(err.Error(), string(s))) {
				t.Errorf("the refusal does not name %s and %s: %v", tr, s, err)
			}
		}
	}
}

func TestAStoreThatLeavesTheTablePanics(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("a finish that parks the chat was accepted")
		}
	}()
	chat.End.CheckTo(chat.Running, chat.Waiting)
	chat.End.CheckTo(chat.Running, chat.Parked)
}

// TestStatesDocument keeps docs/states.md what the table says. Run it with -update to write the document again.
func TestStatesDocument(t *testing.T) {
	t.Parallel()
	path := filepath.Join("..", "..", "docs", "states.md")
	want := document()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v: write it with go test ./internal/chat -run StatesDocument -update", err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("docs/states.md is not what the table says; write it with go test ./internal/chat -run StatesDocument -update\n%s", diff)
	}
}

func document() string {
	var b strings.Builder
	b.WriteString(`# The states of a chat

Made from the table in internal/chat/transition.go by its test; do not edit. What changes no status and what deletes is in the table only.

` + "```mermaid\nstateDiagram-v2\n    [*] --> waiting: create\n    [*] --> pending: create with a message\n")
	for _, e := range edges() {
		fmt.Fprintf(&b, "    %s\n", e)
	}
	b.WriteString("```\n\n| transition | from | to | by its owner | |\n|---|---|---|---|---|\n")
	for _, r := range chat.Rules() {
		owned := ""
		if r.Owned {
			owned = "yes"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", r.Transition, r.From, join(r.To), owned, r.Note)
	}
	return b.String()
}

// edges are the arrows of the diagram: one for each pair of statuses, with all the transitions that go that way.
func edges() []string {
	var edges []string
	for _, from := range chat.Statuses() {
		for _, to := range chat.Statuses() {
			if by := between(from, to); from != to && len(by) > 0 {
				edges = append(edges, fmt.Sprintf("%s --> %s: %s", from, to, strings.Join(by, ", ")))
			}
		}
	}
	return edges
}

func between(from, to chat.Status) []string {
	var by []string
	for _, r := range chat.Rules() {
		if r.From == from && slices.Contains(r.To, to) {
			by = append(by, string(r.Transition))
		}
	}
	return by
}

func join(statuses []chat.Status) string {
	names := make([]string, len(statuses))
	for i, s := range statuses {
		names[i] = string(s)
	}
	return strings.Join(names, " or ")
}
