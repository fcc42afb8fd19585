package main

import (
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
)

func TestTheHeapGrowsToTheFloorOrByAQuarter(t *testing.T) {
	t.Parallel()
	for _, roots := range []uint64{1 << 19, 3 << 20} {
		for live := uint64(1 << 20); live < 64<<30; live += live/7 + 1 {
			percent := uint64(percentFor(live, roots))
			next := max(live+(live+roots)*percent/100, heapLeast*percent/100) // as the runtime computes it
			least, most := max(heapFloor, live*5/4)*98/100, max(heapFloor, (live+roots)*5/4)
			if next < least || next > most {
				t.Errorf("with %d MiB alive the next collection comes at %d MiB, want %d to %d", live>>20, next>>20, least>>20, most>>20)
			}
		}
	}
	if percent := percentFor(0, 0); percent <= 0 {
		t.Errorf("GOGC %d with nothing alive", percent)
	}
}

// The collector's own goal says whether what is computed is what it does. It is not parallel, as others' garbage would count.
func TestTheCollectorIsPaced(t *testing.T) {
	t.Setenv("GOGC", "")
	stop := paceHeap()
	defer stop()
	goal := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}, {Name: "/gc/gogc:percent"}}
	deadline := time.Now().Add(time.Minute)
	for paced := false; !paced; runtime.Gosched() {
		runtime.GC()
		metrics.Read(goal)
		got := goal[0].Value.Uint64()
		paced = got >= heapFloor*9/10 && got <= heapFloor*12/10
		if !paced && time.Now().After(deadline) {
			t.Fatalf("the next collection comes at %d MiB, want about %d", got>>20, heapFloor>>20)
		}
	}
	stop()
	runtime.GC()
	if metrics.Read(goal); goal[1].Value.Uint64() != goPercent {
		t.Errorf("GOGC stays at %d", goal[1].Value.Uint64())
	}
}
