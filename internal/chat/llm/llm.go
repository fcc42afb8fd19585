package llm

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/openai/openai-go/v3"

	"processor/internal/chat"
)

// The base URLs and models that are used when nothing else is said.
const (
	OpenAIURL    = "https://api.openai.com/v1"
	AnthropicURL = "https://api.anthropic.com"

	DefaultOpenAIModel    = openai.ChatModelGPT5_4Mini
	DefaultAnthropicModel = anthropic.ModelClaudeSonnet5_5
	demoModel             = "echo"
)

// Config says which providers there are. The zero value has the demonstration only.
type Config struct {
	// OpenAIKey may be empty when OpenAIBaseURL is set: servers at home want none.
	OpenAIKey     string
	OpenAIBaseURL string

	AnthropicKey     string
	AnthropicBaseURL string

	// DemoDelay is the pause before each word of demo/echo, 30 ms when zero.
	DemoDelay time.Duration
	// Transport carries the calls; nil makes one that is fit for thousands of streams to one host.
	Transport http.RoundTripper
}

// Validate checks the settings without calling anybody. Errors name the setting and never hold a key.
func (c Config) Validate() error {
	return errors.Join(
		validKey("OPENAI_API_KEY", c.OpenAIKey),
		validURL("OPENAI_BASE_URL", c.OpenAIBaseURL),
		validKey("ANTHROPIC_API_KEY", c.AnthropicKey),
		validURL("ANTHROPIC_BASE_URL", c.AnthropicBaseURL),
		validDelay(c.DemoDelay),
	)
}

// validKey refuses what cannot be a header's value; it is mostly a newline from a file.
func validKey(name, key string) error {
	if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%s holds white space or other characters that no key has", name)
	}
	return nil
}

func validURL(name, raw string) error {
	if raw == "" {
		return nil
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%s must be a URL such as http://localhost:11434/v1", name)
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("%s must not have a query or a fragment", name)
	}
	return nil
}

func validDelay(d time.Duration) error {
	if d < 0 {
		return fmt.Errorf("the demo's delay must not be negative, but is %v", d)
	}
	return nil
}

// Models finds the model that a chat names.
type Models struct {
	openAI    chat.Model
	anthropic chat.Model
	demo      chat.Model
	fallback  string
	client    *http.Client
}

// New makes the models of all providers that cfg, which must be valid, has settings for. It calls nobody.
func New(cfg Config, log *slog.Logger) *Models {
	m := &Models{client: newClient(cfg.Transport), demo: newDemo(cfg.DemoDelay, log), fallback: "demo/" + demoModel}
	if cfg.AnthropicKey != "" {
		m.anthropic = newAnthropic(cfg, m.client)
		m.fallback = "anthropic/" + DefaultAnthropicModel
	}
	if cfg.OpenAIKey != "" || cfg.OpenAIBaseURL != "" {
		m.openAI = newOpenAI(cfg, m.client.Transport)
		m.fallback = "openai/" + DefaultOpenAIModel
	}
	return m
}

// Default is the model of chats that name none: of OpenAI, else of Anthropic, when it is configured, else demo/echo.
func (m *Models) Default() string { return m.fallback }

// Resolve finds the model behind provider/model, and the provider's own name of it, which may contain slashes. The error
// is a final *chat.ModelError that says what to do.
func (m *Models) Resolve(name string) (chat.Model, string, error) {
	provider, model, _ := strings.Cut(name, "/")
	if model == "" {
		return nil, "", unknown("the model %q must be named as provider/model, such as %s", name, m.fallback)
	}
	switch provider {
	case "openai":
		return configured(m.openAI, model, "set OPENAI_API_KEY, or OPENAI_BASE_URL for a compatible server")
	case "anthropic":
		return configured(m.anthropic, model, "set ANTHROPIC_API_KEY")
	case "demo":
		if model != demoModel {
			return nil, "", unknown("the demo has one model, demo/%s, but not %q", demoModel, name)
		}
		return m.demo, model, nil
	default:
		return nil, "", unknown("no provider is called %q: name the model openai/…, anthropic/… or demo/%s", provider, demoModel)
	}
}

// Close drops the idle connections.
func (m *Models) Close() { m.client.CloseIdleConnections() }

func configured(model chat.Model, name, advice string) (chat.Model, string, error) {
	if model == nil {
		return nil, "", &chat.ModelError{Code: chat.CodeAuth, Message: "the provider of this model is not configured: " + advice}
	}
	return model, name, nil
}

func unknown(format string, args ...any) error {
	return &chat.ModelError{Code: chat.CodeUnknownModel, Message: chat.Clean(fmt.Sprintf(format, args...))}
}

// maxTokens is the limit of one answer, zero for none: the turn's own, but never above the operator's.
func maxTokens(req chat.Request) int {
	if req.Params.MaxTokens > 0 && (req.MaxTokens == 0 || req.Params.MaxTokens < req.MaxTokens) {
		return req.Params.MaxTokens
	}
	return req.MaxTokens
}
