package llm_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"processor/internal/chat"
	"processor/internal/chat/llm"
	"processor/internal/chat/llm/llmtest"
)

func TestAnAnswerComesDeltaByDelta(t *testing.T) {
	t.Parallel()
	bothWires(t, func(t *testing.T, b bundle) {
		answer, h, err := b.stream(t, ask("hello over there"))
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "answer", chat.Answer{Finish: chat.Stop, Usage: &chat.Usage{InputTokens: 3, OutputTokens: 3}}, answer)
		equal(t, "deltas", []chat.Delta{
			{Kind: chat.TextDelta, Text: "hello"}, {Kind: chat.TextDelta, Text: " over"}, {Kind: chat.TextDelta, Text: " there"},
		}, h.deltas)
		equal(t, "call", "c1/2/3/4/5", b.provider.Calls()[0].ID)
	})
}

func TestADeltaIsHandedOnBeforeTheNextIsMade(t *testing.T) {
	t.Parallel()
	bothWires(t, func(t *testing.T, b bundle) {
		gate := b.provider.Gate("c1")
		h := &heard{first: gate.Open}
		if _, err := b.model.Stream(limit(t), ask("#tokens=5 #hold=1"), h.emit); err != nil {
			t.Fatal(err)
		}
		equal(t, "text", "w0 w1 w2 w3 w4 ", h.text(chat.TextDelta))
	})
}

func TestAnAnswerCutOffByItsLimitSaysSo(t *testing.T) {
	t.Parallel()
	bothWires(t, func(t *testing.T, b bundle) {
		answer, _, err := b.stream(t, ask("a b #length"))
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "finish", chat.Length, answer.Finish)
	})
}

func TestReasoningIsToldApart(t *testing.T) {
	t.Parallel()
	bothWires(t, func(t *testing.T, b bundle) {
		_, h, err := b.stream(t, ask("yes #think=2"))
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "reasoning", "w0 w1 ", h.text(chat.ReasoningDelta))
		equal(t, "text", "yes #think=2", h.text(chat.TextDelta))
	})
}

func TestReasoningIsReadFromEveryFieldThatIsInUse(t *testing.T) {
	t.Parallel()
	b := setup(t, llmtest.OpenAI)
	b.says(
		llmtest.Raw(`data: {"choices":[{"index":0,"delta":{"reasoning":"a"}}]}`+"\n\n"),
		llmtest.Raw(`data: {"choices":[{"index":0,"delta":{"reasoning":"b","reasoning_content":"b"}}]}`+"\n\n"),
		llmtest.Raw(`data: {"choices":[{"index":0,"delta":{"reasoning":null,"reasoning_content":null,"content":"c"}}]}`+"\n\n"),
	)
	_, h, err := b.stream(t, ask("x"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "reasoning", "ab", h.text(chat.ReasoningDelta))
	equal(t, "text", "c", h.text(chat.TextDelta))
}

func TestToolCallsArePutTogether(t *testing.T) {
	t.Parallel()
	bothWires(t, func(t *testing.T, b bundle) {
		b.says(
			llmtest.Text("let me see"),
			llmtest.Tool("call_a", "weather", `{"ci`, `ty":"Bonn",`, `"n":12345678901234567890}`),
			llmtest.Tool("call_b", "clock"),
			llmtest.Tool("call_c", "broken", `{"a":`),
			llmtest.Tool("call_d", "escapes", `{"a":"\u0000\ud83d\ude00\ud800 \\u0000"}`),
			llmtest.Tool("call_e", "long", `{"a":[1e131000]}`), // which the database would give back with all its digits
			llmtest.Tool("call_f", "deep", `{"a":`+strings.Repeat("[", 150)+strings.Repeat("]", 150)+`}`),
		)
		answer, h, err := b.stream(t, ask("x"))
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "text", "let me see", h.text(chat.TextDelta))
		equal(t, "finish", chat.Stop, answer.Finish)
		call := func(id, name, input string) chat.Part {
			return chat.Part{Type: chat.ToolCallPart, CallID: id, Name: name, Input: json.RawMessage(input)}
		}
		equal(t, "calls", []chat.Part{
			call("call_a", "weather", `{"city":"Bonn","n":12345678901234567890}`),
			call("call_b", "clock", `{}`),
			call("call_c", "broken", `{"invalid_input":"{\"a\":"}`),
			call("call_d", "escapes", `{"a":"\ufffd\ud83d\ude00\ufffd \\u0000"}`),
			call("call_e", "long", `{"invalid_input":"{\"a\":[1e131000]}"}`),
			call("call_f", "deep", `{"invalid_input":"{\"a\":`+strings.Repeat("[", 150)+strings.Repeat("]", 150)+`}"}`),
		}, answer.Calls)
	})
}

