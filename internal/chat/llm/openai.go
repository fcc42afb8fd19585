package llm

import (
	"context"
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
	client openai.Client

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
	// Not openai.NewClient, which would read OPENAI_* from the environment behind our back.
	opts := []option.RequestOption{
		option.WithBaseURL(base), option.WithHTTPClient(client), option.WithMaxRetries(0), option.WithMiddleware(exchange),
	}
	if cfg.OpenAIKey != "" {
		opts = append(opts, option.WithAPIKey(cfg.OpenAIKey))
	}
	o := &openAI{
		provider: newProvider("openai", "OPENAI", cfg.OpenAIKey, base),
		client:   openai.Client{Options: opts},
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

// call makes the request with the SDK and reads the stream itself (openai_chunk.go).
func (o *openAI) call(ctx context.Context, req chat.Request, params openai.ChatCompletionNewParams, emit func(chat.Delta)) (chat.Answer, error) {
	var res *http.Response
	err := o.client.Post(ctx, "chat/completions", params, &res, option.WithJSONSet("stream", true),
		option.WithHeader("Accept", "text/event-stream"), option.WithHeader(chat.CallHeader, req.Call.String()))
	if err != nil {
		return chat.Answer{}, err
	}
	events := ssestream.NewDecoder(res)
	defer events.Close()
	a := answer{emit: emit, req: &req}
	err = a.takeChunks(ctx, events)
	switch {
	case ctx.Err() != nil:
		return chat.Answer{}, context.Cause(ctx)
	case a.finish != "":
		// The answer is whole: what failed behind it can only have cost its usage.
		return a.result(), nil
	case errors.Is(err, errBadChunk):
		return chat.Answer{}, o.badResponse(err.Error())
	case err != nil:
		return chat.Answer{}, err
	case a.events == 0:
		return chat.Answer{}, o.badResponse("the answer is not a stream of events")
	default:
		return chat.Answer{}, o.truncated()
	}
}
