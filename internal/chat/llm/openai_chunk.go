package llm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tidwall/gjson"

	"processor/internal/chat"
)

// errBadChunk is wrapped by what makes a chunk unreadable.
var errBadChunk = errors.New("a chunk of the stream is not what is expected")

// chunks reads the chunks of one answer.
type chunks struct {
	*answer
	like  template
	found spoken
}

// takeChunks reads the stream to its end, to [DONE], or to what ends it early. Only the fields that are used are looked for: the SDK's
// own decoding of a chunk into its whole type costs five to ten times as much, for each token (BenchmarkStream).
func (a *answer) takeChunks(ctx context.Context, stream *events) error {
	c := chunks{answer: a}
	for ctx.Err() == nil && stream.next() {
		if bytes.HasPrefix(stream.data, []byte("[DONE]")) {
			return nil
		}
		if err := c.take(stream.data); err != nil {
			return err
		}
	}
	return stream.err()
}

func (c *chunks) take(data []byte) error {
	text, ok := c.like.fit(data)
	if !ok {
		return c.parse(string(data))
	}
	c.events++
	c.say(c.like.kind, text)
	return nil
}

func (c *chunks) parse(chunk string) error {
	if !gjson.Valid(chunk) {
		return fmt.Errorf("%w: it is not JSON", errBadChunk)
	}
	c.found = spoken{}
	if err := c.takeChunk(gjson.Parse(chunk)); err != nil {
		return err
	}
	c.like.learn(chunk, &c.found)
	return nil
}

func (c *chunks) takeChunk(chunk gjson.Result) (err error) {
	// Before anything else is taken. A key that is neither spelled so nor with an escape is not there, and looking it up costs more than that.
	if strings.Contains(chunk.Raw, `"error"`) || strings.Contains(chunk.Raw, `\u`) {
		if failed := chunk.Get("error"); failed.Exists() && failed.Type != gjson.Null {
			return newFailure(0, nil, []byte(chunk.Raw))
		}
	}
	if !chunk.IsObject() {
		return fmt.Errorf("%w: it is not an object", errBadChunk)
	}
	c.events++
	chunk.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "usage":
			if value.IsObject() {
				c.usage = chat.Usage{InputTokens: value.Get("prompt_tokens").Int(), OutputTokens: value.Get("completion_tokens").Int()}
				c.found.more = true
			}
		case "choices":
			value.ForEach(func(_, choice gjson.Result) bool {
				err = c.takeChoice(choice)
				return err == nil
			})
		default:
			if value.Type == gjson.String {
				c.found.padding = value
			}
		}
		return err == nil
	})
	return err
}

// takeChoice counts the first of what comes twice.
func (c *chunks) takeChoice(choice gjson.Result) error {
	var index, delta, finish gjson.Result
	choice.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "index":
			index = first(index, value)
		case "delta":
			delta = first(delta, value)
		case "finish_reason":
			finish = first(finish, value)
		}
		return true
	})
	if index.Int() != 0 {
		return nil
	}
	if err := c.takeDelta(delta); err != nil {
		return err
	}
	switch finish.Str {
	case "":
		return nil
	case "length", "max_tokens":
		c.finish = chat.Length
	default:
		c.finish = chat.Stop
	}
	c.found.more = true
	return nil
}

func first(a, b gjson.Result) gjson.Result {
	if a.Exists() {
		return a
	}
	return b
}

// takeDelta reads reasoning from the fields that compatible servers invented for it: reasoning_content of DeepSeek, vLLM and
// llama.cpp, reasoning of OpenRouter and Ollama. Who sends both sends the same twice.
func (c *chunks) takeDelta(delta gjson.Result) (err error) {
	var content, refusal, reasoning, reasoningContent gjson.Result
	delta.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "content":
			content = value
		case "refusal":
			refusal = value
		case "reasoning":
			reasoning = value
		case "reasoning_content":
			reasoningContent = value
		case "tool_calls":
			// Some servers say null in every chunk: what is no object is no call.
			value.ForEach(func(_, piece gjson.Result) bool {
				if piece.IsObject() {
					err = c.takeCall(piece)
				}
				return err == nil
			})
		}
		return err == nil
	})
	if reasoningContent.Str != "" {
		reasoning = reasoningContent
	}
	c.speak(chat.ReasoningDelta, reasoning)
	c.speak(chat.TextDelta, content)
	c.speak(chat.TextDelta, refusal)
	return err
}

// speak hands on a text, which is nothing when the value is none.
func (c *chunks) speak(kind chat.DeltaKind, value gjson.Result) {
	if value.Str == "" {
		return
	}
	c.found.kind, c.found.text = kind, value
	c.found.texts++
	c.say(kind, value.Str)
}

func (c *chunks) takeCall(piece gjson.Result) error {
	c.found.more = true
	call, err := c.call(piece.Get("index").Int(), piece.Get("id").Str)
	if err != nil {
		return fmt.Errorf("%w: %w", errBadChunk, err)
	}
	if call.name == "" {
		call.name = piece.Get("function.name").Str
	}
	if err := c.write(call, piece.Get("function.arguments").Str); err != nil {
		return fmt.Errorf("%w: %w", errBadChunk, err)
	}
	return nil
}
