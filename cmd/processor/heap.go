package main

import (
	"os"
	"runtime"
	"runtime/debug"
)

const (
	// heapRoom is counted as alive by the garbage collector and takes no memory, for it is never touched.
	heapRoom = 128 << 20
	// heapPercent is GOGC unless that is given.
	heapPercent = 50
)

// roomyHeap keeps the collector from running all the time while little is alive, and from letting a large heap double. With GOGC alone a replica that
// keeps 10 MB would collect after every 10 MB, a dozen times a second under load, and one with 10,000 chats take twice what they need. So it
// collects after 64 MiB and half of what is alive. The caller calls release at its end.
func roomyHeap() (release func()) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(heapPercent)
	}
	room := make([]byte, heapRoom)
	return func() { runtime.KeepAlive(room) }
}
