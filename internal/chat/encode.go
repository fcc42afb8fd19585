package chat

import (
	"encoding/json"
	"time"

	"processor/internal/jsonout"
)

// What a turn publishes, answers and stores is encoded here, several times a turn: fields in the order of the struct, calls that are known when
// this is compiled, so that nothing is allocated but what is written.

// write writes what is encoded often, and reports false of anything else.
func write(w *jsonout.Writer, v any) bool {
	switch v := v.(type) {
	case *Event:
		v.WriteJSON(w)
	case *Partial:
		v.WriteJSON(w)
	case *Chat:
		v.WriteJSON(w)
	case []Part:
		writeParts(w, v)
	case CreateReply:
		v.WriteJSON(w)
	case SendReply:
		v.WriteJSON(w)
	case ChatReply:
		v.WriteJSON(w)
	case MessagesReply:
		v.WriteJSON(w)
	case Snapshot:
		v.WriteJSON(w)
	default:
		return false
	}
	return true
}

func writeParts(w *jsonout.Writer, parts []Part) {
	if parts == nil {
		w.Null()
		return
	}
	w.Open('[')
	for i := range parts {
		w.Next()
		parts[i].WriteJSON(w)
	}
	w.Close(']')
}

func writeMessages(w *jsonout.Writer, messages []Message) {
	if messages == nil {
		w.Null()
		return
	}
	w.Open('[')
	for i := range messages {
		w.Next()
		messages[i].WriteJSON(w)
	}
	w.Close(']')
}

// WriteJSON writes what Marshal makes of it.
func (e *Event) WriteJSON(w *jsonout.Writer) {
	w.Open('{')
	w.Key("type").String(string(e.Type))
	w.Key("chat").String(string(e.Chat))
	w.Key("number").Int(int64(e.Number))
	w.OptString("tenant", e.Tenant)
	w.Key("turn").Int(int64(e.Turn))
	w.Key("version").Int(e.Version)
	w.Key("epoch").Int(e.Epoch)
	w.Key("step").Int(int64(e.Step))
	w.OptInt("place", int64(e.Place))
	w.Key("seq").Int(e.Seq)
	w.Key("at").Time(e.At)
	w.OptString("status", string(e.Status))
	if e.Worker != nil {
		w.Key("worker").String(string(*e.Worker))
	}
	w.OptString("reason", e.Reason)
	if e.Message != nil {
		e.Message.WriteJSON(w.Key("message"))
	}
	w.OptInt("message_id", e.MessageID)
	w.OptInt("removed_from", e.RemovedFrom)
	if e.Delta != nil {
		e.Delta.WriteJSON(w.Key("delta"))
	}
	if e.Retry != nil {
		e.Retry.WriteJSON(w.Key("retry"))
	}
	w.Close('}')
}

// WriteJSON writes what Marshal makes of it.
func (d *Delta) WriteJSON(w *jsonout.Writer) {
	w.Open('{')
	w.Key("kind").String(string(d.Kind))
	w.Key("text").String(d.Text)
	w.Close('}')
}

// WriteJSON writes what Marshal makes of it.
func (n *RetryNote) WriteJSON(w *jsonout.Writer) {
	w.Open('{')
	w.Key("attempt").Int(int64(n.Attempt))
	w.Key("at").Time(n.At)
	w.Key("error").String(n.Error)
	w.Close('}')
}

// WriteJSON writes what Marshal makes of it.
func (p *Partial) WriteJSON(w *jsonout.Writer) {
	w.Open('{')
	w.Key("chat").String(string(p.Chat))
	w.Key("number").Int(int64(p.Number))
	w.Key("turn").Int(int64(p.Turn))
	w.Key("step").Int(int64(p.Step))
	w.Key("epoch").Int(p.Epoch)
	w.Key("seq").Int(p.Seq)
	writeParts(w.Key("parts"), p.Parts)
	jsonout.Ints(w.Key("chunks"), p.Chunks)
	w.Close('}')
}

// WriteJSON writes what Marshal makes of it.
func (m *Message) WriteJSON(w *jsonout.Writer) {
	w.Open('{')
	if w.Key("id"); m.ID == nil {
		w.Null()
	} else {
		w.Int(*m.ID)
	}
	w.Key("chat").String(string(m.Chat))
	w.Key("turn").Int(int64(m.Turn))
	w.Key("step").Int(int64(m.Step))
	w.Key("epoch").Int(m.Epoch)
	w.Key("role").String(string(m.Role))
	writeParts(w.Key("parts"), m.Parts)
	if len(m.Chunks) > 0 {
		jsonout.Ints(w.Key("chunks"), m.Chunks)
	}
	w.OptString("model", m.Model)
	w.OptRaw("params", m.Params)
	if m.Usage != nil {
		m.Usage.WriteJSON(w.Key("usage"))
	}
	w.OptString("finish", string(m.Finish))
	if m.Error != nil {
		m.Error.WriteJSON(w.Key("error"))
	}
	w.OptString("client_id", m.ClientID)
	w.Key("created_at").Time(m.CreatedAt)
	w.Close('}')
}

