package llmtest

import (
	"fmt"
	"strconv"
)

// wire encodes an answer. Each method returns bytes that are good until the next call, so that a token costs the
// provider no allocation: it shares the machine with what is measured.
type wire interface {
	start(s *Stream) []byte
	text(s *Stream, text string) []byte
	reasoning(s *Stream, text string) []byte
	tool(s *Stream, id, name string) []byte
	input(s *Stream, piece string) []byte
	finish(s *Stream, reason string) []byte
	failure(e Error) []byte
	refusal(e Error) []byte
}

type openAIWire struct{}

func (openAIWire) chunk(s *Stream, parts ...string) []byte {
	b := append(s.buf[:0], `data: {"id":"chatcmpl-`...)
	b = strconv.AppendInt(b, int64(s.call.N), 10)
	b = append(b, `","object":"chat.completion.chunk","created":1700000000,"model":`...)
	b = appendString(b, s.call.Model)
	b = append(b, `,"system_fingerprint":"fp_1","choices":[{"index":0,"delta":{`...)
	for i, part := range parts {
		if i%2 == 1 {
			b = appendString(b, part)
		} else {
			b = append(b, part...)
		}
	}
	b = append(b, `},"logprobs":null,"finish_reason":null}]}`+"\n\n"...)
	s.buf = b
	return b
}

func (w openAIWire) start(s *Stream) []byte {
	return w.chunk(s, `"role":"assistant","content":""`)
}

func (w openAIWire) text(s *Stream, text string) []byte { return w.chunk(s, `"content":`, text) }

func (w openAIWire) reasoning(s *Stream, text string) []byte {
	return w.chunk(s, `"content":null,"reasoning_content":`, text)
}

func (w openAIWire) tool(s *Stream, id, name string) []byte {
	return w.chunk(s, `"tool_calls":[{"index":`+strconv.Itoa(s.tools-1)+`,"type":"function","id":`, id,
		`,"function":{"arguments":"","name":`, name, `}}]`)
}

func (w openAIWire) input(s *Stream, piece string) []byte {
	return w.chunk(s, `"tool_calls":[{"index":`+strconv.Itoa(s.tools-1)+`,"function":{"arguments":`, piece, `}}]`)
}

func (openAIWire) finish(s *Stream, reason string) []byte {
	const head = `data: {"id":"chatcmpl-%d","object":"chat.completion.chunk","created":1700000000,"model":%s,"choices":[`
	model := appendString(nil, s.call.Model)
	b := fmt.Appendf(s.buf[:0], head+`{"index":0,"delta":{},"finish_reason":%q}]}`+"\n\n", s.call.N, model, reason)
	in := len(Words(s.call.Text))
	b = fmt.Appendf(b, head+`],"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}}`+"\n\n",
		s.call.N, model, in, s.said, in+s.said)
	return append(b, "data: [DONE]\n\n"...)
}

func (w openAIWire) failure(e Error) []byte { return fmt.Appendf(nil, "data: %s\n\n", w.refusal(e)) }

func (openAIWire) refusal(e Error) []byte {
	b := append([]byte(nil), `{"error":{"message":`...)
	b = appendString(b, e.Message)
	b = append(b, `,"type":`...)
	b = appendString(b, e.Type)
	b = append(b, `,"param":null,"code":`...)
	if e.Code == "" {
		return append(b, `null}}`...)
	}
	return append(appendString(b, e.Code), `}}`...)
}

type anthropicWire struct{}

func (anthropicWire) start(s *Stream) []byte {
	s.buf = fmt.Appendf(s.buf[:0], "event: message_start\n"+
		`data: {"type":"message_start","message":{"id":"msg_%d","type":"message","role":"assistant","model":%s,"content":[],`+
		`"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":%d,"output_tokens":1}}}`+"\n\n"+
		"event: ping\ndata: {\"type\": \"ping\"}\n\n",
		s.call.N, appendString(nil, s.call.Model), len(Words(s.call.Text)))
	return s.buf
}

// enter opens a content block, and closes the one before it.
func (w anthropicWire) enter(s *Stream, block, start string) {
	s.buf = s.buf[:0]
	if s.block == block && block != "tool_use" {
		return
	}
	w.leave(s)
	s.block = block
	s.buf = fmt.Appendf(s.buf, "event: content_block_start\n"+
		`data: {"type":"content_block_start","index":%d,"content_block":%s}`+"\n\n", s.blocks, start)
}

func (anthropicWire) leave(s *Stream) {
	if s.block == "" {
		return
	}
	s.buf = fmt.Appendf(s.buf, "event: content_block_stop\n"+`data: {"type":"content_block_stop","index":%d}`+"\n\n", s.blocks)
	s.blocks++
	s.block = ""
}

func (anthropicWire) delta(s *Stream, field, text string) []byte {
	b := append(s.buf, "event: content_block_delta\n"+`data: {"type":"content_block_delta","index":`...)
	b = strconv.AppendInt(b, int64(s.blocks), 10)
	b = append(b, `,"delta":{"type":`...)
	b = append(b, field...)
	b = appendString(b, text)
	b = append(b, "}}\n\n"...)
	s.buf = b
	return b
}

func (w anthropicWire) text(s *Stream, text string) []byte {
	w.enter(s, "text", `{"type":"text","text":""}`)
	return w.delta(s, `"text_delta","text":`, text)
}

func (w anthropicWire) reasoning(s *Stream, text string) []byte {
	w.enter(s, "thinking", `{"type":"thinking","thinking":"","signature":""}`)
	return w.delta(s, `"thinking_delta","thinking":`, text)
}

func (w anthropicWire) tool(s *Stream, id, name string) []byte {
	start := append([]byte(nil), `{"type":"tool_use","id":`...)
	start = append(appendString(start, id), `,"name":`...)
	start = append(appendString(start, name), `,"input":{}}`...)
	w.enter(s, "tool_use", string(start))
	return s.buf
}

func (w anthropicWire) input(s *Stream, piece string) []byte {
	s.buf = s.buf[:0]
	return w.delta(s, `"input_json_delta","partial_json":`, piece)
}

func (w anthropicWire) finish(s *Stream, reason string) []byte {
	switch reason {
	case "stop":
		reason = "end_turn"
	case "length":
		reason = "max_tokens"
	case "tool_calls":
		reason = "tool_use"
	}
	s.buf = s.buf[:0]
	w.leave(s)
	s.buf = fmt.Appendf(s.buf, "event: message_delta\n"+
		`data: {"type":"message_delta","delta":{"stop_reason":%q,"stop_sequence":null},"usage":{"output_tokens":%d}}`+"\n\n"+
		"event: message_stop\n"+`data: {"type":"message_stop"}`+"\n\n", reason, s.said)
	return s.buf
}

func (w anthropicWire) failure(e Error) []byte {
	return fmt.Appendf(nil, "event: error\ndata: %s\n\n", w.refusal(e))
}

func (anthropicWire) refusal(e Error) []byte {
	b := append([]byte(nil), `{"type":"error","error":{"type":`...)
	b = append(appendString(b, e.Type), `,"message":`...)
	return append(appendString(b, e.Message), `},"request_id":"req_1"}`...)
}

// appendString writes a JSON string and leaves every byte above the control characters as it is: broken UTF-8 too, which
// no library would write and some providers do.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
