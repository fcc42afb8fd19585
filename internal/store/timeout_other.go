//go:build !linux

package store

import (
	"syscall"
	"time"
)

// userTimeout is Linux's alone; elsewhere keepalives notice a peer that vanished.
func userTimeout(time.Duration) func(network, address string, conn syscall.RawConn) error { return nil }
