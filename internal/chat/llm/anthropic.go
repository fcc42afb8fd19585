package llm

import (
	"context"
	"errors"
	"net/http"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"

	"processor/internal/chat"
)

// AnthropicMaxTokens is the limit of an answer when nobody set one: the API demands it.
const AnthropicMaxTokens = 4096

// anthropicModel speaks the messages API.
type anthropicModel struct {
	provider
	messages anthropic.MessageService
}

var _ chat.Model = (*anthropicModel)(nil)

func newAnthropic(cfg Config, client *http.Client) *anthropicModel {
	base := cfg.AnthropicBaseURL
	if base == "" {
		base = AnthropicURL
	}
	// The service, and not anthropic.NewClient, which would read credentials from the environment and from files.
	return &anthropicModel{
		provider: newProvider("anthropic", "ANTHROPIC", cfg.AnthropicKey, base),
		messages: anthropic.NewMessageService(
			option.WithBaseURL(base), option.WithHTTPClient(client), option.WithMaxRetries(0),
			option.WithAPIKey(cfg.AnthropicKey), option.WithMiddleware(exchange),
		),
	}
}

// Stream makes one call.
func (m *anthropicModel) Stream(ctx context.Context, req chat.Request, emit func(chat.Delta)) (chat.Answer, error) {
	stream := m.messages.NewStreaming(ctx, anthropicParams(req), option.WithHeader(chat.CallHeader, req.Call.String()))
	defer stream.Close()
	a := answer{emit: emit, req: &req}
	stopped := false
	for !stopped && ctx.Err() == nil && stream.Next() {
		event := stream.Current()
		if err := a.takeEvent(&event); err != nil {
			return chat.Answer{}, m.badResponse(err.Error())
		}
		// The SDK would go on to wait for the server to end the response.
		stopped = event.Type == "message_stop"
	}
	switch err := anthropicError(stream.Err()); {
	case ctx.Err() != nil:
		return chat.Answer{}, context.Cause(ctx)
	case a.finish != "":
		// The stop reason comes behind all content: the answer is whole, whatever becomes of message_stop.
		return a.result(), nil
	case err != nil:
		return chat.Answer{}, m.fail(ctx, err)
	case a.events == 0:
		return chat.Answer{}, m.badResponse("the answer is not a stream of events")
	default:
		return chat.Answer{}, m.truncated()
	}
}

// anthropicError is the one place that knows the SDK's errors: those with a status never get here (exchange), so an API
// error is one that came in the middle of a stream.
func anthropicError(err error) error {
	var e *anthropic.Error
	if errors.As(err, &e) {
		return newFailure(0, nil, []byte(e.RawJSON()))
	}
	return err
}

func (a *answer) takeEvent(e *anthropic.MessageStreamEventUnion) error {
	a.events++
	switch e.Type {
	case "message_start":
		u := e.Message.Usage
		// What was read from or written to the cache is input too, and counted apart.
		a.usage.InputTokens = u.InputTokens + u.CacheReadInputTokens + u.CacheCreationInputTokens
		a.usage.OutputTokens = u.OutputTokens
	case "content_block_start":
		return a.takeBlock(e)
	case "content_block_delta":
		return a.takeDelta(e)
	case "message_delta":
		a.usage.OutputTokens = max(a.usage.OutputTokens, e.Usage.OutputTokens)
		a.takeStop(e.Delta.StopReason)
	}
	return nil
}

func (a *answer) takeBlock(e *anthropic.MessageStreamEventUnion) error {
	block := &e.ContentBlock
	switch block.Type {
	case "text":
		a.say(chat.TextDelta, block.Text)
	case "thinking":
		a.say(chat.ReasoningDelta, block.Thinking)
	case "tool_use":
		call, err := a.call(e.Index, block.ID)
		if err != nil {
			return err
		}
		call.name = block.Name
	}
	return nil
}

func (a *answer) takeDelta(e *anthropic.MessageStreamEventUnion) error {
	switch e.Delta.Type {
	case "text_delta":
		a.say(chat.TextDelta, e.Delta.Text)
	case "thinking_delta":
		a.say(chat.ReasoningDelta, e.Delta.Thinking)
	case "input_json_delta":
		return a.takeInput(e.Index, e.Delta.PartialJSON)
	}
	return nil
}

// takeInput passes over the input of tools that the provider runs itself: their blocks began no call.
func (a *answer) takeInput(index int64, piece string) error {
	for _, c := range a.calls {
		if c.index == index {
			return a.write(c, piece)
		}
	}
	return nil
}

func (a *answer) takeStop(reason anthropic.StopReason) {
	switch reason {
	case "":
	case anthropic.StopReasonMaxTokens, anthropic.StopReasonModelContextWindowExceeded:
		a.finish = chat.Length
	default:
		a.finish = chat.Stop
	}
}