// WriteJSON writes what Marshal makes of it.
func (p *Part) WriteJSON(w *jsonout.Writer) {
	w.Open('{')
	w.Key("type").String(string(p.Type))
	w.OptString("text", p.Text)
	w.OptString("call_id", p.CallID)
	w.OptString("name", p.Name)
	w.OptRaw("input", p.Input)
	w.OptBool("failed", p.Failed)
	w.Close('}')
}

// WriteJSON writes what Marshal makes of it.
func (u *Usage) WriteJSON(w *jsonout.Writer) {
	w.Open('{')
	w.Key("input_tokens").Int(u.InputTokens)
	w.Key("output_tokens").Int(u.OutputTokens)
	w.Close('}')
}

// WriteJSON writes what Marshal makes of it.
func (e *TurnError) WriteJSON(w *jsonout.Writer) {
	w.Open('{')
	w.Key("code").String(e.Code)
	w.Key("message").String(e.Message)
	if !e.At.IsZero() {
		w.Key("at").Time(e.At)
	}
	w.OptInt("attempts", int64(e.Attempts))
	w.Close('}')
}

// WriteJSON writes what Marshal makes of it. interrupt_requested is derived.
func (c *Chat) WriteJSON(w *jsonout.Writer) {
	w.Open('{')
	w.Key("number").Int(int64(c.Number))
	w.Key("id").String(string(c.ID))
	w.Key("tenant").String(c.Tenant)
	w.Key("title").String(c.Title)
	w.Key("model").String(c.Model)
	w.Key("system").String(c.System)
	if w.Key("metadata"); len(c.Metadata) == 0 {
		w.Raw(json.RawMessage("{}"))
	} else {
		w.Raw(c.Metadata)
	}
	w.Key("status").String(string(c.Status))
	w.Key("version").Int(c.Version)
	w.Key("turn").Int(int64(c.Turn))
	w.Key("step").Int(int64(c.Step))
	w.Key("epoch").Int(c.Epoch)
	w.OptInt("void_epoch", c.Void)
	if w.Key("worker"); c.Worker == nil {
		w.Null()
	} else {
		w.String(string(*c.Worker))
	}
	timeOrNull(w.Key("claimed_at"), c.ClaimedAt)
	w.Key("attempts").Int(int64(c.Attempts))
	timeOrNull(w.Key("retry_at"), c.RetryAt)
	w.Key("takeovers").Int(int64(c.Takeovers))
	w.Key("recoveries").Int(int64(c.Recoveries))
	w.OptInt("interrupt_turn", int64(c.InterruptTurn))
	w.Key("queued").Int(int64(c.Queued))
	if w.Key("last_error"); c.LastError == nil {
		w.Null()
	} else {
		c.LastError.WriteJSON(w)
	}
	w.Key("created_at").Time(c.CreatedAt)
	w.Key("updated_at").Time(c.UpdatedAt)
	w.Key("interrupt_requested").Bool(c.InterruptRequested())
	w.Close('}')
}

// MarshalJSON is for encoding/json, which would not know interrupt_requested.
func (c Chat) MarshalJSON() ([]byte, error) { return Marshal(&c) }

func timeOrNull(w *jsonout.Writer, t *time.Time) {
	if t == nil {
		w.Null()
	} else {
		w.Time(*t)
	}
}

// WriteJSON writes what Marshal makes of it.
func (r *CreateReply) WriteJSON(w *jsonout.Writer) {
	w.Open('{')
	r.Chat.WriteJSON(w.Key("chat"))
	if r.Message != nil {
		r.Message.WriteJSON(w.Key("message"))
	}
	w.Close('}')
}

// WriteJSON writes what Marshal makes of it.
func (r *SendReply) WriteJSON(w *jsonout.Writer) {
	w.Open('{')
	r.Chat.WriteJSON(w.Key("chat"))
	r.Message.WriteJSON(w.Key("message"))
	w.Key("queued").Bool(r.Queued)
	w.Close('}')
}

// WriteJSON writes what Marshal makes of it.
func (r *ChatReply) WriteJSON(w *jsonout.Writer) {
	w.Open('{')
	r.Chat.WriteJSON(w.Key("chat"))
	w.Close('}')
}

// WriteJSON writes what Marshal makes of it.
func (r *MessagesReply) WriteJSON(w *jsonout.Writer) {
	w.Open('{')
	writeMessages(w.Key("messages"), r.Messages)
	w.OptInt("next", r.Next)
	w.Close('}')
}

// WriteJSON writes what Marshal makes of it.
func (s *Snapshot) WriteJSON(w *jsonout.Writer) {
	w.Open('{')
	s.Chat.WriteJSON(w.Key("chat"))
	writeMessages(w.Key("messages"), s.Messages)
	if s.Kept != nil {
		w.Key("kept").Int(*s.Kept)
	}
	w.OptInt("next", s.Next)
	if s.Partial != nil {
		s.Partial.WriteJSON(w.Key("partial"))
	}
	w.Close('}')
}
