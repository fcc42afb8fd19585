package llm

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/tidwall/gjson"

	"processor/internal/chat"
)

// errBadChunk is wrapped by what makes a chunk unreadable.
var errBadChunk = errors.New("a chunk of the stream is not what is expected")

// takeChunks reads the stream to its end, to [DONE], or to what ends it early. Only the fields that are used are looked for: the SDK's
// own decoding of a chunk into its whole type costs five to ten times as much, for each token (BenchmarkStream).
func (a *answer) takeChunks(ctx context.Context, stream *events) error {
	for ctx.Err() == nil && stream.next() {
		data := stream.data
		if bytes.HasPrefix(data, []byte("[DONE]")) {
			return nil
		}
		if !gjson.ValidBytes(data) {
			return fmt.Errorf("%w: it is not JSON", errBadChunk)
		}
		if err := a.takeChunk(gjson.ParseBytes(data)); err != nil {
			return err
		}
	}
	return stream.err()
}

func (a *answer) takeChunk(chunk gjson.Result) (err error) {
	if failed := chunk.Get("error"); failed.Exists() && failed.Type != gjson.Null {
		return newFailure(0, nil, []byte(chunk.Raw))
	}
	if !chunk.IsObject() {
		return fmt.Errorf("%w: it is not an object", errBadChunk)
	}
	a.events++
	chunk.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "usage":
			if value.IsObject() {
				a.usage = chat.Usage{InputTokens: value.Get("prompt_tokens").Int(), OutputTokens: value.Get("completion_tokens").Int()}
			}
		case "choices":
			value.ForEach(func(_, choice gjson.Result) bool {
				if choice.Get("index").Int() == 0 {
					err = a.takeChoice(choice)
				}
				return err == nil
			})
		}
		return err == nil
	})
	return err
}

func (a *answer) takeChoice(choice gjson.Result) error {
	if err := a.takeOpenAIDelta(choice.Get("delta")); err != nil {
		return err
	}
	switch choice.Get("finish_reason").Str {
	case "":
	case "length", "max_tokens":
		a.finish = chat.Length
	default:
		a.finish = chat.Stop
	}
	return nil
}

// takeOpenAIDelta reads reasoning from the fields that compatible servers invented for it: reasoning_content of DeepSeek, vLLM and
// llama.cpp, reasoning of OpenRouter and Ollama. Who sends both sends the same twice.
func (a *answer) takeOpenAIDelta(delta gjson.Result) (err error) {
	var content, refusal, reasoning, reasoningContent string
	delta.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "content":
			content = value.Str
		case "refusal":
			refusal = value.Str
		case "reasoning":
			reasoning = value.Str
		case "reasoning_content":
			reasoningContent = value.Str
		case "tool_calls":
			value.ForEach(func(_, piece gjson.Result) bool {
				err = a.takeCall(piece)
				return err == nil
			})
		}
		return err == nil
	})
	a.say(chat.ReasoningDelta, cmp.Or(reasoningContent, reasoning))
	a.say(chat.TextDelta, content)
	a.say(chat.TextDelta, refusal)
	return err
}

func (a *answer) takeCall(piece gjson.Result) error {
	call, err := a.call(piece.Get("index").Int(), piece.Get("id").Str)
	if err != nil {
		return fmt.Errorf("%w: %w", errBadChunk, err)
	}
	if call.name == "" {
		call.name = piece.Get("function.name").Str
	}
	if err := a.write(call, piece.Get("function.arguments").Str); err != nil {
		return fmt.Errorf("%w: %w", errBadChunk, err)
	}
	return nil
}
