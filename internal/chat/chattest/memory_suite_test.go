package chattest_test

import (
	"testing"

	"processor/internal/chat/chattest"
)

func TestMemoryKeepsTheContract(t *testing.T) {
	t.Parallel()
	chattest.Suite(t, func(*testing.T) chattest.Store { return chattest.NewMemory() })
}

func TestRandomMovesKeepTheInvariants(t *testing.T) {
	t.Parallel()
	chattest.Random(t, chattest.NewMemory())
}
