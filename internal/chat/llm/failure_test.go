package llm_test

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"processor/internal/chat"
	"processor/internal/chat/llm"
	"processor/internal/chat/llm/llmtest"
)

func TestFailuresAreClassified(t *testing.T) {
	t.Parallel()
	half := llmtest.Text("half an ", "answer")
	for name, c := range map[string]struct {
		script []llmtest.Step
		code   string
		retry  bool
	}{
		"rate limit":        {[]llmtest.Step{llmtest.RateLimited()}, chat.CodeRateLimited, true},
		"no quota":          {[]llmtest.Step{llmtest.NoQuota()}, chat.CodeQuota, false},
		"payment required":  {refuse(402, "pay first"), chat.CodeQuota, false},
		"overloaded":        {[]llmtest.Step{llmtest.Overloaded()}, chat.CodeUnavailable, true},
		"internal error":    {refuse(500, "boom"), chat.CodeUnavailable, true},
		"time-out":          {refuse(408, "too slow"), chat.CodeUnavailable, true},
		"conflict":          {refuse(409, "again"), chat.CodeUnavailable, true},
		"wrong key":         {[]llmtest.Step{llmtest.WrongKey()}, chat.CodeAuth, false},
		"forbidden":         {refuse(403, "not you"), chat.CodeAuth, false},
		"unknown model":     {[]llmtest.Step{llmtest.NoSuchModel()}, chat.CodeUnknownModel, false},
		"too long":          {[]llmtest.Step{llmtest.TooLong()}, chat.CodeContextOverflow, false},
		"too large":         {refuse(413, "request too large"), chat.CodeContextOverflow, false},
		"bad request":       {refuse(400, "temperature is out of range"), chat.CodeBadRequest, false},
		"unprocessable":     {refuse(422, "no"), chat.CodeBadRequest, false},
		"redirect":          {[]llmtest.Step{llmtest.Header("Location", "http://192.0.2.1/"), llmtest.Respond(307, "text/html", "")}, chat.CodeBadRequest, false},
		"page of a proxy":   {[]llmtest.Step{llmtest.Respond(502, "text/html", "<html>Bad Gateway</html>")}, chat.CodeUnavailable, true},
		"page for a stream": {[]llmtest.Step{llmtest.Respond(200, "text/html", "<html>Log in</html>")}, chat.CodeBadResponse, true},
		"an error for a stream": {
			[]llmtest.Step{llmtest.Respond(200, "application/json", `{"error":{"type":"authentication_error","message":"who are you?"}}`)}, chat.CodeAuth, false,
		},
		"an error for a stream that may pass": {[]llmtest.Step{llmtest.Respond(200, "application/json; charset=utf-8", `{"error":"busy"}`)}, chat.CodeUnavailable, true},
		"an error with its status inside": {
			[]llmtest.Step{llmtest.Respond(200, "application/json", `{"error":{"code":429,"message":"slow down"}}`)}, chat.CodeRateLimited, true,
		},
		"a whole answer for a stream": {[]llmtest.Step{llmtest.Respond(200, "application/json", `{"id":"x","choices":[{"message":{"content":"hi"}}]}`)}, chat.CodeBadResponse, true},
		"nothing at all":              {[]llmtest.Step{llmtest.Respond(200, "text/event-stream", "")}, chat.CodeBadResponse, true},
		"garbage at once":             {[]llmtest.Step{llmtest.Garbage()}, chat.CodeBadResponse, true},
		"garbage later":               {[]llmtest.Step{half, llmtest.Garbage()}, chat.CodeBadResponse, true},
		"reset":                       {[]llmtest.Step{half, llmtest.Reset()}, chat.CodeConnection, true},
		"reset at once":               {[]llmtest.Step{llmtest.Reset()}, chat.CodeConnection, true},
		"truncated":                   {[]llmtest.Step{half, llmtest.Truncate()}, chat.CodeConnection, true},
		"error in mid-stream": {
			[]llmtest.Step{half, llmtest.Fail(llmtest.Error{Type: "overloaded_error", Message: "Overloaded"})}, chat.CodeUnavailable, true,
		},
		"rate limit in mid-stream": {
			[]llmtest.Step{half, llmtest.Fail(llmtest.Error{Type: "rate_limit_error", Message: "slow down"})}, chat.CodeRateLimited, true,
		},
		"bad request in mid-stream": {
			[]llmtest.Step{half, llmtest.Fail(llmtest.Error{Type: "invalid_request_error", Message: "no"})}, chat.CodeBadRequest, false,
		},
		"a huge line": {
			[]llmtest.Step{half, llmtest.Raw("data: " + strings.Repeat("x", 2<<20))}, chat.CodeBadResponse, true,
		},
		"a huge event": {
			[]llmtest.Step{half, llmtest.Raw(strings.Repeat("data: "+strings.Repeat("x", 1000)+"\n:\n", 2000))}, chat.CodeBadResponse, true,
		},
		"a huge tool call": {
			[]llmtest.Step{llmtest.Tool("a", "b", pieces(300)...)}, chat.CodeBadResponse, true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bothWires(t, func(t *testing.T, b bundle) {
				b.says(c.script...)
				_, h, err := b.stream(t, ask("x"))
				e := modelError(t, err)
				if e.Code != c.code || e.Retry != c.retry {
					t.Errorf("got %+v, want code %s and retry %v", e, c.code, c.retry)
				}
				if text := h.text(chat.TextDelta); text != "" && text != "half an answer" {
					t.Errorf("said %q", text)
				}
			})
		})
	}
}

func refuse(status int, message string) []llmtest.Step {
	return []llmtest.Step{llmtest.Refuse(llmtest.Error{Status: status, Message: message})}
}

// pieces are that many KiB of a JSON string.
func pieces(kib int) []string {
	all := []string{`{"a":"`}
	for range kib {
		all = append(all, strings.Repeat("x", 1024))
	}
	return append(all, `"}`)
}

func TestTheWaitThatTheProviderAsksForIsKnown(t *testing.T) {
	t.Parallel()
	date := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, c := range map[string]struct {
		headers []string
		want    time.Duration
	}{
		"seconds":      {[]string{"Retry-After", "7"}, 7 * time.Second},
		"fraction":     {[]string{"Retry-After", "0.5"}, 500 * time.Millisecond},
		"milliseconds": {[]string{"Retry-After", "9", "Retry-After-Ms", "1500"}, 1500 * time.Millisecond},
		"date":         {[]string{"Date", date.Format(http.TimeFormat), "Retry-After", date.Add(90 * time.Second).Format(http.TimeFormat)}, 90 * time.Second},
		"past date":    {[]string{"Date", date.Format(http.TimeFormat), "Retry-After", date.Add(-time.Hour).Format(http.TimeFormat)}, 0},
		"negative":     {[]string{"Retry-After", "-5"}, 0},
		"absurd":       {[]string{"Retry-After", "1e300"}, time.Hour},
		"not a number": {[]string{"Retry-After", "NaN"}, 0},
		"nonsense":     {[]string{"Retry-After", "soon"}, 0},
		"none":         {nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bothWires(t, func(t *testing.T, b bundle) {
				var script []llmtest.Step
				for i := 0; i < len(c.headers); i += 2 {
					script = append(script, llmtest.Header(c.headers[i], c.headers[i+1]))
				}
				b.says(append(script, llmtest.RateLimited())...)
				_, _, err := b.stream(t, ask("x"))
				equal(t, "after", c.want, modelError(t, err).After)
			})
		})
	}
}

