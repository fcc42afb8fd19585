package responses

import (
	"encoding/json"
	"time"

	"processor/internal/chat"
)

// object is a response as clients see it.
type object struct {
	ID                 string            `json:"id"`
	Object             string            `json:"object"`
	CreatedAt          int64             `json:"created_at"`
	CompletedAt        *int64            `json:"completed_at"`
	Status             string            `json:"status"`
	Background         bool              `json:"background"`
	Error              *cause            `json:"error"`
	IncompleteDetails  *details          `json:"incomplete_details"`
	Instructions       *string           `json:"instructions"`
	MaxOutputTokens    *int              `json:"max_output_tokens"`
	MaxToolCalls       *int              `json:"max_tool_calls"`
	Model              string            `json:"model"`
	Output             []item            `json:"output"`
	ParallelToolCalls  bool              `json:"parallel_tool_calls"`
	PreviousResponseID *string           `json:"previous_response_id"`
	Conversation       *named            `json:"conversation"`
	Reasoning          reasoning         `json:"reasoning"`
	SafetyIdentifier   *string           `json:"safety_identifier"`
	PromptCacheKey     *string           `json:"prompt_cache_key"`
	ServiceTier        string            `json:"service_tier"`
	Store              bool              `json:"store"`
	Temperature        *float64          `json:"temperature"`
	Text               text              `json:"text"`
	ToolChoice         string            `json:"tool_choice"`
	Tools              []any             `json:"tools"`
	TopLogprobs        int               `json:"top_logprobs"`
	TopP               *float64          `json:"top_p"`
	Truncation         string            `json:"truncation"`
	Usage              *usage            `json:"usage"`
	User               *string           `json:"user"`
	Metadata           map[string]string `json:"metadata"`
}

type (
	cause struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	details struct {
		Reason string `json:"reason"`
	}
	named struct {
		ID string `json:"id"`
	}
	reasoning struct {
		Effort  *string `json:"effort"`
		Summary *string `json:"summary"`
	}
	text struct {
		Format struct {
			Type string `json:"type"`
		} `json:"format"`
	}
	usage struct {
		InputTokens        int64 `json:"input_tokens"`
		InputTokensDetails struct {
			CachedTokens int64 `json:"cached_tokens"`
		} `json:"input_tokens_details"`
		OutputTokens        int64 `json:"output_tokens"`
		OutputTokensDetails struct {
			ReasoningTokens int64 `json:"reasoning_tokens"`
		} `json:"output_tokens_details"`
		TotalTokens int64 `json:"total_tokens"`
	}
)

// state is what a replica knows of a response: the chat's row and the turn's committed messages, the user's first.
type state struct {
	ref

	// model answers when the request named none.
	model    string
	messages []chat.Message
}

// asked is what the request said besides its input.
func (s state) asked() (p chat.Params, n note) {
	if raw := s.messages[0].Params; len(raw) > 0 { // a turn that came by another API may have none, and what can't be read is not ours
		_ = json.Unmarshal(raw, &p)
		_ = json.Unmarshal(p.Client, &n)
	}
	return p, n
}

// opening is the object as it was accepted: it says the same at any time later.
func (s state) opening(status string) object {
	said := s.messages[0]
	p, n := s.asked()
	o := object{
		ID: s.String(), Object: "response", CreatedAt: said.CreatedAt.Unix(), Status: status, Background: n.Background, Model: n.Model,
		Output: []item{}, ParallelToolCalls: true, ServiceTier: "default", Store: !n.Unstored, Temperature: p.Temperature, TopP: p.TopP,
		ToolChoice: "auto", Tools: []any{}, Truncation: "auto", Metadata: n.Metadata,
		Instructions: optional(p.Instructions), PreviousResponseID: optional(n.Previous), MaxOutputTokens: optional(p.MaxTokens),
		User: optional(n.Labels["user"]), SafetyIdentifier: optional(n.Labels["safety_identifier"]), PromptCacheKey: optional(n.Labels["prompt_cache_key"]),
	}
	o.Text.Format.Type = "text"
	if n.Conversation {
		o.Conversation = &named{conversationID(s.chat)}
	}
	if o.Metadata == nil {
		o.Metadata = map[string]string{}
	}
	for _, model := range []string{said.Model, s.model} {
		if o.Model == "" {
			o.Model = model
		}
	}
	return o
}

func optional[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// object is the response now. status is what it is unless its turn is over.
func (s state) object(status string) object {
	o := s.opening(status)
	o.Output, o.Usage = s.outputOf(s.messages), s.usage()
	last := s.messages[len(s.messages)-1]
	if !last.Ends() {
		return o
	}
	o.CompletedAt = at(last.CreatedAt)
	switch last.Finish {
	case chat.Stop:
		o.Status = completed
	case chat.Length:
		o.Status, o.IncompleteDetails = incomplete, &details{"max_output_tokens"}
	case chat.Interrupted:
		o.Status = cancelled
	case chat.Failed:
		o.Status, o.Error = failed, causeOf(last.Error)
	}
	return o
}

func at(t time.Time) *int64 {
	seconds := t.Unix()
	return &seconds
}

func (s state) usage() *usage {
	var u usage
	found := false
	for _, m := range s.messages {
		if m.Usage != nil {
			found = true
			u.InputTokens += m.Usage.InputTokens
			u.OutputTokens += m.Usage.OutputTokens
		}
	}
	if !found {
		return nil
	}
	u.TotalTokens = u.InputTokens + u.OutputTokens
	return &u
}

// causeOf says why a turn failed, by the codes that OpenAI has.
func causeOf(e *chat.TurnError) *cause {
	if e == nil {
		return &cause{"server_error", "the turn failed"}
	}
	code := "server_error"
	switch e.Code {
	case chat.CodeRateLimited, chat.CodeQuota:
		code = "rate_limit_exceeded"
	case chat.CodeBadRequest, chat.CodeContextOverflow, chat.CodeUnknownModel:
		code = "invalid_prompt"
	}
	return &cause{code, e.Code + ": " + e.Message}
}

// statusOf is the status of a turn that is not over.
func statusOf(c chat.Chat, turn int) string {
	if c.Turn == turn && c.Status == chat.Pending && !c.Begun() {
		return queued
	}
	return inProgress
}
