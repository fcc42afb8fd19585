package llm

import (
	"encoding/json"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/packages/param"

	"processor/internal/chat"
)

// openAIName is the longest name of a function that OpenAI allows.
const openAIName = 64

func (o *openAI) params(req chat.Request) openai.ChatCompletionNewParams {
	p := openai.ChatCompletionNewParams{
		Model:    req.Model,
		Messages: openAIMessages(req.System, req.Messages),
		Tools:    openAITools(req.Tools),
	}
	if !o.noStreamOptions.Load() {
		p.StreamOptions.IncludeUsage = openai.Bool(true)
	}
	if limit := maxTokens(req); limit > 0 {
		if o.maxCompletionTokens.Load() {
			p.MaxCompletionTokens = openai.Int(int64(limit))
		} else {
			p.MaxTokens = openai.Int(int64(limit))
		}
	}
	if t := req.Params.Temperature; t != nil {
		p.Temperature = openai.Float(*t)
	}
	if t := req.Params.TopP; t != nil {
		p.TopP = openai.Float(*t)
	}
	return p
}

func openAIMessages(system string, history []chat.Message) []openai.ChatCompletionMessageParamUnion {
	out := make([]openai.ChatCompletionMessageParamUnion, 0, len(history)+1)
	if system != "" {
		out = append(out, openai.SystemMessage(system))
	}
	for _, m := range history {
		if !sendable(m) {
			continue
		}
		switch m.Role {
		case chat.User:
			out = appendUser(out, m.Text())
		case chat.Assistant:
			out = append(out, openAIAssistant(m))
		case chat.Tool:
			for _, p := range m.Parts {
				out = append(out, openai.ToolMessage(p.Text, p.CallID))
			}
		}
	}
	return out
}

// appendUser joins what the user said in a row, as it is left when a turn failed: the templates of several open models
// insist that the roles alternate.
func appendUser(out []openai.ChatCompletionMessageParamUnion, text string) []openai.ChatCompletionMessageParamUnion {
	if n := len(out); n > 0 && out[n-1].OfUser != nil {
		text = out[n-1].OfUser.Content.OfString.Value + "\n\n" + text
		out = out[:n-1]
	}
	return append(out, openai.UserMessage(text))
}

func openAIAssistant(m chat.Message) openai.ChatCompletionMessageParamUnion {
	var out openai.ChatCompletionAssistantMessageParam
	if text := m.Text(); text != "" {
		out.Content.OfString = openai.String(text)
	}
	for _, call := range m.Calls() {
		out.ToolCalls = append(out.ToolCalls, openai.ChatCompletionMessageToolCallUnionParam{
			OfFunction: &openai.ChatCompletionMessageFunctionToolCallParam{
				ID: call.CallID,
				Function: openai.ChatCompletionMessageFunctionToolCallFunctionParam{
					Name: wireName(call.Name, openAIName), Arguments: string(objectOf(string(call.Input))),
				},
			},
		})
	}
	return openai.ChatCompletionMessageParamUnion{OfAssistant: &out}
}

func openAITools(specs []chat.ToolSpec) []openai.ChatCompletionToolUnionParam {
	var out []openai.ChatCompletionToolUnionParam
	for _, spec := range specs {
		// Overridden, because the SDK's type would decode the schema and encode it again in every call.
		out = append(out, openai.ChatCompletionFunctionTool(param.Override[openai.FunctionDefinitionParam](functionSpec{
			Name: spec.Name, Description: spec.Description, Parameters: schemaOf(spec),
		})))
	}
	return out
}

type functionSpec struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Parameters  json.RawMessage `json:"parameters"`
}

// schemaOf is the tool's schema; a tool without one takes no input.
func schemaOf(spec chat.ToolSpec) json.RawMessage {
	if len(spec.Schema) == 0 {
		return json.RawMessage(`{"type":"object","properties":{}}`)
	}
	return spec.Schema
}
