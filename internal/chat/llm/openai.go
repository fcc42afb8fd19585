package llm

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/ssestream"

	"processor/internal/chat"
)

// openAI speaks chat completions, which is what compatible servers speak too; the newer Responses API is OpenAI's alone.
type openAI struct {
	provider
	completions openai.ChatCompletionService

	// What the server was found not to understand. Both only ever become true, and save every later call a refusal.
	noStreamOptions     atomic.Bool
	maxCompletionTokens atomic.Bool
}

var _ chat.Model = (*openAI)(nil)

func newOpenAI(cfg Config, client *http.Client) *openAI {
	base := cfg.OpenAIBaseURL
	if base == "" {
		base = OpenAIURL
	}
	// The service, and not openai.NewClient, which would read OPENAI_* from the environment behind our back.
	opts := []option.RequestOption{
		option.WithBaseURL(base), option.WithHTTPClient(client), option.WithMaxRetries(0), option.WithMiddleware(exchange),
	}
	if cfg.OpenAIKey != "" {
		opts = append(opts, option.WithAPIKey(cfg.OpenAIKey))
	}
	o := &openAI{
		provider:    newProvider("openai", "OPENAI", cfg.OpenAIKey, base),
		completions: openai.NewChatCompletionService(opts...),
	}
	o.maxCompletionTokens.Store(ownedByOpenAI(base))
	return o
}

// ownedByOpenAI decides between max_tokens and max_completion_tokens. OpenAI's newer models refuse the first, all
// its models take the second, and compatible servers mostly know the first only.
func ownedByOpenAI(base string) bool {
	u, err := url.Parse(base)
	if err != nil {
		return false
	}
	host := u.Hostname()
	return host == "api.openai.com" || strings.HasSuffix(host, ".api.openai.com") || strings.HasSuffix(host, ".openai.azure.com")
}

// Stream makes one call. A server that refuses a parameter that it does not know is asked again without it, at most
// twice in the life of the process: nothing was answered yet, so that is no retry.
func (o *openAI) Stream(ctx context.Context, req chat.Request, emit func(chat.Delta)) (chat.Answer, error) {
	for {
		params := o.params(req)
		out, err := o.call(ctx, req, params, emit)
		if err == nil {
			return out, nil
		}
		if ctx.Err() != nil || !o.learn(err, params) {
			return chat.Answer{}, o.fail(ctx, err)
		}
	}
}

// learn reports whether the refusal taught something about the server that makes the next request another one.
func (o *openAI) learn(err error, sent openai.ChatCompletionNewParams) bool {
	var f *failure
	if !errors.As(err, &f) || f.status != http.StatusBadRequest && f.status != http.StatusUnprocessableEntity {
		return false
	}
	switch {
	case sent.StreamOptions.IncludeUsage.Valid() && f.says("stream_options", "include_usage"):
		o.noStreamOptions.Store(true)
	case sent.MaxTokens.Valid() && f.says("max_completion_tokens"):
		o.maxCompletionTokens.Store(true)
	default:
		return false
	}
	return true
}

func (o *openAI) call(ctx context.Context, req chat.Request, params openai.ChatCompletionNewParams, emit func(chat.Delta)) (chat.Answer, error) {
	stream := o.completions.NewStreaming(ctx, params, option.WithHeader(chat.CallHeader, req.Call.String()))
	defer stream.Close()
	a := answer{emit: emit, req: &req}
	for ctx.Err() == nil && stream.Next() {
		chunk := stream.Current()
		if err := a.takeChunk(&chunk); err != nil {
			return chat.Answer{}, o.badResponse(err.Error())
		}
	}
	switch err := openAIError(stream.Err()); {
	case ctx.Err() != nil:
		return chat.Answer{}, context.Cause(ctx)
	case a.finish != "":
		// The answer is whole: what failed behind it can only have cost its usage.
		return a.result(), nil
	case err != nil:
		return chat.Answer{}, err
	case a.events == 0:
		return chat.Answer{}, o.badResponse("the answer is not a stream of events")
	default:
		return chat.Answer{}, o.truncated()
	}
}

// openAIError is the one place that knows the SDK's errors: those with a status never get here (exchange).
func openAIError(err error) error {
	var e *ssestream.StreamError
	if errors.As(err, &e) {
		return newFailure(0, nil, e.Event.Data)
	}
	return err
}

func (a *answer) takeChunk(chunk *openai.ChatCompletionChunk) error {
	a.events++
	if chunk.JSON.Usage.Valid() {
		a.usage = chat.Usage{InputTokens: chunk.Usage.PromptTokens, OutputTokens: chunk.Usage.CompletionTokens}
	}
	for i := range chunk.Choices {
		if choice := &chunk.Choices[i]; choice.Index == 0 {
			if err := a.takeChoice(choice); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *answer) takeChoice(choice *openai.ChatCompletionChunkChoice) error {
	delta := &choice.Delta
	if len(delta.JSON.ExtraFields) > 0 {
		a.say(chat.ReasoningDelta, reasoning(delta))
	}
	a.say(chat.TextDelta, delta.Content)
	a.say(chat.TextDelta, delta.Refusal)
	for i := range delta.ToolCalls {
		piece := &delta.ToolCalls[i]
		call, err := a.call(piece.Index, piece.ID)
		if err != nil {
			return err
		}
		if call.name == "" {
			call.name = piece.Function.Name
		}
		if err := a.write(call, piece.Function.Arguments); err != nil {
			return err
		}
	}
	switch choice.FinishReason {
	case "":
	case "length", "max_tokens":
		a.finish = chat.Length
	default:
		a.finish = chat.Stop
	}
	return nil
}

// reasoning reads the fields that compatible servers invented for it: reasoning_content of DeepSeek, vLLM and llama.cpp,
// reasoning of OpenRouter and Ollama. Who sends both sends the same twice.
func reasoning(delta *openai.ChatCompletionChunkChoiceDelta) string {
	for _, name := range [...]string{"reasoning_content", "reasoning"} {
		field, ok := delta.JSON.ExtraFields[name]
		if !ok {
			continue
		}
		var text string
		if json.Unmarshal([]byte(field.Raw()), &text) == nil && text != "" {
			return text
		}
	}
	return ""
}
