package chattest_test

import (
	"testing"
	"time"

	"processor/internal/chat"
	"processor/internal/chat/chattest"
	"processor/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func TestCloneSharesNothingThatChanges(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	m := chattest.NewMemory()
	m.Now = func() time.Time { return time.Unix(1e9, 0).UTC() }
	if err := m.Register(ctx, chat.Worker{ID: "w", Slots: 1}); err != nil {
		t.Fatal(err)
	}
	text := []chat.Part{{Type: chat.TextPart, Text: "hello"}}
	if _, err := m.Create(ctx, chat.NewChat{ID: "a", Message: &chat.NewMessage{Chat: "a", ClientID: "1", Parts: text}}); err != nil {
		t.Fatal(err)
	}
	before := m.Key()
	twin := m.Clone()
	claimed, err := twin.Claim(ctx, "a", "w", false, chat.Budget{Messages: 10, Bytes: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if claimed.Chat.Status != chat.Running || len(claimed.History) != 1 {
		t.Errorf("claimed %+v", claimed)
	}
	if m.Key() != before {
		t.Errorf("a claim of the clone changed the original:\n%s\n%s", before, m.Key())
	}
	if twin.Key() == before {
		t.Error("the clone's key does not tell the claim")
	}
	if _, err := m.Claim(ctx, "a", "w", false, chat.Budget{Messages: 10, Bytes: 1000}); err != nil {
		t.Fatal(err)
	}
	if m.Key() != twin.Key() {
		t.Errorf("the same move made two keys:\n%s\n%s", m.Key(), twin.Key())
	}
}
