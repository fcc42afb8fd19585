package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

const (
	// heapFloor is up to where the heap may grow without being collected, heapPercent by how much it may grow above what is alive after that.
	heapFloor   = 192 << 20
	heapPercent = 25
	// goPercent is GOGC where nobody sets it.
	goPercent = 100
	// heapLeast is what the runtime takes a smaller heap for: at GOGC=100 the first collection comes there, and at other values in proportion.
	heapLeast = 4 << 20
)

// paceHeap keeps the collector from running all the time while little is alive, and from letting a large heap grow by half, until the returned function
// is called. With GOGC alone a replica that keeps 20 MB would collect several times a second under load, and one with 10,000 chats take much more
// than it needs. After every collection GOGC gets the value at which the next one comes when the heap reaches heapFloor, or a quarter more than
// what is alive. Where GOGC is given this does nothing.
func paceHeap() (stop func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	p := &pacer{}
	p.pace()
	return p.stop
}

type pacer struct {
	mu      sync.Mutex
	stopped bool
}

// stop leaves GOGC as it was: what was computed for one heap would let another one grow without bounds.
func (p *pacer) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	debug.SetGCPercent(goPercent)
}

// collected is what the collector finds dead each time.
type collected struct{ _ [64]byte }

// pace sets GOGC for the next collection, and sees to it that it is called after that.
func (p *pacer) pace() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return
	}
	// What the collector counts: GOGC is of all three, and the heap grows by it above the first.
	counted := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}
	metrics.Read(counted)
	debug.SetGCPercent(percentFor(counted[0].Value.Uint64(), counted[1].Value.Uint64()+counted[2].Value.Uint64()))
	runtime.AddCleanup(new(collected), (*pacer).pace, p)
}

// percentFor is GOGC for what is alive on the heap and what refers to it from elsewhere.
func percentFor(live, roots uint64) int {
	room := max(heapFloor, live) - live
	return int(max(heapPercent, 100*room/max(live+roots, heapLeast)))
}
