package llm

import "processor/internal/jsonout"

// encode writes what encoding/json would, without its reflection: the whole history goes out again with every step of a turn.
func (r *openAIRequest) encode() ([]byte, error) {
	w := jsonout.To(make([]byte, 0, r.size()))
	w.Open('{')
	w.Key("model").String(r.Model)
	w.Key("messages").Open('[')
	for i := range r.Messages {
		w.Next()
		r.Messages[i].write(&w)
	}
	w.Close(']')
	w.Key("stream").Bool(r.Stream)
	if o := r.StreamOptions; o != nil {
		w.Key("stream_options").Open('{')
		w.Key("include_usage").Bool(o.IncludeUsage)
		w.Close('}')
	}
	w.OptInt("max_tokens", int64(r.MaxTokens))
	w.OptInt("max_completion_tokens", int64(r.MaxCompletionTokens))
	w.OptFloat("temperature", r.Temperature)
	w.OptFloat("top_p", r.TopP)
	if len(r.Tools) > 0 {
		w.Key("tools").Open('[')
		for i := range r.Tools {
			w.Next()
			r.Tools[i].write(&w)
		}
		w.Close(']')
	}
	w.Close('}')
	return w.Bytes()
}

// size is about how many bytes are written: texts without what is escaped in them, and enough for the names of the fields.
func (r *openAIRequest) size() int {
	n := 192 + len(r.Model)
	for i := range r.Messages {
		m := &r.Messages[i]
		n += 40
		if m.Content != nil {
			n += len(*m.Content)
		}
		for j := range m.ToolCalls {
			n += 128 + len(m.ToolCalls[j].Function.Arguments)
		}
	}
	for i := range r.Tools {
		n += 128 + len(r.Tools[i].Function.Description) + len(r.Tools[i].Function.Parameters)
	}
	return n
}

func (m *openAIMessage) write(w *jsonout.Writer) {
	w.Open('{')
	w.Key("role").String(m.Role)
	if m.Content != nil {
		w.Key("content").String(*m.Content)
	}
	if len(m.ToolCalls) > 0 {
		w.Key("tool_calls").Open('[')
		for i := range m.ToolCalls {
			w.Next()
			m.ToolCalls[i].write(w)
		}
		w.Close(']')
	}
	w.OptString("tool_call_id", m.ToolCallID)
	w.Close('}')
}

func (c *openAICall) write(w *jsonout.Writer) {
	w.Open('{')
	w.Key("id").String(c.ID)
	w.Key("type").String(c.Type)
	w.Key("function").Open('{')
	w.Key("name").String(c.Function.Name)
	w.Key("arguments").String(c.Function.Arguments)
	w.Close('}')
	w.Close('}')
}

func (t *openAITool) write(w *jsonout.Writer) {
	w.Open('{')
	w.Key("type").String(t.Type)
	w.Key("function").Open('{')
	w.Key("name").String(t.Function.Name)
	w.OptString("description", t.Function.Description)
	w.Key("parameters").Raw(t.Function.Parameters)
	w.Close('}')
	w.Close('}')
}
