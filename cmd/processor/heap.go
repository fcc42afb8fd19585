package main

import "runtime"

// heapRoom is how much a process allocates, at least, from one garbage collection to the next.
const heapRoom = 64 << 20

// roomyHeap keeps the collector from running all the time while little is alive, by counting as alive what was never touched and so takes no
// memory. With GOGC alone a replica that keeps 10 MB would collect after every 10 MB, a dozen times a second under load; a larger
// GOGC would be a multiple of what 10,000 chats keep alive. The caller calls release at its end.
func roomyHeap() (release func()) {
	room := make([]byte, heapRoom)
	return func() { runtime.KeepAlive(room) }
}
