package llm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"processor/internal/chat"
)

// openAI speaks chat completions, which is what compatible servers speak too; the newer Responses API is OpenAI's alone.
type openAI struct {
	provider
	wire http.RoundTripper
	// form is the request of all calls, without what differs.
	form *http.Request

	// What the server was found not to understand. Both only ever become true, and save every later call a refusal.
	noStreamOptions     atomic.Bool
	maxCompletionTokens atomic.Bool
}

var _ chat.Model = (*openAI)(nil)

// newOpenAI takes the transport and not the client: redirects are not followed anyway, and there is nothing else that the client would do but
// copy the headers of each call in case that there is one.
func newOpenAI(cfg Config, wire http.RoundTripper) *openAI {
	base := cfg.OpenAIBaseURL
	if base == "" {
		base = OpenAIURL
	}
	o := &openAI{provider: newProvider("openai", "OPENAI", cfg.OpenAIKey, base), wire: wire, form: openAIForm(base, cfg.OpenAIKey)}
	o.maxCompletionTokens.Store(ownedByOpenAI(base))
	return o
}

// openAIForm takes a name and a password from the URL where there is no key.
func openAIForm(base, key string) *http.Request {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, strings.TrimRight(base, "/")+"/chat/completions", nil)
	if err != nil {
		// Config.Validate would have refused it. As it is, every call fails.
		return &http.Request{URL: &url.URL{}, Header: http.Header{}}
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "text/event-stream")
	if user := r.URL.User; key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	} else if user != nil {
		password, _ := user.Password()
		r.SetBasicAuth(user.Username(), password)
	}
	return r
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
	raw, err := body.encode()
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	r := o.form.WithContext(ctx)
	r.Header = make(http.Header, len(o.form.Header)+1)
	maps.Copy(r.Header, o.form.Header)
	r.Header[chat.CallHeader] = []string{req.Call.String()}
	r.ContentLength = int64(len(raw))
	// A connection that the server closed while it was idle may be found out by the first write only; net/http then takes another, and the body again.
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil }
	r.Body, _ = r.GetBody()
	return exchange(r, o.wire.RoundTrip)
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
