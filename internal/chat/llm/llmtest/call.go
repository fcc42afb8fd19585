package llmtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"processor/internal/chat"
)

// Wire is the format that a call came in.
type Wire string

// The wire formats.
const (
	OpenAI    Wire = "openai"
	Anthropic Wire = "anthropic"
)

// Outcome is how a call ended; empty while it is being answered.
type Outcome string

// The outcomes. Left means that the client went away first.
const (
	Finished Outcome = "finished"
	Refused  Outcome = "refused"
	Cut      Outcome = "cut"
	Left     Outcome = "left"
)

// Call is one request as the provider saw it.
type Call struct {
	// N counts from one, in the order of arrival.
	N    int  `json:"n"`
	Wire Wire `json:"wire"`
	// ID is the header X-Processor-Call: chat/turn/step/epoch/attempt.
	ID    string `json:"id"`
	Model string `json:"model"`
	Key   string `json:"-"`
	// Text is the last text of the user, and Results says whether the results of tools came after it.
	Text    string          `json:"text"`
	Results bool            `json:"results,omitempty"`
	Body    json.RawMessage `json:"-"`
	At      time.Time       `json:"at"`
	Ended   time.Time       `json:"ended,omitzero"`
	Outcome Outcome         `json:"outcome,omitempty"`
}

// Chat is the chat that the call is for, from its ID.
func (c Call) Chat() string {
	id, _, _ := strings.Cut(c.ID, "/")
	return id
}

// Turn is the chat and turn that the call is for: chat/turn.
func (c Call) Turn() string {
	id, rest, _ := strings.Cut(c.ID, "/")
	turn, _, _ := strings.Cut(rest, "/")
	return id + "/" + turn
}

func readCall(r *http.Request, wire Wire) (Call, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return Call{}, fmt.Errorf("read request: %w", err)
	}
	var req struct {
		Model    string
		Messages []message
	}
	if err := json.Unmarshal(body, &req); err != nil {
		return Call{}, fmt.Errorf("decode request: %w", err)
	}
	c := Call{Wire: wire, ID: r.Header.Get(chat.CallHeader), Model: req.Model, Body: body, Key: key(r)}
	c.Text, c.Results = lastWord(req.Messages)
	return c, nil
}

func key(r *http.Request) string {
	if k := r.Header.Get("X-Api-Key"); k != "" {
		return k
	}
	return strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
}

type message struct {
	Role    string
	Content content
}

// lastWord finds the last text of the user, and whether tool results follow it.
func lastWord(messages []message) (text string, results bool) {
	for _, m := range messages {
		switch {
		case m.Role == "tool" || m.Content.results && m.Content.text == "":
			results = true
		case m.Role == "user":
			text, results = m.Content.text, false
		}
	}
	return text, results
}

// content is a string, or a list of parts of which the last text counts.
type content struct {
	text    string
	results bool
}

// UnmarshalJSON accepts both shapes of both formats.
func (c *content) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		return json.Unmarshal(data, &c.text)
	}
	var parts []struct{ Type, Text string }
	if err := json.Unmarshal(data, &parts); err != nil {
		return fmt.Errorf("decode content: %w", err)
	}
	for _, p := range parts {
		switch p.Type {
		case "text":
			c.text = p.Text
		case "tool_result":
			c.results = true
		}
	}
	return nil
}