func TestAKeyIsNeverInAnError(t *testing.T) {
	t.Parallel()
	bothWires(t, func(t *testing.T, b bundle) {
		for _, script := range [][]llmtest.Step{
			{llmtest.WrongKey()},
			refuse(500, "cannot use "+secret),
			refuse(400, strings.Repeat("x", 290)+secret),
			{llmtest.Respond(401, "text/plain", "key "+secret+" is bad")},
			{llmtest.Text("a"), llmtest.Fail(llmtest.Error{Type: secret, Message: "key " + secret})},
			{llmtest.Raw("event: error\ndata: {\"error\":\"" + secret + "\"}\n\n")},
		} {
			b.says(script...)
			_, _, err := b.stream(t, ask("x"))
			if e := modelError(t, err); strings.Contains(e.Error(), secret[:12]) {
				t.Errorf("the key is in %q", e.Error())
			}
		}
	})
}

func TestWhatAProviderSaysIsBoundedAndClean(t *testing.T) {
	t.Parallel()
	bothWires(t, func(t *testing.T, b bundle) {
		b.says(refuse(400, "a\x00b\n\n"+strings.Repeat("ü", 10_000))...)
		_, _, err := b.stream(t, ask("x"))
		message := modelError(t, err).Message
		if len(message) > 400 || strings.ContainsAny(message, "\x00\n") || !strings.Contains(message, "a\uFFFDb") {
			t.Errorf("message of %d bytes: %q", len(message), message)
		}
	})
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	b := setup(t, llmtest.OpenAI)
	for want, step := range map[string]llmtest.Step{
		"openai answered 401: Incorrect API key provided: [key]; check OPENAI_API_KEY": llmtest.WrongKey(),
		"openai answered 404: The model `test-model` does not exist or you do not have access to it; " +
			"check the name of the model and OPENAI_BASE_URL": llmtest.NoSuchModel(),
		"openai answered 502: Bad Gateway": llmtest.Respond(502, "text/html", "<html></html>"),
		"openai sent what cannot be read: the answer is text/html and not a stream of events; check OPENAI_BASE_URL": llmtest.Respond(200, "text/html; charset=utf-8", "<html>Welcome</html>"),
		"openai answered with an error: the account is closed; check OPENAI_API_KEY":                                 llmtest.Respond(200, "application/json", `{"error":{"code":"invalid_api_key","message":"the account is closed"}}`),
	} {
		b.says(step)
		_, _, err := b.stream(t, ask("x"))
		equal(t, "message", want, modelError(t, err).Message)
	}
}

func TestANobodyThereIsAConnectionError(t *testing.T) {
	t.Parallel()
	// Port 1 of this machine has no listener; the password must not be told.
	cfg := llm.Config{OpenAIBaseURL: "http://me:hunter22hunter22@127.0.0.1:1/v1", AnthropicKey: secret, AnthropicBaseURL: "http://127.0.0.1:1"}
	models := llm.New(cfg, slog.New(slog.DiscardHandler))
	t.Cleanup(models.Close)
	for _, name := range []string{"openai/m", "anthropic/m"} {
		model, _, err := models.Resolve(name)
		if err != nil {
			t.Fatal(err)
		}
		_, err = model.Stream(limit(t), ask("x"), func(chat.Delta) {})
		e := modelError(t, err)
		if e.Code != chat.CodeConnection || !e.Retry || strings.Contains(e.Message, "hunter") || !strings.Contains(e.Message, "refused") {
			t.Errorf("got %+v", e)
		}
	}
}

func TestAServerThatRefusesAParameterIsAskedWithoutIt(t *testing.T) {
	t.Parallel()
	b := setup(t, llmtest.OpenAI)
	b.provider.Answer = func(c llmtest.Call) []llmtest.Step {
		switch body := string(c.Body); {
		case strings.Contains(body, "stream_options"):
			return refuse(400, "Unrecognized request argument supplied: stream_options")
		case strings.Contains(body, `"max_tokens"`):
			return refuse(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
		}
		return []llmtest.Step{llmtest.Text("fine")}
	}
	req := ask("x")
	req.MaxTokens = 10
	for range 2 {
		if _, _, err := b.stream(t, req); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "requests", 4, b.provider.Count())
}
