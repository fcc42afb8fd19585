package llm

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"testing"

	"processor/internal/chat"
)

const benchTokens = 1000

// canned answers every request with the same stream, without a network.
type canned []byte

func (c canned) RoundTrip(req *http.Request) (*http.Response, error) {
	_ = req.Body.Close()
	return &http.Response{
		StatusCode: http.StatusOK, Proto: "HTTP/1.1", Request: req,
		Header: http.Header{"Content-Type": {"text/event-stream"}},
		Body:   io.NopCloser(bytes.NewReader(c)),
	}, nil
}

func openAIStream() canned {
	var b bytes.Buffer
	const chunk = `data: {"id":"chatcmpl-123","object":"chat.completion.chunk","created":1700000000,"model":"gpt","service_tier":"default",` +
		`"system_fingerprint":"fp_1","choices":[{"index":0,"delta":{%s},"logprobs":null,"finish_reason":%s}]}` + "\n\n"
	for range benchTokens {
		fmt.Fprintf(&b, chunk, `"content":" token"`, "null")
	}
	fmt.Fprintf(&b, chunk, "", `"stop"`)
	b.WriteString("data: [DONE]\n\n")
	return b.Bytes()
}

func anthropicStream() canned {
	var b bytes.Buffer
	b.WriteString("event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":1}}}\n\n")
	for range benchTokens {
		b.WriteString("event: content_block_delta\n" +
			`data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" token"}}` + "\n\n")
	}
	b.WriteString("event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":9}}\n\n" +
		"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n")
	return b.Bytes()
}

// BenchmarkStream tells what a token costs from the response's bytes to emit; one operation is one token. The SDKs decode each chunk into its
// whole type by reflection: for openai that was 26 µs, 7.2 KB and 58 allocations on two cores of a cloud machine, which is why
// openai_chunk.go looks for the fields that are read and for nothing else (2 allocations). This package's own share is in BenchmarkSay.
func BenchmarkStream(b *testing.B) {
	for name, body := range map[string]canned{"openai": openAIStream(), "anthropic": anthropicStream()} {
		b.Run(name, func(b *testing.B) {
			models := New(Config{OpenAIKey: "k", AnthropicKey: "k", Transport: body}, slog.New(slog.DiscardHandler))
			model, _, err := models.Resolve(name + "/m")
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for n := 0; n < b.N; n += benchTokens {
				if _, err := model.Stream(context.Background(), chat.Request{Model: "m"}, func(chat.Delta) {}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCall tells what a call costs before its first token.
func BenchmarkCall(b *testing.B) {
	body := canned(`data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\ndata: [DONE]\n\n")
	models := New(Config{OpenAIKey: "k", Transport: body}, slog.New(slog.DiscardHandler))
	model, _, err := models.Resolve("openai/m")
	if err != nil {
		b.Fatal(err)
	}
	history := make([]chat.Message, 20)
	for i := range history {
		history[i] = chat.Message{Role: chat.User, Parts: []chat.Part{{Type: chat.TextPart, Text: "what about the other one?"}}}
		if i%2 == 1 {
			history[i].Role = chat.Assistant
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := model.Stream(context.Background(), chat.Request{Model: "m", Messages: history}, func(chat.Delta) {}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSay(b *testing.B) {
	a := answer{emit: func(chat.Delta) {}}
	b.ReportAllocs()
	for b.Loop() {
		a.say(chat.TextDelta, " token")
	}
}
