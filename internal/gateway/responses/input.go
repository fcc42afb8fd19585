package responses

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"processor/internal/chat"
)

// input is what a request brings to say: turns that were had elsewhere, the message that opens a turn, and what was said in system or developer
// messages.
type input struct {
	exchanges []chat.Exchange
	message   []chat.Part
	system    []string
}

// line is an item of an input: something that was said, or the id of an item that a replica gave out and that says it.
type line struct {
	role  string
	parts []chat.Part
	// named is the id. At says where it stands.
	named string
	at    string
}

// reference is the type of an item that only names another one.
const reference = "item_reference"

// The roles of lines, as the protocol has them.
const (
	user      = "user"
	assistant = "assistant"
	system    = "system"
)

// inputItem is one item of an input, as clients write or send back what they got.
type inputItem struct {
	Type    string          `json:"type"`
	Role    string          `json:"role"`
	Content json.RawMessage `json:"content"`
	ID      json.RawMessage `json:"id"`
	// The rest is accepted, since clients send back whole items.
	Status  json.RawMessage `json:"status"`
	Phase   json.RawMessage `json:"phase"`
	Object  json.RawMessage `json:"object"`
	Summary json.RawMessage `json:"summary"`
	Sealed  json.RawMessage `json:"encrypted_content"`
}

type inputPart struct {
	Type        string          `json:"type"`
	Text        *string         `json:"text"`
	Annotations json.RawMessage `json:"annotations"`
	Logprobs    json.RawMessage `json:"logprobs"`
}

// readInput reads a text or a list of items.
func readInput(raw json.RawMessage, param string) ([]line, error) {
	var text string
	if err := json.Unmarshal(raw, &text); err == nil {
		return []line{{role: user, parts: []chat.Part{{Type: chat.TextPart, Text: text}}}}, nil
	}
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil {
		return nil, invalid(param, param+" must be a string or a list of items")
	}
	lines := make([]line, 0, len(items))
	for i, raw := range items {
		l, err := readLine(raw, fmt.Sprintf("%s[%d]", param, i))
		if err != nil {
			return nil, err
		}
		if l.role != "" || l.named != "" {
			lines = append(lines, l)
		}
	}
	return lines, nil
}

// readLine reads an item; one that models are not told has no role and no name.
func readLine(raw json.RawMessage, at string) (line, error) {
	var kind struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(raw, &kind) == nil && !slices.Contains([]string{"", "message", "reasoning", reference}, kind.Type) {
		return line{}, unsupported(at + ".type")
	}
	var item inputItem
	if err := strict(raw, &item); err != nil {
		return line{}, invalid(at, at+" is no item that is understood here")
	}
	var id string
	if item.Type == reference || (item.Type == "" && item.Role == "" && absent(item.Content)) {
		if json.Unmarshal(item.ID, &id) != nil || id == "" {
			return line{}, invalid(at+".id", at+".id must be the id of an item")
		}
		return line{named: id, at: at}, nil
	}
	if item.Type == "reasoning" {
		return line{}, nil // models are not told what they thought
	}
	parts, err := readContent(item.Content, at+".content")
	if err != nil {
		return line{}, err
	}
	switch item.Role {
	case user, assistant, system:
		return line{role: item.Role, parts: parts, at: at}, nil
	case "developer":
		return line{role: system, parts: parts, at: at}, nil
	default:
		return line{}, invalid(at+".role", at+".role must be user, assistant, system or developer")
	}
}

// inputOf makes turns of lines. Neighbouring messages of the user are one message.
func inputOf(lines []line) (in input) {
	for _, l := range lines {
		switch l.role {
		case user:
			in.message = append(in.message, l.parts...)
		case assistant:
			in.exchanges = append(in.exchanges, chat.Exchange{Said: in.message, Answer: l.parts})
			in.message = nil
		case system:
			for _, p := range l.parts {
				in.system = append(in.system, p.Text)
			}
		}
	}
	return in
}

func readContent(raw json.RawMessage, at string) ([]chat.Part, error) {
	var text string
	if err := json.Unmarshal(raw, &text); err == nil {
		return []chat.Part{{Type: chat.TextPart, Text: text}}, nil
	}
	var content []json.RawMessage
	if err := json.Unmarshal(raw, &content); err != nil {
		return nil, invalid(at, at+" must be a string or a list of parts")
	}
	var parts []chat.Part
	for i, raw := range content {
		var p inputPart
		if err := json.Unmarshal(raw, &p); err != nil {
			return nil, invalid(at, at+" must be a string or a list of parts")
		}
		switch p.Type {
		case "input_text", "output_text", "text":
		default:
			return nil, unsupported(fmt.Sprintf("%s[%d].type", at, i))
		}
		if p.Text == nil {
			return nil, invalid(at, fmt.Sprintf("%s[%d].text is missing", at, i))
		}
		parts = append(parts, chat.Part{Type: chat.TextPart, Text: *p.Text})
	}
	return parts, nil
}

// all are the input's turns when none is to be opened.
func (in *input) all() []chat.Exchange {
	if len(in.message) == 0 {
		return in.exchanges
	}
	return append(in.exchanges, chat.Exchange{Said: in.message})
}

// told is what system and developer messages said, after what the request says for itself.
func (in *input) told(own string) string {
	all := in.system
	if own != "" {
		all = append([]string{own}, all...)
	}
	return strings.Join(all, "\n\n")
}

// strict decodes one value and refuses fields that it does not know.
func strict(raw []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}

func absent(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }
