package llm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"processor/internal/chat"
)

// openAI speaks chat completions, which is what compatible servers speak too; the newer Responses API is OpenAI's alone.
type openAI struct {
	provider
	client *http.Client
	url    string
	key    string

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
	o := &openAI{
		provider: newProvider("openai", "OPENAI", cfg.OpenAIKey, base),
		client:   client, url: strings.TrimRight(base, "/") + "/chat/completions", key: cfg.OpenAIKey,
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
		sent := o.request(req)
		out, err := o.call(ctx, req, sent, emit)
		if err == nil {
			return out, nil
		}
		if ctx.Err() != nil || !o.learn(err, sent) {
			return chat.Answer{}, o.fail(ctx, err)
		}
	}
}

// learn reports whether the refusal taught something about the server that makes the next request another one.
func (o *openAI) learn(err error, sent openAIRequest) bool {
	var f *failure
	if !errors.As(err, &f) || f.status != http.StatusBadRequest && f.status != http.StatusUnprocessableEntity {
		return false
	}
	switch {
	case sent.StreamOptions != nil && f.says("stream_options", "include_usage"):
		o.noStreamOptions.Store(true)
	case sent.MaxTokens > 0 && f.says("max_completion_tokens"):
		o.maxCompletionTokens.Store(true)
	default:
		return false
	}
	return true
}

// post sends the request. What is no stream comes back as a *failure.
func (o *openAI) post(ctx context.Context, req chat.Request, body openAIRequest) (*http.Response, error) {
	raw, err := chat.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, o.url, bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "text/event-stream")
	r.Header.Set(chat.CallHeader, req.Call.String())
	if o.key != "" {
		r.Header.Set("Authorization", "Bearer "+o.key)
	}
	return exchange(r, o.client.Do)
}

// call makes the request and reads the stream (openai_chunk.go).
func (o *openAI) call(ctx context.Context, req chat.Request, body openAIRequest, emit func(chat.Delta)) (chat.Answer, error) {
	res, err := o.post(ctx, req, body)
	if err != nil {
		return chat.Answer{}, err
	}
	defer res.Body.Close()
	stream := newEvents(res.Body)
	a := answer{emit: emit, req: &req}
	err = a.takeChunks(ctx, stream)
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
