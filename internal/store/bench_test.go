package store_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"processor/internal/chat"
	"processor/internal/store"
)

// chats makes waiting chats, and a worker that may claim them.
func chats(b *testing.B, s *store.Store, n int) []chat.ID {
	b.Helper()
	if err := s.Register(b.Context(), chat.Worker{ID: "w", Slots: n}); err != nil {
		b.Fatal(err)
	}
	ids := make([]chat.ID, n)
	for i := range ids {
		ids[i] = chat.ID(fmt.Sprintf("chat-%06d", i))
		if _, err := s.Create(b.Context(), chat.NewChat{ID: ids[i], Model: "demo/echo"}); err != nil {
			b.Fatal(err)
		}
	}
	return ids
}

var (
	question = []chat.Part{{Type: chat.TextPart, Text: "What is the answer to the question of life, the universe and everything?"}}
	reply    = []chat.Message{{
		Role: chat.Assistant, Finish: chat.Stop, Model: "demo/echo", Usage: &chat.Usage{InputTokens: 12, OutputTokens: 34},
		Parts: []chat.Part{{Type: chat.TextPart, Text: "Forty-two. But what was the question? That will take a larger computer and ten million years."}},
	}}
	history = chat.Budget{Messages: 20, Bytes: 64 << 10}
)

// turn is what one turn costs the store: a message, a claim, an answer.
func turn(ctx context.Context, s *store.Store, id chat.ID, n int64) error {
	if _, err := s.Send(ctx, chat.NewMessage{Chat: id, Parts: question, ClientID: fmt.Sprint("m", n)}, nil); err != nil {
		return err
	}
	c, err := s.Claim(ctx, id, "w", false, history)
	if err != nil {
		return err
	}
	l := chat.Lease{Chat: id, Number: c.Chat.Number, Worker: "w", Epoch: c.Chat.Epoch, Turn: c.Chat.Turn, Step: c.Chat.Step}
	_, err = s.Finish(ctx, l, reply)
	return err
}

func BenchmarkTurnAlone(b *testing.B) {
	s := open(b).Store
	ids := chats(b, s, 100)
	var n int64
	for b.Loop() {
		n++
		if err := turn(b.Context(), s, ids[int(n)%len(ids)], n); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTurnsOfManyChats(b *testing.B) {
	b.Run("in groups", func(b *testing.B) { manyTurns(b, open(b).Store) })
	b.Run("each alone", func(b *testing.B) {
		s := open(b).Store
		s.Ungroup()
		manyTurns(b, s)
	})
}

func manyTurns(b *testing.B, s *store.Store) {
	b.Helper()
	const many = 512
	ids := chats(b, s, many)
	var n, next atomic.Int64
	b.SetParallelism(many / 2)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		id := ids[int(next.Add(1)-1)%many]
		for pb.Next() {
			if err := turn(b.Context(), s, id, n.Add(1)); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "turns/s")
}

func BenchmarkClaimAlone(b *testing.B) {
	s := open(b).Store
	ids := chats(b, s, 100)
	var n int64
	for b.Loop() {
		n++
		id := ids[int(n)%len(ids)]
		b.StopTimer()
		if _, err := s.Send(b.Context(), chat.NewMessage{Chat: id, Parts: question, ClientID: fmt.Sprint("m", n)}, nil); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		c, err := s.Claim(b.Context(), id, "w", false, history)
		b.StopTimer()
		if err != nil {
			b.Fatal(err)
		}
		l := chat.Lease{Chat: id, Number: c.Chat.Number, Worker: "w", Epoch: c.Chat.Epoch, Turn: c.Chat.Turn, Step: c.Chat.Step}
		if _, err := s.Finish(b.Context(), l, reply); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
