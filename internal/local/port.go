package local

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// FreePort finds a port of 127.0.0.1 that nobody listens on. It is below the range that systems take for outgoing
// connections, so that it can be had again after a restart.
func FreePort() (int, error) {
	const low, high = 20000, 32000
	for range 100 {
		port := low + rand.IntN(high-low)
		if portIsFree("127.0.0.1", port) == nil {
			return port, nil
		}
	}
	return 0, errors.New("no free port on 127.0.0.1")
}

func portIsFree(host string, port int) error {
	listener, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	return listener.Close()
}
