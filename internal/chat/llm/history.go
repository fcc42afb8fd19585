package llm

import (
	"strings"

	"processor/internal/chat"
)

// sendable reports whether a model may see the message. Errors are ours and not part of the conversation; an empty
// answer, such as that of a turn that was interrupted at once, is refused by strict providers for ever after.
func sendable(m chat.Message) bool {
	if m.Finish == chat.Failed {
		return false
	}
	for _, p := range m.Parts {
		if p.Type == chat.ToolCallPart || p.Type == chat.ToolResultPart || p.Type == chat.TextPart && p.Text != "" {
			return true
		}
	}
	return false
}

// wireName makes a name or an id fit the alphabet that providers allow. A model may invent a tool with any name; sent
// back as it is, it would have the history refused from then on.
func wireName(name string, limit int) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-':
			return r
		}
		return '_'
	}, name)
	if name == "" {
		return "_"
	}
	return name[:min(len(name), limit)]
}
