package main

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"

	"processor/internal/chat"
	"processor/internal/local/localtest"
	"processor/internal/store"
)

// asProcessor makes the test binary the processor itself: tests start it again as a child, so that they kill real processes of the code
// under test, race detector included.
const asProcessor = "PROCESSOR_TEST_AS_PROCESSOR"

// hasty makes a child end when it ends. By default the race detector then waits for a second.
const hasty = "GORACE=atexit_sleep_ms=0"

// poison is a word in a user's message that kills the child which calls the model with it.
const poison = "#kill-the-replica"

var suite = localtest.New(func(ctx context.Context, url string) error {
	return store.Migrate(ctx, url, slog.New(slog.DiscardHandler))
})

func TestMain(m *testing.M) {
	if config := os.Getenv(asNATS); config != "" {
		os.Exit(serveNATS(config))
	}
	if os.Getenv(asProcessor) == "" {
		suite.Main(m)
	}
	std := &Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
	os.Exit(executeCLI(&CLI{Run: RunCmd{wrap: poisoned}}, os.Args[1:], std))
}

// poisoned are models that take their process with them, as an out-of-memory kill does.
func poisoned(models chat.Models) chat.Models { return poisonedModels{models} }

type poisonedModels struct{ chat.Models }

func (p poisonedModels) Resolve(name string) (chat.Model, string, error) {
	m, name, err := p.Models.Resolve(name)
	return poisonedModel{m}, name, err
}

type poisonedModel struct{ chat.Model }

func (p poisonedModel) Stream(ctx context.Context, req chat.Request, emit func(chat.Delta)) (chat.Answer, error) {
	if n := len(req.Messages); n > 0 && strings.Contains(req.Messages[n-1].Text(), poison) {
		kill(os.Getpid())
	}
	return p.Model.Stream(ctx, req, emit)
}
