package local

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
)

// reserved has the sockets by their addresses: without a reference they would be closed.
var reserved sync.Map //nolint:gochecknoglobals // a reservation lasts as long as the process, and has no other owner

// Reserve makes an address, host:port, this process's to give to a server, for as long as the process lives. An address that
// somebody listens on, or that is reserved already, is an error. Without it a port could be chosen twice before its first
// server listens, or while that restarts.
//
// A reservation is a socket that is bound and does not listen. Linux lets a server that sets SO_REUSEADDR, as servers do,
// listen beside it, and lets nobody bind who does not; Reserve itself binds without.
func Reserve(address string) error {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return onDescriptor(c, func(fd int) error { return reuseAddress(fd, 0) })
	}}
	socket, err := config.Listen(context.Background(), "tcp", address)
	if err != nil {
		return err
	}
	err = errors.Join(stopListening(socket), onSocket(socket, func(fd int) error { return reuseAddress(fd, 1) }))
	if err != nil || checkFree(address) != nil {
		// A kernel that only resembles Linux may keep the server away too. The address is free all the same.
		return socket.Close()
	}
	reserved.Store(address, socket)
	return nil
}

func reuseAddress(fd, value int) error {
	return syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, value)
}
