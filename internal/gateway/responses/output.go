package responses

import (
	"encoding/json"
	"strings"

	"processor/internal/chat"
)

// item is an item of a conversation.
type item struct {
	ID      string  `json:"id"`
	Type    string  `json:"type"`
	Status  string  `json:"status,omitempty"`
	Role    string  `json:"role,omitempty"`
	Content *[]part `json:"content,omitempty"`
	// Summary is of a reasoning item, always empty here.
	Summary   *[]part `json:"summary,omitempty"`
	CallID    string  `json:"call_id,omitempty"`
	Name      string  `json:"name,omitempty"`
	Arguments *string `json:"arguments,omitempty"`
	Output    *string `json:"output,omitempty"`

	index int64
}

// part is a piece of an item's content.
type part struct {
	Type        string `json:"type"`
	Text        string `json:"text"`
	Annotations *[]any `json:"annotations,omitempty"`
	Logprobs    *[]any `json:"logprobs,omitempty"`
}

func none() *[]any { return &[]any{} }

func outputText(text string) part {
	return part{Type: "output_text", Text: text, Annotations: none(), Logprobs: none()}
}

func reasoningText(text string) part { return part{Type: "reasoning_text", Text: text} }

// Statuses of items and of responses.
const (
	queued     = "queued"
	inProgress = "in_progress"
	completed  = "completed"
	incomplete = "incomplete"
	failed     = "failed"
	cancelled  = "cancelled"
)

func (r ref) messageItem(index int64, status string, content ...part) item {
	return item{ID: r.item("msg", index), Type: "message", Status: status, Role: "assistant", Content: contentOf(content), index: index}
}

func (r ref) reasoningItem(index int64, status string, content ...part) item {
	return item{ID: r.item("rs", index), Type: "reasoning", Status: status, Summary: &[]part{}, Content: contentOf(content), index: index}
}

func contentOf(content []part) *[]part {
	if content == nil {
		content = []part{}
	}
	return &content
}

// block is the output_index of an attempt's first item. A turn that opened in epoch 0 has no owner in attempt 0, so attempt 1 comes first there, and
// the first item is mostly number 0: clients that take the index for a place in a list find it there.
func block(opened, attempt int64) int64 {
	const size = 1_000_000
	if opened == 0 && attempt > 0 {
		attempt--
	}
	return attempt * size
}

// split takes a message apart as it streams: what was thought before anything was said, what was said, and what was thought after that.
func split(parts []chat.Part) (before, text, after string, spoke bool) {
	var thought, said, late strings.Builder
	for _, p := range parts {
		switch {
		case p.Type == chat.TextPart:
			spoke = spoke || p.Text != ""
			said.WriteString(p.Text)
		case p.Type == chat.ReasoningPart && !spoke:
			thought.WriteString(p.Text)
		case p.Type == chat.ReasoningPart:
			late.WriteString(p.Text)
		}
	}
	return thought.String(), said.String(), late.String(), spoke
}

// itemsOf are a committed message's items, the first of which has the index.
func (r ref) itemsOf(m *chat.Message, index int64) []item {
	status := completed
	if m.Finish == chat.Length || m.Finish == chat.Interrupted || m.Finish == chat.Failed {
		status = incomplete
	}
	thought, said, late, _ := split(m.Parts)
	var all []item
	next := func() int64 { return index + int64(len(all)) }
	if thought != "" {
		ended := completed
		if said == "" {
			ended = status
		}
		all = append(all, r.reasoningItem(next(), ended, reasoningText(thought)))
	}
	if said != "" {
		all = append(all, r.messageItem(next(), status, outputText(said)))
	}
	if late != "" && m.Finish != chat.Failed { // a retry may take a failure back, and a cursor can't say that this item is open
		all = append(all, r.reasoningItem(next(), status, reasoningText(late)))
	}
	for _, p := range m.Parts {
		switch p.Type {
		case chat.ToolCallPart:
			all = append(all, item{ID: r.item("fc", next()), Type: "function_call", Status: completed, CallID: p.CallID, Name: p.Name, Arguments: arguments(p.Input), index: next()})
		case chat.ToolResultPart:
			output := p.Text
			all = append(all, item{ID: r.item("fco", next()), Type: "function_call_output", Status: completed, CallID: p.CallID, Output: &output, index: next()})
		case chat.TextPart, chat.ReasoningPart:
		}
	}
	return all
}

func arguments(input json.RawMessage) *string {
	s := string(input)
	if s == "" {
		s = "{}"
	}
	return &s
}

// outputOf are the items of a turn's committed messages, the user's being the first of them.
func (r ref) outputOf(messages []chat.Message) []item {
	out := []item{}
	attempt, index := int64(-1), int64(0)
	for i := range messages[1:] {
		m := &messages[i+1]
		if a := m.Epoch - messages[0].Epoch; a != attempt {
			attempt, index = a, block(messages[0].Epoch, a)
		}
		items := r.itemsOf(m, index)
		index += int64(len(items))
		out = append(out, items...)
	}
	return out
}

// saidItem is the user's message of a turn.
func (r ref) saidItem(m chat.Message) item {
	content := []part{}
	for _, p := range m.Parts {
		content = append(content, part{Type: "input_text", Text: p.Text})
	}
	return item{ID: r.said(), Type: "message", Status: completed, Role: "user", Content: &content}
}
