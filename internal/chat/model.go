package chat

import (
	"context"
	"encoding/json"
	"strconv"
	"time"
)

// Model is one provider of answers.
type Model interface {
	// Stream makes one call and hands every piece of the answer to emit, in order and from the calling goroutine.
	// It makes no retries of its own: a failure is a *ModelError, and a cancelled ctx returns context.Cause(ctx).
	Stream(ctx context.Context, req Request, emit func(Delta)) (Answer, error)
}

// Request is everything a provider needs for one call.
type Request struct {
	// Model is the provider's own name of it, without our prefix.
	Model    string
	System   string
	Messages []Message
	// Params are the turn's own settings, as the caller stored them with its user message. Zero means the provider's default.
	Params    Params
	MaxTokens int
	Tools     []ToolSpec
	Call      Call
}

// Params are settings of one turn.
type Params struct {
	Temperature *float64 `json:"temperature,omitempty"`
	TopP        *float64 `json:"top_p,omitempty"`
	MaxTokens   int      `json:"max_tokens,omitempty"`
	// Instructions come after the chat's own system prompt, in this turn only.
	Instructions string `json:"instructions,omitempty"`
	// Client is a JSON object that the caller's protocol wants to find again with the turn. Nobody else looks at it.
	Client json.RawMessage `json:"client,omitempty"`
}

// Call identifies a model call. It goes to the provider in the header X-Processor-Call, so that a provider's log can be
// matched with claims.
type Call struct {
	Chat    ID
	Turn    int
	Step    int
	Epoch   int64
	Attempt int
}

// CallHeader is the header that carries a Call to the provider.
const CallHeader = "X-Processor-Call"

// String is the header's value: chat/turn/step/epoch/attempt.
func (c Call) String() string {
	b := append(make([]byte, 0, 64), c.Chat...)
	for _, n := range [...]int64{int64(c.Turn), int64(c.Step), c.Epoch, int64(c.Attempt)} {
		b = strconv.AppendInt(append(b, '/'), n, 10)
	}
	return string(b)
}

// DeltaKind tells text from reasoning.
type DeltaKind string

// The kinds of deltas.
const (
	TextDelta      DeltaKind = "text"
	ReasoningDelta DeltaKind = "reasoning"
)

// Delta is a piece of an answer as it streams. Text is valid UTF-8 without NUL: adapters replace what is not.
type Delta struct {
	Kind DeltaKind `json:"kind"`
	Text string    `json:"text"`
}

// Answer is what a call ended with; its text went through emit.
type Answer struct {
	// Finish is Stop or Length.
	Finish Finish
	Usage  *Usage
	// Calls are tool_call parts; the turn goes on after them.
	Calls []Part
}

// ModelError is a failed call, already classified.
type ModelError struct {
	Code    string
	Message string
	// Retry says whether the same call may succeed later, After the least wait that the provider asked for.
	Retry bool
	After time.Duration
}

func (e *ModelError) Error() string { return e.Code + ": " + e.Message }

// Codes of model errors. The first group is retried, the second is final.
const (
	CodeRateLimited = "rate_limited"
	CodeUnavailable = "provider_unavailable"
	CodeConnection  = "connection"
	CodeStalled     = "stalled"
	CodeBadResponse = "bad_response"

	CodeAuth            = "auth"
	CodeQuota           = "quota"
	CodeBadRequest      = "bad_request"
	CodeUnknownModel    = "unknown_model"
	CodeContextOverflow = "context_overflow"
)

// ToolSpec describes a tool to a model. Schema is JSON Schema of its input.
type ToolSpec struct {
	Name        string
	Description string
	Schema      json.RawMessage
}

// ToolFunc runs a tool that this process offers. An error is told to the model as the call's failed result.
type ToolFunc struct {
	ToolSpec
	// Timeout is the outer limit of one call, whatever the tool does with its context.
	Timeout time.Duration
	Call    func(ctx context.Context, input json.RawMessage) (string, error)
}
