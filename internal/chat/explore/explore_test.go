package explore

import (
	"flag"
	"testing"
	"time"

	"processor/internal/chat"
	"processor/internal/chat/chattest"
)

var full = flag.Bool("explore.full", false, "explore all of what doc.go says, which takes minutes")

// TestEveryReachableState walks through small worlds in which every rule is right. With -explore.full they are larger.
func TestEveryReachableState(t *testing.T) {
	t.Parallel()
	worlds := map[string]World{
		"a chat and two messages":        {Troubles: 1, Steps: 1},
		"after two owners in a row died": {Troubles: 1, Steps: 1, Deaths: 2},
		"with an owner that shuts down":  {Troubles: 1, Draining: true},
	}
	if *full {
		worlds = map[string]World{
			"a chat and two messages":        {Troubles: 2, Steps: 1},
			"with calls of tools":            {Troubles: 1, Steps: 3},
			"after two owners in a row died": {Troubles: 2, Steps: 1, Deaths: 2},
			"with an owner that shuts down":  {Troubles: 2, Steps: 1, Draining: true},
			"with three troubles at once":    {Troubles: 3},
		}
	}
	for name, w := range worlds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w.Rules = chattest.DefaultRules()
			if found := explore(t, w); found.Violation != nil {
				t.Errorf("violation:\n%v", found.Violation)
			}
		})
	}
}

// TestTheEpochAloneFences: no two claims share an epoch, so a guard that ignores the worker lets nothing more in. It is a second line, for the
// day on which the first one is broken.
func TestTheEpochAloneFences(t *testing.T) {
	t.Parallel()
	w := World{Troubles: 1, Rules: chattest.DefaultRules()}
	if *full {
		w.Steps = 1
	}
	right := explore(t, w)
	w.Rules.Guard = func(c chat.Chat, l chat.Lease) bool {
		return c.Worker != nil && chattest.DefaultRules().Guard(c, under(l, *c.Worker))
	}
	if without := explore(t, w); without.Violation != nil || without.States != right.States || without.Transitions != right.Transitions {
		t.Errorf("without the worker in the guard: %d states, %d with it, violation %v", without.States, right.States, without.Violation)
	}
}

func explore(t *testing.T, w World) Found {
	t.Helper()
	start := time.Now()
	found, err := w.Walk(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d states, %d transitions, paths of up to %d moves with up to %d troubles: %s",
		found.States, found.Transitions, found.Depth, w.Troubles, time.Since(start).Round(time.Millisecond))
	return found
}
