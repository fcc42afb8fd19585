package llm

import (
	"strings"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/packages/param"

	"processor/internal/chat"
)

// anthropicName is the longest name of a tool that the API allows.
const anthropicName = 128

func anthropicParams(req chat.Request) anthropic.MessageNewParams {
	p := anthropic.MessageNewParams{
		Model:     req.Model,
		MaxTokens: AnthropicMaxTokens,
		Messages:  anthropicMessages(req.Messages),
		Tools:     anthropicTools(req.Tools),
	}
	if limit := maxTokens(req); limit > 0 {
		p.MaxTokens = int64(limit)
	}
	if strings.TrimSpace(req.System) != "" {
		p.System = []anthropic.TextBlockParam{{Text: req.System}}
	}
	if t := req.Params.Temperature; t != nil {
		p.Temperature = anthropic.Float(*t)
	}
	if t := req.Params.TopP; t != nil {
		p.TopP = anthropic.Float(*t)
	}
	return p
}

// anthropicMessages puts what one role said in a row into one message, because results of tools must be in the message
// that follows their calls, all of them. The API wants the user to begin; a history whose start was left out may not.
func anthropicMessages(history []chat.Message) []anthropic.MessageParam {
	var out []anthropic.MessageParam
	for _, m := range history {
		if !sendable(m) {
			continue
		}
		role := anthropic.MessageParamRoleUser
		if m.Role == chat.Assistant {
			role = anthropic.MessageParamRoleAssistant
		}
		blocks := anthropicBlocks(m)
		switch n := len(out); {
		case len(blocks) == 0:
		case n > 0 && out[n-1].Role == role:
			out[n-1].Content = append(out[n-1].Content, blocks...)
		case n == 0 && role == anthropic.MessageParamRoleAssistant:
			begin := anthropic.NewUserMessage(anthropic.NewTextBlock("(what was said before is left out)"))
			out = append(out, begin, anthropic.MessageParam{Role: role, Content: blocks})
		default:
			out = append(out, anthropic.MessageParam{Role: role, Content: blocks})
		}
	}
	return out
}

// anthropicBlocks leaves out text that is nothing but white space, which the API refuses.
func anthropicBlocks(m chat.Message) []anthropic.ContentBlockParamUnion {
	var blocks []anthropic.ContentBlockParamUnion
	for _, p := range m.Parts {
		id := wireName(p.CallID, anthropicName)
		switch p.Type {
		case chat.TextPart:
			if strings.TrimSpace(p.Text) != "" {
				blocks = append(blocks, anthropic.NewTextBlock(p.Text))
			}
		case chat.ToolCallPart:
			input := objectOf(string(p.Input))
			blocks = append(blocks, anthropic.NewToolUseBlock(id, input, wireName(p.Name, anthropicName)))
		case chat.ToolResultPart:
			blocks = append(blocks, anthropicResult(id, p))
		case chat.ReasoningPart:
			// Not sent back: it is worth nothing without its signature, which is not kept.
		}
	}
	return blocks
}

// anthropicResult sends no text block for a result that has no text, which would be refused.
func anthropicResult(id string, p chat.Part) anthropic.ContentBlockParamUnion {
	result := anthropic.NewToolResultBlock(id, p.Text, p.Failed)
	if strings.TrimSpace(p.Text) == "" {
		result.OfToolResult.Content = nil
	}
	return result
}

func anthropicTools(specs []chat.ToolSpec) []anthropic.ToolUnionParam {
	var out []anthropic.ToolUnionParam
	for _, spec := range specs {
		tool := anthropic.ToolUnionParamOfTool(param.Override[anthropic.ToolInputSchemaParam](schemaOf(spec)), spec.Name)
		if spec.Description != "" {
			tool.OfTool.Description = anthropic.String(spec.Description)
		}
		out = append(out, tool)
	}
	return out
}
