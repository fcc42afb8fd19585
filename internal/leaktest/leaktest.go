// Package leaktest fails a test binary that leaves goroutines behind, on slow machines too.
package leaktest

import (
	"time"

	"go.uber.org/goleak"
)

// patience is how long what is about to end may take: the ends of connections come from other processes. goleak alone gives
// them less than half a second.
const patience = 30 * time.Second

// Main is a TestMain: it runs the tests, fails when a goroutine is left, and exits.
func Main(m goleak.TestingM, options ...goleak.Option) {
	goleak.VerifyTestMain(run(func() int {
		code := m.Run()
		if code == 0 {
			settle(options)
		}
		return code
	}), options...)
}

func settle(options []goleak.Option) {
	for end := time.Now().Add(patience); goleak.Find(options...) != nil && time.Now().Before(end); {
	}
}

// run is a testing.M of one's own.
type run func() int

// Run implements goleak.TestingM.
func (r run) Run() int { return r() }
