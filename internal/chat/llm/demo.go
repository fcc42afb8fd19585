package llm

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"processor/internal/chat"
)

const demoDelay = 30 * time.Millisecond

// demo says the user's last text back. It exists so that everything around the models can be tried without a key.
type demo struct {
	delay time.Duration
	// warn says once in a process that nobody is being asked. The answers don't: they are what was sent, and comparable.
	warn func()
}

var _ chat.Model = (*demo)(nil)

func newDemo(delay time.Duration, log *slog.Logger) *demo {
	if delay == 0 {
		delay = demoDelay
	}
	return &demo{delay: delay, warn: sync.OnceFunc(func() {
		log.Info("demo/echo is a demonstration: it says back what it hears; set OPENAI_API_KEY or ANTHROPIC_API_KEY for a model")
	})}
}

// Stream says the words of the user's last text, the delay apart. Tokens are words.
func (d *demo) Stream(ctx context.Context, req chat.Request, emit func(chat.Delta)) (chat.Answer, error) {
	d.warn()
	said := words(lastText(req.Messages))
	answer := chat.Answer{Finish: chat.Stop, Usage: &chat.Usage{InputTokens: countWords(req)}}
	if limit := maxTokens(req); limit > 0 && len(said) > limit {
		said, answer.Finish = said[:limit], chat.Length
	}
	tick := time.NewTicker(d.delay)
	defer tick.Stop()
	for _, word := range said {
		select {
		case <-ctx.Done():
			return chat.Answer{}, context.Cause(ctx)
		case <-tick.C:
			emit(chat.Delta{Kind: chat.TextDelta, Text: word})
			answer.Usage.OutputTokens++
		}
	}
	return answer, nil
}

func lastText(history []chat.Message) string {
	for i := len(history) - 1; i >= 0; i-- {
		if history[i].Role == chat.User {
			return chat.Clean(history[i].Text())
		}
	}
	return ""
}

func countWords(req chat.Request) int64 {
	n := len(strings.Fields(req.System))
	for _, m := range req.Messages {
		n += len(strings.Fields(m.Text()))
	}
	return int64(n)
}

// words cuts text in front of the white space before each word: joined they are the text again.
func words(text string) []string {
	var all []string
	for text != "" {
		lead := len(text) - len(strings.TrimLeft(text, " \n\t\r"))
		n := strings.IndexAny(text[lead:], " \n\t\r")
		if n < 0 {
			return append(all, text)
		}
		all = append(all, text[:lead+n])
		text = text[lead+n:]
	}
	return all
}
