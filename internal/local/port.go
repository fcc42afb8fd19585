package local

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"syscall"
	"time"
)

// leaveLimit is generous: a program under way executes within milliseconds.
const leaveLimit = time.Minute

// FreePort reserves a port of 127.0.0.1 that nobody has. It is below the range that systems take for outgoing connections,
// so that it can be had again after a restart.
func FreePort() (int, error) {
	const low, high = 20000, 32000
	for range 100 {
		port := low + rand.IntN(high-low)
		if Reserve(net.JoinHostPort("127.0.0.1", strconv.Itoa(port))) == nil {
			return port, nil
		}
	}
	return 0, errors.New("no free port on 127.0.0.1")
}

// AwaitFree is for an address that only this process listens on, and may have listened on until now: a program that
// another goroutine starts has a copy of every descriptor until it executes, so that a closed listener can stay for a moment.
func AwaitFree(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, leaveLimit)
	defer cancel()
	for {
		err := checkFree(address)
		if !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Millisecond):
		}
	}
}

func checkFree(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	return CloseListener(listener)
}

// CloseListener is Close, and on Linux nobody is let in from here on, though a program under way has a copy of the descriptor.
func CloseListener(listener net.Listener) error {
	_ = stopListening(listener) // where that fails, the copy lets clients in for a moment, whom nobody serves
	return listener.Close()
}

// stopListening keeps the binding. Other than Close it means the copies of the descriptor too; Linux knows it alone.
func stopListening(listener net.Listener) error {
	return onSocket(listener, func(fd int) error { return syscall.Shutdown(fd, syscall.SHUT_RD) })
}

func onSocket(listener net.Listener, do func(fd int) error) error {
	c, err := listener.(*net.TCPListener).SyscallConn()
	if err != nil {
		return err
	}
	return onDescriptor(c, do)
}

func onDescriptor(c syscall.RawConn, do func(fd int) error) error {
	var failed error
	if err := c.Control(func(fd uintptr) { failed = do(int(fd)) }); err != nil {
		return err
	}
	return failed
}
