package local_test

import (
	"errors"
	"net"
	"syscall"
	"testing"

	"processor/internal/local"
)

func TestAClosedListenerLetsNobodyInWhileProgramsStart(t *testing.T) {
	t.Parallel()
	startPrograms(t)
	for range 500 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := local.CloseListener(listener); err != nil {
			t.Fatal(err)
		}
		if _, err := net.Dial("tcp", listener.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("got %v, want refused", err)
		}
	}
}
