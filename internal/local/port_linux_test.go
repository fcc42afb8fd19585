package local

import (
	"net"
	"strconv"
	"testing"
)

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener
}

func TestAReservedPortIsItsServersAlone(t *testing.T) {
	t.Parallel()
	port, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	refused := func(when string) {
		t.Helper()
		for _, again := range []string{address, "0.0.0.0:" + strconv.Itoa(port), ":" + strconv.Itoa(port)} {
			if Reserve(again) == nil {
				t.Errorf("%s: %s was given again", when, again)
			}
		}
	}
	refused("before its server starts")
	if conn, err := net.Dial("tcp", address); err == nil {
		conn.Close()
		t.Error("somebody answers before its server starts")
	}
	for range 2 {
		listener := listen(t, address)
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatalf("its server is not reached: %v", err)
		}
		conn.Close()
		refused("while its server runs")
		listener.Close()
		refused("while its server restarts")
	}
}

func TestAnAddressThatIsTakenIsNotReserved(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"127.0.0.1:0", "0.0.0.0:0", ":0"} {
		address := listen(t, at).Addr().String()
		if Reserve(address) == nil {
			t.Errorf("%s was reserved, and somebody listens on it", address)
		}
	}
}
