package llm_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"processor/internal/chat"
	"processor/internal/chat/llm"
	"processor/internal/chat/llm/llmtest"
)

// TestTheRequestIsTheOneOnRecord compares what is sent with testdata/<wire>.json.
func TestTheRequestIsTheOneOnRecord(t *testing.T) {
	t.Parallel()
	bothWires(t, func(t *testing.T, b bundle) {
		if _, _, err := b.stream(t, everything()); err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join("testdata", string(b.wire)+".json"))
		if err != nil {
			t.Fatal(err)
		}
		got := b.provider.Calls()[0].Body
		if diff := cmp.Diff(decode(t, want), decode(t, got)); diff != "" {
			t.Errorf("request (-want +got):\n%s\nwhole: %s", diff, got)
		}
	})
}

// everything is a request with all that a history may hold.
func everything() chat.Request {
	half, limit := 0.5, 0.9
	text := func(s string) chat.Part { return chat.Part{Type: chat.TextPart, Text: s} }
	req := ask("")
	req.System = "be <brief>"
	req.MaxTokens = 1000
	req.Params = chat.Params{Temperature: &half, TopP: &limit, MaxTokens: 200}
	req.Tools = []chat.ToolSpec{
		{Name: "weather", Description: "tells it", Schema: json.RawMessage(`{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}`)},
		{Name: "clock"},
	}
	req.Messages = []chat.Message{
		{Role: chat.Assistant, Parts: []chat.Part{text("what came before was cut")}},
		userSays("first"),
		{Role: chat.Assistant, Finish: chat.Failed, Parts: []chat.Part{text("the provider was down")}},
		userSays("second"),
		{Role: chat.Assistant, Parts: []chat.Part{
			{Type: chat.ReasoningPart, Text: "hm"}, text("let me look"),
			{Type: chat.ToolCallPart, CallID: "functions.weather:0", Name: "weather", Input: json.RawMessage(`{"city":"Bonn"}`)},
			{Type: chat.ToolCallPart, CallID: "call_b", Name: "made up!", Input: json.RawMessage(`[1]`)},
		}},
		{Role: chat.Tool, Parts: []chat.Part{{Type: chat.ToolResultPart, CallID: "functions.weather:0", Text: "rain"}}},
		{Role: chat.Tool, Parts: []chat.Part{{Type: chat.ToolResultPart, CallID: "call_b", Failed: true}}},
		{Role: chat.Assistant, Finish: chat.Interrupted, Parts: []chat.Part{text("it is rai")}},
		userSays("third"),
		{Role: chat.Assistant, Finish: chat.Interrupted, Parts: []chat.Part{text("")}},
		{Role: chat.Assistant, Finish: chat.Interrupted},
		userSays(" \n"),
		userSays("fourth"),
	}
	return req
}

func decode(t *testing.T, data []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	return v
}

func TestALimitIsNotInventedWhereNoneIsNeeded(t *testing.T) {
	t.Parallel()
	bothWires(t, func(t *testing.T, b bundle) {
		if _, _, err := b.stream(t, ask("hi")); err != nil {
			t.Fatal(err)
		}
		body := decode(t, b.provider.Calls()[0].Body).(map[string]any)
		want := map[llmtest.Wire]any{llmtest.OpenAI: nil, llmtest.Anthropic: 4096.0}[b.wire]
		equal(t, "max_tokens", want, body["max_tokens"])
	})
}

func TestANameAndAPasswordInTheURLCountWhereThereIsNoKey(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]string{"": "Basic " + base64.StdEncoding.EncodeToString([]byte("me:hunter 22")), secret: secret} {
		p := llmtest.New(t)
		cfg := llm.Config{OpenAIKey: key, OpenAIBaseURL: strings.Replace(p.OpenAIURL(), "://", "://me:hunter%2022@", 1)}
		askOpenAI(t, cfg)
		equal(t, "authorization with the key "+key, want, p.Calls()[0].Key)
	}
}

// TestABodyCanBeSentAgain does what net/http does when the connection that it took was closed by the server in the meantime.
func TestABodyCanBeSentAgain(t *testing.T) {
	t.Parallel()
	p := llmtest.New(t)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	askOpenAI(t, llm.Config{OpenAIBaseURL: p.OpenAIURL(), Transport: secondTry{transport}})
	equal(t, "text", "hi", p.Calls()[0].Text)
}

type secondTry struct{ next http.RoundTripper }

func (s secondTry) RoundTrip(req *http.Request) (*http.Response, error) {
	if _, err := io.Copy(io.Discard, req.Body); err != nil {
		return nil, err
	}
	body, err := req.GetBody()
	if err != nil {
		return nil, err
	}
	again := req.Clone(req.Context())
	again.Body = body
	return s.next.RoundTrip(again)
}

func askOpenAI(t *testing.T, cfg llm.Config) {
	t.Helper()
	models := llm.New(cfg, slog.New(slog.DiscardHandler))
	t.Cleanup(models.Close)
	model, _, err := models.Resolve("openai/test-model")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := model.Stream(limit(t), ask("hi"), func(chat.Delta) {}); err != nil {
		t.Fatal(err)
	}
}
