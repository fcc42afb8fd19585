package responses

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"processor/internal/chat"
)

// input is what a request brings to say: turns that were had elsewhere, the message that opens a turn, and what was said in system or developer
// messages, which joins the instructions.
type input struct {
	exchanges    []chat.Exchange
	message      []chat.Part
	instructions []string
}

// inputItem is one item of an input, as clients write or send back what they got.
type inputItem struct {
	Type    string          `json:"type"`
	Role    string          `json:"role"`
	Content json.RawMessage `json:"content"`
	// The rest is accepted, since clients send back whole items.
	ID      json.RawMessage `json:"id"`
	Status  json.RawMessage `json:"status"`
	Phase   json.RawMessage `json:"phase"`
	Object  json.RawMessage `json:"object"`
	Summary json.RawMessage `json:"summary"`
}

type inputPart struct {
	Type        string          `json:"type"`
	Text        *string         `json:"text"`
	Annotations json.RawMessage `json:"annotations"`
	Logprobs    json.RawMessage `json:"logprobs"`
}

// readInput reads a text or a list of items. Neighbouring messages of the user are one message.
func readInput(raw json.RawMessage, param string) (input, error) {
	var text string
	if err := json.Unmarshal(raw, &text); err == nil {
		return input{message: []chat.Part{{Type: chat.TextPart, Text: text}}}, nil
	}
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil {
		return input{}, invalid(param, param+" must be a string or a list of items")
	}
	var in input
	for i, raw := range items {
		if err := in.add(raw, fmt.Sprintf("%s[%d]", param, i)); err != nil {
			return input{}, err
		}
	}
	return in, nil
}

func (in *input) add(raw json.RawMessage, at string) error {
	var item inputItem
	if err := strict(raw, &item); err != nil {
		return invalid(at, at+" is no item that is understood here")
	}
	switch item.Type {
	case "", "message":
	case "reasoning":
		return nil // models are not told what they thought
	default:
		return unsupported(at + ".type")
	}
	parts, err := readContent(item.Content, at+".content")
	if err != nil {
		return err
	}
	switch item.Role {
	case "user":
		in.message = append(in.message, parts...)
	case "assistant":
		in.exchanges = append(in.exchanges, chat.Exchange{Said: in.message, Answer: parts})
		in.message = nil
	case "system", "developer":
		for _, p := range parts {
			in.instructions = append(in.instructions, p.Text)
		}
	default:
		return invalid(at+".role", at+".role must be user, assistant, system or developer")
	}
	return nil
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

func (in *input) system(own string) string {
	all := in.instructions
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
