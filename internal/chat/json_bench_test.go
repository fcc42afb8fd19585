package chat_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"processor/internal/chat"
)

// sent is a reply like those of a turn: 250 bytes of text.
func sent() chat.SendReply {
	id, worker, at := int64(4711), chat.WorkerID("0190d5d6-2222-7000-8000-000000000000"), time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	return chat.SendReply{
		Chat: chat.Chat{
			Number: 815, ID: "0190d5d6-1111-7000-8000-000000000000", Tenant: "acme", Model: "openai/gpt-5-mini", Metadata: json.RawMessage("{}"), Status: chat.Running,
			Version: 12, Turn: 3, Epoch: 3, Worker: &worker, ClaimedAt: &at, CreatedAt: at, UpdatedAt: at,
		},
		Message: chat.Message{
			ID: &id, Chat: "0190d5d6-1111-7000-8000-000000000000", Turn: 3, Epoch: 3, Role: chat.User, ClientID: "0190d5d6-3333-7000-8000-000000000000", CreatedAt: at,
			Parts: []chat.Part{{Type: chat.TextPart, Text: strings.Repeat("Tell me more about \"it\", and what became of it in the end.\n", 4)}},
		},
	}
}

func BenchmarkMarshal(b *testing.B) {
	reply := sent()
	m := &reply.Message
	event := chat.Event{Chat: m.Chat, Number: 815, Tenant: "acme", Turn: 3, Version: 12, Epoch: 3, Seq: 2, At: m.CreatedAt}
	message, status, delta := event, event, event
	message.Type, message.Message, message.MessageID, message.Place = chat.MessageEvent, m, *m.ID, 1
	status.Type, status.Status, status.Worker, status.Reason = chat.StatusEvent, chat.Running, reply.Chat.Worker, "claimed"
	delta.Type, delta.Delta = chat.DeltaEvent, &chat.Delta{Kind: chat.TextDelta, Text: "a few words of text"}
	for name, v := range map[string]any{"reply": reply, "message": &message, "status": &status, "delta": &delta, "parts": m.Parts} {
		bench(b, name+"/by hand", func() error { _, err := chat.Marshal(v); return err })
		bench(b, name+"/reflected", func() error { _, err := reflected(v); return err })
	}
}

func bench(b *testing.B, name string, f func() error) {
	b.Helper()
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := f(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	parts := []byte(`[{"text": "` + strings.Repeat(`Tell me more about \"it\", and what became of it in the end.\n`, 4) + `", "type": "text"}]`)
	bench(b, "parts/at once", func() error { _, err := chat.DecodeParts(parts); return err })
	bench(b, "parts/reflected", func() error { var v []chat.Part; return json.Unmarshal(parts, &v) })
	usage := []byte(`{"input_tokens": 1234, "output_tokens": 567}`)
	bench(b, "usage/at once", func() error { _, err := chat.DecodeUsage(usage); return err })
	bench(b, "usage/reflected", func() error { var v *chat.Usage; return json.Unmarshal(usage, &v) })
	send := []byte(`{"chat":"0190d5d6-1111-7000-8000-000000000000","text":"Tell me more about it.","client_id":"0190d5d6-3333-7000-8000-000000000000"}`)
	type plain chat.SendRequest
	bench(b, "send/at once", func() error { var v chat.SendRequest; return chat.Unmarshal(send, &v) })
	bench(b, "send/reflected", func() error { var v plain; return chat.Unmarshal(send, &v) })
}
