package store_test

import (
	"testing"

	"processor/internal/chat/chattest"
)

func TestStoreKeepsTheContract(t *testing.T) {
	t.Parallel()
	chattest.Suite(t, func(t *testing.T) chattest.Store { return open(t) })
}

func TestStoreDoesWhatMemoryDoes(t *testing.T) {
	t.Parallel()
	chattest.Differential(t, chattest.NewMemory(), open(t))
}
