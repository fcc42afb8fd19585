package leaktest

import (
	"testing"
	"time"
)

func TestMain(m *testing.M) { Main(m) }

// The goroutine that this test leaves behind ends later than goleak alone waits.
func TestWhatIsAboutToEndIsNoLeak(t *testing.T) {
	t.Parallel()
	time.AfterFunc(0, func() { <-time.After(time.Second) })
}
