package bus_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"processor/internal/bus"
	"processor/internal/chat"
)

// BenchmarkDispatchToHandler is one chat at a time: from before the publish to the handler.
func BenchmarkDispatchToHandler(b *testing.B) {
	k := setup(b)
	got := make(chan time.Time, 1)
	deliver(b, k.bus, chat.NewSlots(1000), func(_ context.Context, d bus.Delivery) { got <- time.Now(); d.Ack() })
	var took []time.Duration
	for i := range b.N {
		begin := time.Now()
		k.bus.Ring(chat.ID(fmt.Sprint("chat-", i)), false)
		took = append(took, receive(b, got).Sub(begin))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkThroughput has 64 senders that wait for the stream's ack, and one replica that takes and acks.
func BenchmarkThroughput(b *testing.B) {
	k := setup(b)
	var done sync.WaitGroup
	done.Add(b.N)
	deliver(b, k.bus, chat.NewSlots(1000), func(_ context.Context, d bus.Delivery) { d.Ack(); done.Done() })
	sender := k.connect(b, bus.Config{})
	work := make(chan int)
	for range 64 {
		go func() {
			for i := range work {
				dispatch(b, sender, false, chat.ID(fmt.Sprint("chat-", i)))
			}
		}()
	}
	b.ResetTimer()
	for i := range b.N {
		work <- i
	}
	close(work)
	done.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "dispatches/s")
}

func BenchmarkAnnounceDelta(b *testing.B) {
	k := setup(b)
	e := delta("0190d5d6-1111-7000-8000-000000000000", 1, "a few words of text")
	b.ReportAllocs()
	for b.Loop() {
		k.bus.Announce(e)
	}
}

func BenchmarkMissing500(b *testing.B) {
	k := setup(b)
	chats := ids("chat", 500)
	for _, id := range chats[:250] {
		k.bus.Ring(id, false)
	}
	for b.Loop() {
		if _, _, err := k.bus.Missing(b.Context(), stale(chats...)); err != nil {
			b.Fatal(err)
		}
	}
}
