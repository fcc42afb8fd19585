package uistream

import (
	"encoding/json"
	"fmt"
	"strings"

	"processor/internal/gateway/wire"
)

// client keeps a message as the published client does: parts by id, of which a delta has to find one open, and reset-step takes back
// what came after the last start-step.
type client struct {
	seen    []chunk
	id      string
	parts   []string
	open    map[string]int
	step    int
	reason  string
	failed  string
	done    bool
	wrong   []string
	resends int
}

func (c *client) Send(frames ...wire.Frame) error {
	for _, f := range frames {
		if string(f.Data) == "[DONE]" {
			c.done = true
			continue
		}
		var ch chunk
		if err := json.Unmarshal(f.Data, &ch); err != nil {
			return err
		}
		c.take(ch)
	}
	return nil
}

func (c *client) take(ch chunk) {
	c.seen = append(c.seen, ch)
	if c.done || c.reason != "" {
		c.wrong = append(c.wrong, "after the end came "+ch.Type)
	}
	kind, what, _ := strings.Cut(ch.Type, "-")
	switch {
	case ch.Type == startChunk:
		if c.id != "" {
			c.wrong = append(c.wrong, "it starts twice")
		}
		c.id, c.open = ch.MessageID, map[string]int{}
	case ch.Type == "start-step":
		c.step = len(c.parts)
	case ch.Type == resetChunk:
		c.parts, c.open = c.parts[:c.step], map[string]int{}
		c.resends++
	case ch.Type == "error":
		c.failed = ch.ErrorText
	case ch.Type == finishChunk:
		c.reason = ch.FinishReason
	case kind == "text" || kind == "reasoning":
		c.part(kind, what, ch)
	}
}

func (c *client) part(kind, what string, ch chunk) {
	key := kind + ch.ID
	at, open := c.open[key]
	switch {
	case what == "start" && !open:
		c.open[key] = len(c.parts)
		c.parts = append(c.parts, kind+":")
	case what == "delta" && open:
		c.parts[at] += ch.Delta
	case what == "end" && open:
		delete(c.open, key)
	default:
		c.wrong = append(c.wrong, fmt.Sprintf("%s of part %s, open %t", ch.Type, ch.ID, open))
	}
}
