package chattest

import (
	"slices"
	"testing"
	"time"
)

// rule is one sentence of the contract and the moves that show it.
type rule struct {
	sentence string
	check    func(k *kit)
}

// Suite runs the store's contract. open makes an empty store for one test, configured with RedispatchAfter and SuspectAfter.
func Suite(t *testing.T, open func(t *testing.T) Store) {
	t.Helper()
	rules := slices.Concat(
		creating(), sending(), repeatingSends(), queueing(), interruptingSends(),
		claiming(), loading(), committing(), ending(), handing(), repeating(),
		interrupting(), stopping(), withdrawing(), keeping(), retrying(), truncating(), truncatingBusy(), finding(), updating(), appending(), forking(), forgetting(), forgettingNoOther(),
		recovering(), losing(), sparing(), budgets(), parking(), dispatching(), waking(),
		beating(), pruning(), reading(), racing(), keepingTenantsApart(), sendingTogether(), truncatingTogether(), sweepingTogether(),
	)
	for _, r := range rules {
		t.Run(r.sentence, func(t *testing.T) {
			t.Parallel()
			r.check(setup(t, open))
		})
	}
	matrix(t, open)
}

// Ages that tests wait for by Elapse. The real time that a test takes is nothing to them.
const (
	// SuspectAfter is what stores under test are configured with.
	SuspectAfter = time.Minute
	lostAfter    = 10 * time.Minute
	longest      = time.Hour
)
