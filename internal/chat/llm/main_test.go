package llm_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"processor/internal/chat"
	"processor/internal/chat/llm"
	"processor/internal/chat/llm/llmtest"
	"processor/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const secret = "sk-test-0123456789abcdef"

// bundle is a provider and the model that calls it over HTTP.
type bundle struct {
	provider *llmtest.Provider
	model    chat.Model
	wire     llmtest.Wire
}

func setup(t *testing.T, wire llmtest.Wire) bundle {
	t.Helper()
	p := llmtest.New(t)
	p.Key = secret
	models := llm.New(config(p), slog.New(slog.DiscardHandler))
	t.Cleanup(models.Close)
	model, _, err := models.Resolve(string(wire) + "/test-model")
	if err != nil {
		t.Fatal(err)
	}
	return bundle{p, model, wire}
}

func config(p *llmtest.Provider) llm.Config {
	return llm.Config{
		OpenAIKey: secret, OpenAIBaseURL: p.OpenAIURL(),
		AnthropicKey: secret, AnthropicBaseURL: p.AnthropicURL(),
	}
}

// bothWires runs a test against both formats.
func bothWires(t *testing.T, test func(*testing.T, bundle)) {
	t.Helper()
	for _, wire := range []llmtest.Wire{llmtest.OpenAI, llmtest.Anthropic} {
		t.Run(string(wire), func(t *testing.T) {
			t.Parallel()
			test(t, setup(t, wire))
		})
	}
}

// says makes the provider answer every call with the script.
func (b bundle) says(script ...llmtest.Step) {
	b.provider.Answer = func(llmtest.Call) []llmtest.Step { return script }
}

// heard is what came through emit.
type heard struct {
	deltas []chat.Delta
	first  context.CancelFunc
}

func (h *heard) emit(d chat.Delta) {
	h.deltas = append(h.deltas, d)
	if h.first != nil {
		h.first()
	}
}

func (h *heard) text(kind chat.DeltaKind) string {
	var b strings.Builder
	for _, d := range h.deltas {
		if d.Kind == kind {
			b.WriteString(d.Text)
		}
	}
	return b.String()
}

func ask(text string) chat.Request {
	return chat.Request{
		Model:    "test-model",
		Messages: []chat.Message{userSays(text)},
		Call:     chat.Call{Chat: "c1", Turn: 2, Step: 3, Epoch: 4, Attempt: 5},
	}
}

func userSays(text string) chat.Message {
	return chat.Message{Role: chat.User, Parts: []chat.Part{{Type: chat.TextPart, Text: text}}}
}

func (b bundle) stream(t *testing.T, req chat.Request) (chat.Answer, *heard, error) {
	t.Helper()
	h := &heard{}
	answer, err := b.model.Stream(limit(t), req, h.emit)
	return answer, h, err
}

// limit is a context that ends a test that hangs.
func limit(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func modelError(t *testing.T, err error) *chat.ModelError {
	t.Helper()
	var e *chat.ModelError
	if !errors.As(err, &e) {
		t.Fatalf("error %v is not a model error", err)
	}
	return e
}

func equal(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
