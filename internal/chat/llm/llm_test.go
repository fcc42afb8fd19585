package llm_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"processor/internal/chat"
	"processor/internal/chat/llm"
)

func TestTheDefaultModelIsTheBestThatIsConfigured(t *testing.T) {
	t.Parallel()
	for want, cfg := range map[string]llm.Config{
		"demo/echo":                              {},
		"openai/" + llm.DefaultOpenAIModel:       {OpenAIKey: "k", AnthropicKey: "k"},
		"anthropic/" + llm.DefaultAnthropicModel: {AnthropicKey: "k"},
	} {
		models := llm.New(cfg, slog.New(slog.DiscardHandler))
		equal(t, "default", want, models.Default())
		if _, _, err := models.Resolve(models.Default()); err != nil {
			t.Error(err)
		}
	}
	local := llm.New(llm.Config{OpenAIBaseURL: "http://localhost:11434/v1"}, slog.New(slog.DiscardHandler))
	equal(t, "default", "openai/"+llm.DefaultOpenAIModel, local.Default())
}

func TestAModelThatCannotBeUsedIsRefusedForGood(t *testing.T) {
	t.Parallel()
	models := llm.New(llm.Config{}, slog.New(slog.DiscardHandler))
	for name, want := range map[string]string{
		"openai/gpt":  "auth: the provider of this model is not configured: set OPENAI_API_KEY, or OPENAI_BASE_URL for a compatible server",
		"anthropic/x": "auth: the provider of this model is not configured: set ANTHROPIC_API_KEY",
		"other/x":     `unknown_model: no provider is called "other": name the model openai/…, anthropic/… or demo/echo`,
		"demo/loud":   `unknown_model: the demo has one model, demo/echo, but not "demo/loud"`,
		"gpt":         `unknown_model: the model "gpt" must be named as provider/model, such as demo/echo`,
		"openai/":     `unknown_model: the model "openai/" must be named as provider/model, such as demo/echo`,
		"":            `unknown_model: the model "" must be named as provider/model, such as demo/echo`,
	} {
		_, _, err := models.Resolve(name)
		e := modelError(t, err)
		equal(t, name, want, e.Error())
		equal(t, name+" retry", false, e.Retry)
	}
}

func TestTheNameOfAModelMayHoldSlashes(t *testing.T) {
	t.Parallel()
	models := llm.New(llm.Config{OpenAIKey: "k"}, slog.New(slog.DiscardHandler))
	_, name, err := models.Resolve("openai/meta-llama/llama-3")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "name", "meta-llama/llama-3", name)
}

func TestSettingsThatCannotWorkAreNamedWithoutTheKey(t *testing.T) {
	t.Parallel()
	for want, cfg := range map[string]llm.Config{
		"OPENAI_API_KEY":     {OpenAIKey: secret + "\n"},
		"ANTHROPIC_API_KEY":  {AnthropicKey: "ü" + secret},
		"OPENAI_BASE_URL":    {OpenAIBaseURL: "localhost:11434"},
		"ANTHROPIC_BASE_URL": {AnthropicBaseURL: "https://example.com/?key=" + secret},
		"demo's delay":       {DemoDelay: -1},
	} {
		err := cfg.Validate()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%+v: error is %v", want, err)
		}
	}
	good := llm.Config{OpenAIKey: secret, OpenAIBaseURL: "http://localhost:11434/v1", DemoDelay: time.Second}
	if err := errors.Join(good.Validate(), llm.Config{}.Validate()); err != nil {
		t.Error(err)
	}
}

func TestTheDemoSaysTheTextBackAtItsPace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		model := demo(t, slog.New(slog.DiscardHandler))
		h := &heard{}
		begin := time.Now()
		answer, err := model.Stream(t.Context(), ask("  one two\n\nthree "), h.emit)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "text", "  one two\n\nthree ", h.text(chat.TextDelta))
		equal(t, "answer", chat.Answer{Finish: chat.Stop, Usage: &chat.Usage{InputTokens: 3, OutputTokens: 4}}, answer)
		equal(t, "time", 4*30*time.Millisecond, time.Since(begin))
	})
}

func TestTheDemoStopsWithTheCause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		model := demo(t, slog.New(slog.DiscardHandler))
		cause := errors.New("shutdown")
		ctx, cancel := context.WithCancelCause(t.Context())
		h := &heard{first: func() { cancel(cause) }}
		if _, err := model.Stream(ctx, ask("one two three"), h.emit); !errors.Is(err, cause) {
			t.Errorf("error is %v, want the cause", err)
		}
		equal(t, "text", "one", h.text(chat.TextDelta))
	})
}

func TestTheDemoKeepsTheLimitOfTokens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		req := ask("one two three")
		req.MaxTokens, req.Params.MaxTokens = 2, 5
		h := &heard{}
		answer, err := demo(t, slog.New(slog.DiscardHandler)).Stream(t.Context(), req, h.emit)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "finish", chat.Length, answer.Finish)
		equal(t, "text", "one two", h.text(chat.TextDelta))
	})
}

func TestTheDemoSaysOnceThatItIsOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		model := demo(t, slog.New(slog.NewTextHandler(&out, nil)))
		for range 3 {
			if _, err := model.Stream(t.Context(), ask("x"), func(chat.Delta) {}); err != nil {
				t.Fatal(err)
			}
		}
		equal(t, "lines", 1, strings.Count(out.String(), "demonstration"))
	})
}

func demo(t *testing.T, log *slog.Logger) chat.Model {
	t.Helper()
	model, _, err := llm.New(llm.Config{}, log).Resolve("demo/echo")
	if err != nil {
		t.Fatal(err)
	}
	return model
}
