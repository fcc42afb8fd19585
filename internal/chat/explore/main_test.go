package explore

import (
	"os"
	"runtime/debug"
	"testing"
)

// TestMain lets garbage lie for longer: a walk makes little else, and half of its time went into collecting it.
func TestMain(m *testing.M) {
	debug.SetGCPercent(800)
	os.Exit(m.Run())
}