func TestToolCallsOfSloppyServersAreToldApart(t *testing.T) {
	t.Parallel()
	b := setup(t, llmtest.OpenAI)
	b.says(
		llmtest.Raw(`data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"x","function":{"name":"one","arguments":"{\"a\":1}"}}]}}]}`+"\n\n"),
		llmtest.Raw(`data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"y","function":{"name":"two","arguments":"{"}}]}}]}`+"\n\n"),
		llmtest.Raw(`data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"two","arguments":"}"}}]}}]}`+"\n\n"),
		llmtest.Raw(`data: {"choices":[{"delta":{"tool_calls":[{"index":7,"function":{"name":"n\u0000","arguments":"{}"}}]}}]}`+"\n\n"),
		llmtest.Finish("tool_calls"),
	)
	answer, _, err := b.stream(t, ask("x"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range answer.Calls {
		got = append(got, c.CallID+" "+c.Name+" "+string(c.Input))
	}
	equal(t, "calls", []string{`x one {"a":1}`, `y two {}`, "call_2_3_2 n\uFFFD {}"}, got)
}

func TestWhatIsNoObjectIsNoToolCall(t *testing.T) {
	t.Parallel()
	b := setup(t, llmtest.OpenAI)
	b.says(
		llmtest.Raw(`data: {"choices":[{"delta":{"content":"a","tool_calls":null}}]}`+"\n\n"),
		llmtest.Raw(`data: {"choices":[{"delta":{"content":"b","tool_calls":null}}]}`+"\n\n"),
		llmtest.Raw(`data: {"choices":[{"delta":{"tool_calls":[null,"x"]}}]}`+"\n\n"),
		llmtest.Finish("stop"),
	)
	answer, h, err := b.stream(t, ask("x"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "text", "ab", h.text(chat.TextDelta))
	equal(t, "calls", 0, len(answer.Calls))
}

func TestTextIsCleanWhateverWasSent(t *testing.T) {
	t.Parallel()
	bothWires(t, func(t *testing.T, b bundle) {
		smile := "🙂"
		b.says(llmtest.Text("a\x00b", "\xff", "gr"+smile[:2], smile[2:]+"!", smile[:3], "x", smile[:1]))
		_, h, err := b.stream(t, ask("x"))
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "text", "a\uFFFDb\uFFFDgr🙂!\uFFFDx\uFFFD", h.text(chat.TextDelta))
	})
}

func TestARuneSplitOverPacketsArrivesWhole(t *testing.T) {
	t.Parallel()
	b := setup(t, llmtest.OpenAI)
	event := `data: {"choices":[{"index":0,"delta":{"content":"a🙂b"}}]}` + "\r\n\r\n"
	at := strings.Index(event, "🙂") + 2
	b.says(llmtest.Raw(event[:at]), llmtest.Raw(event[at:]), llmtest.Raw(": keep-alive\r\n\r\n"), llmtest.Finish("stop"))
	_, h, err := b.stream(t, ask("x"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "text", "a🙂b", h.text(chat.TextDelta))
}

// TestAStreamIsReadWhateverItIsCalled: by the type that a proxy gave it, and by the mark that some servers put before it.
func TestAStreamIsReadWhateverItIsCalled(t *testing.T) {
	t.Parallel()
	b := setup(t, llmtest.OpenAI)
	const events = "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\ndata: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"
	for _, answer := range []llmtest.Step{
		llmtest.Respond(200, "text/event-stream;charset=utf-8", events),
		llmtest.Respond(200, "text/plain", events),
		llmtest.Respond(200, "application/json", events),
		llmtest.Respond(200, "application/json", ": a comment\n\n"+events),
		llmtest.Respond(200, "text/event-stream", "\uFEFF"+events),
		llmtest.Respond(200, "text/event-stream", strings.ReplaceAll(events, "\n", "\r\n")),
	} {
		b.says(answer)
		got, h, err := b.stream(t, ask("x"))
		if err != nil || got.Finish != chat.Stop || h.text(chat.TextDelta) != "hi" {
			t.Errorf("%+v, %q, %v", got, h.text(chat.TextDelta), err)
		}
	}
}

func TestACancelledCallReturnsItsCause(t *testing.T) {
	t.Parallel()
	cause := errors.New("somebody else has the chat now")
	for name, text := range map[string]string{
		"before the header": "#silence",
		"before a token":    "#tokens=9 #silence=0",
		"between tokens":    "#tokens=9 #silence=3",
		"slow":              "#tokens=1000 #delay=1ms",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bothWires(t, func(t *testing.T, b bundle) {
				ctx, cancel := context.WithCancelCause(limit(t))
				h := &heard{}
				go func() {
					defer cancel(cause)
					_ = b.provider.Await(ctx, func(calls []llmtest.Call) bool { return len(calls) == 1 })
				}()
				if _, err := b.model.Stream(ctx, ask(text), h.emit); !errors.Is(err, cause) {
					t.Errorf("error is %v, want the cause", err)
				}
				left := func(calls []llmtest.Call) bool { return calls[0].Outcome == llmtest.Left }
				if err := b.provider.Await(limit(t), left); err != nil {
					t.Errorf("the provider still talks: %v", err)
				}
			})
		})
	}
}

func TestNothingIsSaidAfterTheCancel(t *testing.T) {
	t.Parallel()
	bothWires(t, func(t *testing.T, b bundle) {
		cause := errors.New("lease lost")
		ctx, cancel := context.WithCancelCause(limit(t))
		h := &heard{first: func() { cancel(cause) }}
		_, err := b.model.Stream(ctx, ask("#tokens=500"), h.emit)
		if !errors.Is(err, cause) || len(h.deltas) != 1 {
			t.Errorf("%d deltas and error %v, want one and the cause", len(h.deltas), err)
		}
	})
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	for _, wire := range []llmtest.Wire{llmtest.OpenAI, llmtest.Anthropic} {
		t.Run(string(wire), func(t *testing.T) {
			t.Parallel()
			b, dials := countDials(t, wire)
			for _, text := range []string{"a b c", "#status=500", "#tokens=50", "#status=429", "d"} {
				_, _, _ = b.stream(t, ask(text))
			}
			equal(t, "connections", int64(1), dials.Load())
		})
	}
}

func TestAServerThatDoesNotHangUpCostsItsConnectionOnly(t *testing.T) {
	t.Parallel()
	bothWires(t, func(t *testing.T, b bundle) {
		b.says(llmtest.Text("done"), llmtest.Finish("stop"), llmtest.Silence())
		answer, h, err := b.stream(t, ask("x"))
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "finish", chat.Stop, answer.Finish)
		equal(t, "text", "done", h.text(chat.TextDelta))
	})
}

func countDials(t *testing.T, wire llmtest.Wire) (bundle, *atomic.Int64) {
	t.Helper()
	var dials atomic.Int64
	p := llmtest.New(t)
	cfg := config(p)
	cfg.Transport = &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials.Add(1)
		return (&net.Dialer{Timeout: time.Second}).DialContext(ctx, network, addr)
	}}
	models := llm.New(cfg, slog.New(slog.DiscardHandler))
	t.Cleanup(models.Close)
	model, _, err := models.Resolve(string(wire) + "/test-model")
	if err != nil {
		t.Fatal(err)
	}
	return bundle{p, model, wire}, &dials
}
