package llm

import (
	"encoding/json"

	"processor/internal/chat"
)

// openAIName is the longest name of a function that OpenAI allows.
const openAIName = 64

// openAIRequest is what of a chat completion's request is used.
type openAIRequest struct {
	Model               string               `json:"model"`
	Messages            []openAIMessage      `json:"messages"`
	Stream              bool                 `json:"stream"`
	StreamOptions       *openAIStreamOptions `json:"stream_options,omitempty"`
	MaxTokens           int                  `json:"max_tokens,omitempty"`
	MaxCompletionTokens int                  `json:"max_completion_tokens,omitempty"`
	Temperature         *float64             `json:"temperature,omitempty"`
	TopP                *float64             `json:"top_p,omitempty"`
	Tools               []openAITool         `json:"tools,omitempty"`
}

type openAIStreamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

type openAIMessage struct {
	Role       string       `json:"role"`
	Content    *string      `json:"content,omitempty"`
	ToolCalls  []openAICall `json:"tool_calls,omitempty"`
	ToolCallID string       `json:"tool_call_id,omitempty"`
}

type openAICall struct {
	ID       string           `json:"id"`
	Type     string           `json:"type"`
	Function openAICalledWith `json:"function"`
}

type openAICalledWith struct {
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
}

type openAITool struct {
	Type     string       `json:"type"`
	Function functionSpec `json:"function"`
}

type functionSpec struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Parameters  json.RawMessage `json:"parameters"`
}

func (o *openAI) request(req chat.Request) openAIRequest {
	r := openAIRequest{
		Model: req.Model, Messages: openAIMessages(req.System, req.Messages), Stream: true,
		Temperature: req.Params.Temperature, TopP: req.Params.TopP, Tools: openAITools(req.Tools),
	}
	if !o.noStreamOptions.Load() {
		r.StreamOptions = &openAIStreamOptions{IncludeUsage: true}
	}
	if limit := maxTokens(req); o.maxCompletionTokens.Load() {
		r.MaxCompletionTokens = limit
	} else {
		r.MaxTokens = limit
	}
	return r
}

func openAIMessages(system string, history []chat.Message) []openAIMessage {
	out := make([]openAIMessage, 0, len(history)+1)
	if system != "" {
		out = append(out, openAIMessage{Role: "system", Content: &system})
	}
	for i := range history {
		m := &history[i]
		if !sendable(*m) {
			continue
		}
		switch m.Role {
		case chat.User:
			out = appendUser(out, textOf(m))
		case chat.Assistant:
			out = append(out, openAIAssistant(m))
		case chat.Tool:
			for i := range m.Parts {
				out = append(out, openAIMessage{Role: "tool", Content: &m.Parts[i].Text, ToolCallID: m.Parts[i].CallID})
			}
		}
	}
	return out
}

// textOf points into the message where it can: a long history is not copied.
func textOf(m *chat.Message) *string {
	if len(m.Parts) == 1 && m.Parts[0].Type == chat.TextPart {
		return &m.Parts[0].Text
	}
	text := m.Text()
	return &text
}

// appendUser joins what the user said in a row, as it is left when a turn failed: the templates of several open models
// insist that the roles alternate.
func appendUser(out []openAIMessage, text *string) []openAIMessage {
	if n := len(out); n > 0 && out[n-1].Role == "user" {
		joined := *out[n-1].Content + "\n\n" + *text
		out[n-1].Content = &joined
		return out
	}
	return append(out, openAIMessage{Role: "user", Content: text})
}

func openAIAssistant(m *chat.Message) openAIMessage {
	out := openAIMessage{Role: "assistant"}
	if text := textOf(m); *text != "" {
		out.Content = text
	}
	for _, call := range m.Calls() {
		out.ToolCalls = append(out.ToolCalls, openAICall{ID: call.CallID, Type: "function", Function: openAICalledWith{
			Name: wireName(call.Name, openAIName), Arguments: string(objectOf(string(call.Input))),
		}})
	}
	return out
}

func openAITools(specs []chat.ToolSpec) []openAITool {
	var out []openAITool
	for _, spec := range specs {
		out = append(out, openAITool{Type: "function", Function: functionSpec{
			Name: spec.Name, Description: spec.Description, Parameters: schemaOf(spec),
		}})
	}
	return out
}

// schemaOf is the tool's schema; a tool without one takes no input.
func schemaOf(spec chat.ToolSpec) json.RawMessage {
	if len(spec.Schema) == 0 {
		return json.RawMessage(`{"type":"object","properties":{}}`)
	}
	return spec.Schema
}
