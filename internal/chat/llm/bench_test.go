package llm

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
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

func openAIStream(tokens int) canned {
	var b bytes.Buffer
	const chunk = `data: {"id":"chatcmpl-123","object":"chat.completion.chunk","created":1700000000,"model":"gpt","service_tier":"default",` +
		`"system_fingerprint":"fp_1","choices":[{"index":0,"delta":{%s},"logprobs":null,"finish_reason":%s}]}` + "\n\n"
	for range tokens {
		fmt.Fprintf(&b, chunk, `"content":" token"`, "null")
	}
	fmt.Fprintf(&b, chunk, "", `"stop"`)
	b.WriteString("data: [DONE]\n\n")
	return b.Bytes()
}

func anthropicStream(tokens int) canned {
	var b bytes.Buffer
	b.WriteString("event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":1}}}\n\n")
	for range tokens {
		b.WriteString("event: content_block_delta\n" +
			`data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" token"}}` + "\n\n")
	}
	b.WriteString("event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":9}}\n\n" +
		"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n")
	return b.Bytes()
}

// BenchmarkStream tells what a token costs from the response's bytes to emit; one operation is one token. The SDKs decode each chunk into its
// whole type by reflection: for openai that was 26 µs, 7.2 KB and 58 allocations on two cores of a cloud machine, which is why
// openai_chunk.go looks for the fields that are read and for nothing else, and does not even that for a chunk like the one before. This package's own share is in BenchmarkSay.
func BenchmarkStream(b *testing.B) {
	for name, body := range map[string]canned{"openai": openAIStream(benchTokens), "anthropic": anthropicStream(benchTokens)} {
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
	history := shortHistory(20)
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

func shortHistory(n int) []chat.Message {
	history := make([]chat.Message, n)
	for i := range history {
		history[i] = chat.Message{Role: chat.User, Parts: []chat.Part{{Type: chat.TextPart, Text: "what about the other one?"}}}
		if i%2 == 1 {
			history[i].Role = chat.Assistant
		}
	}
	return history
}

// BenchmarkShortAnswer tells what a whole call with an answer of 20 tokens costs over loopback, which is what a replica with many short turns
// does all day. The allocations are the client's alone; the time is of both sides, the server's being the least that one can do.
func BenchmarkShortAnswer(b *testing.B) {
	for name, body := range map[string]canned{"openai": openAIStream(20), "anthropic": anthropicStream(20)} {
		b.Run(name, func(b *testing.B) {
			url := "http://" + serve(b, body)
			models := New(Config{OpenAIKey: "k", OpenAIBaseURL: url, AnthropicKey: "k", AnthropicBaseURL: url}, slog.New(slog.DiscardHandler))
			b.Cleanup(models.Close)
			model, _, err := models.Resolve(name + "/m")
			if err != nil {
				b.Fatal(err)
			}
			// As it is called: the limits on time are the context's.
			ctx, cancel := context.WithCancelCause(b.Context())
			defer cancel(nil)
			req := chat.Request{Model: "m", System: "be brief", Messages: shortHistory(10), MaxTokens: 1000}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := model.Stream(ctx, req, func(chat.Delta) {}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// serve answers every request with the stream, the first of its events in a packet of its own, and allocates nothing for it.
func serve(b *testing.B, stream []byte) (addr string) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	first := bytes.Index(stream, []byte("\n\n")) + 2
	head := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"+
		"Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n%x\r\n%s\r\n", first, stream[:first])
	rest := fmt.Appendf(nil, "%x\r\n%s\r\n0\r\n\r\n", len(stream)-first, stream[first:])
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go answerAll(conn, head, rest)
		}
	}()
	return l.Addr().String()
}

func answerAll(conn net.Conn, head, rest []byte) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	length := 0
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			length, _ = strconv.Atoi(strings.TrimSpace(string(value)))
		}
		if len(line) > 2 {
			continue
		}
		if _, err := r.Discard(length); err != nil {
			return
		}
		if _, err := conn.Write(head); err != nil {
			return
		}
		if _, err := conn.Write(rest); err != nil {
			return
		}
	}
}
