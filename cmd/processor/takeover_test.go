package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"processor/internal/chat"
)

func TestAMessageIsAnswered(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.start("a")
	d.send("c", "one two three")
	want := []string{"user: one two three", "assistant stop: one two three"}
	if diff := cmp.Diff(want, says(d.answered("c"))); diff != "" {
		t.Fatal(diff)
	}
}

func TestAKilledReplicasChatIsAnsweredOnceByAnother(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.start("a")
	d.start("b")
	w := d.watch(d.create("c").ID)
	d.send("c", "#tokens=40 #hold=20")
	first := d.held("c")
	w.until("some of the answer", func(seen []chat.Event) bool { return has(seen, chat.DeltaEvent) })
	victim := d.owner("c")
	victim.kill()
	second := d.held("c")
	d.provider.Gate("c").Open()

	messages := d.answered("c")
	if len(messages) != 2 || messages[1].Finish != chat.Stop || len(strings.Fields(messages[1].Text())) != 40 {
		t.Fatalf("the history is %v", says(messages))
	}
	if first.ID == second.ID {
		t.Errorf("both calls were made as %s", first.ID)
	}
	if row := d.get("c"); row.Recoveries != 0 || row.Takeovers != 0 {
		t.Errorf("a finished turn has recoveries=%d takeovers=%d", row.Recoveries, row.Takeovers)
	}
	seen := w.until("the whole answer", func(seen []chat.Event) bool { return len(answers(seen)) == 1 && rests(seen) })
	if !has(seen, chat.VoidEvent) {
		t.Errorf("the watcher was not told that the partial is void: %s", describeEvents(seen))
	}
	if diff := cmp.Diff(says(messages), says(w.transcript())); diff != "" {
		t.Errorf("the watcher ends with another transcript: %s", diff)
	}
	if log := d.logs(); !strings.Contains(log, "cause=gone") {
		t.Errorf("the owner was not found by the probe:\n%s", log)
	}
	t.Logf("called again %s after the kill", second.At.Sub(first.At))
}
