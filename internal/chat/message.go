package chat

import (
	"encoding/json"
	"strings"
	"time"
)

// Role says who speaks.
type Role string

// The roles. Tool messages carry the results of tool calls.
const (
	User      Role = "user"
	Assistant Role = "assistant"
	Tool      Role = "tool"
)

// PartType is the kind of a part.
type PartType string

// The kinds of parts. Callers send text only; the others come from models and tools.
const (
	TextPart       PartType = "text"
	ReasoningPart  PartType = "reasoning"
	ToolCallPart   PartType = "tool_call"
	ToolResultPart PartType = "tool_result"
)

// Part is one piece of a message.
type Part struct {
	Type PartType `json:"type"`
	Text string   `json:"text,omitempty"`
	// CallID ties a tool_result to its tool_call; Name is the tool's.
	CallID string          `json:"call_id,omitempty"`
	Name   string          `json:"name,omitempty"`
	Input  json.RawMessage `json:"input,omitempty"`
	Failed bool            `json:"failed,omitempty"`
}

// Finish says how a turn ended. Only the turn's last message has one.
type Finish string

// The outcomes of a turn (I4).
const (
	Stop        Finish = "stop"
	Length      Finish = "length"
	Interrupted Finish = "interrupted"
	Failed      Finish = "error"
)

// Usage counts tokens as the provider reported them.
type Usage struct {
	InputTokens  int64 `json:"input_tokens"`
	OutputTokens int64 `json:"output_tokens"`
}

// Message is one committed message, or a queued one while ID is nil.
type Message struct {
	ID   *int64 `json:"id"`
	Chat ID     `json:"chat"`
	Turn int    `json:"turn"`
	Step int    `json:"step"`
	// Epoch is the owner's, and of a user message the one at which its turn opened.
	Epoch int64  `json:"epoch"`
	Role  Role   `json:"role"`
	Parts []Part `json:"parts"`
	// Chunks are the lengths in bytes of the deltas as they were published, so that a replay repeats them.
	Chunks    []int32         `json:"chunks,omitempty"`
	Model     string          `json:"model,omitempty"`
	Params    json.RawMessage `json:"params,omitempty"`
	Usage     *Usage          `json:"usage,omitempty"`
	Finish    Finish          `json:"finish,omitempty"`
	Error     *TurnError      `json:"error,omitempty"`
	ClientID  string          `json:"client_id,omitempty"`
	CreatedAt time.Time       `json:"created_at"`
}

// Text joins the text parts.
func (m Message) Text() string {
	if len(m.Parts) == 1 && m.Parts[0].Type == TextPart {
		return m.Parts[0].Text
	}
	var b strings.Builder
	for _, p := range m.Parts {
		if p.Type == TextPart {
			b.WriteString(p.Text)
		}
	}
	return b.String()
}

// Calls lists the tool calls of the message.
func (m Message) Calls() []Part {
	var calls []Part
	for _, p := range m.Parts {
		if p.Type == ToolCallPart {
			calls = append(calls, p)
		}
	}
	return calls
}

// Ends reports whether the message ended its turn.
func (m Message) Ends() bool { return m.Finish != "" }
