package uistream

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"processor/internal/chat"
)

// chunk is one piece of a UI message stream.
type chunk struct {
	Type         string `json:"type"`
	MessageID    string `json:"messageId,omitempty"`
	ID           string `json:"id,omitempty"`
	Delta        string `json:"delta,omitempty"`
	Reason       string `json:"reason,omitempty"`
	ErrorText    string `json:"errorText,omitempty"`
	FinishReason string `json:"finishReason,omitempty"`
}

// The kinds of chunks that are looked at again.
const (
	startChunk  = "start"
	resetChunk  = "reset-step"
	finishChunk = "finish"
)

func (c chunk) data() []byte {
	raw, err := json.Marshal(c)
	if err != nil {
		panic("a chunk of strings: " + err.Error())
	}
	return raw
}

// answerID is the id of a turn's answer, fixed when its message is accepted.
func answerID(id chat.ID, turn int) string { return "msg_" + string(id) + "_" + strconv.Itoa(turn) }

// answeredTurn is the turn of an answer's id, zero if it is none of the chat's.
func answeredTurn(id chat.ID, answer string) int {
	text, ok := strings.CutPrefix(answer, "msg_"+string(id)+"_")
	turn, err := strconv.Atoi(text)
	if !ok || err != nil || turn < 1 {
		return 0
	}
	return turn
}

// projection turns the events of a turn into chunks.
type projection struct {
	id string
	// steady is for clients that can't take anything back.
	steady bool

	parts int
	open  chat.DeltaKind // of the part that is open, empty for none
	kept  []said         // what is committed
	step  []said         // what is said of the open step
	// shown is what a steady client saw of the open step when that was voided; the next attempt has to say it again.
	shown string
	over  bool
	// failed: it ended otherwise than the answer did, so an index does not count what ended it.
	failed bool
}

// said is a delta; one without a kind ends a step.
type said chat.Delta

// apply adds one event. Nothing comes after the chunk that finishes.
func (p *projection) apply(e chat.TurnEvent) []chunk {
	if p.over {
		return nil
	}
	switch e.Type {
	case chat.TurnOpened:
		return []chunk{{Type: startChunk, MessageID: p.id}, {Type: "start-step"}}
	case chat.TurnDelta:
		return p.say(said(*e.Delta))
	case chat.TurnStep:
		return p.commit()
	case chat.TurnEnded:
		return p.end(e.Message)
	case chat.TurnVoided:
		return p.void()
	case chat.TurnGone:
		return p.fail("the chat was deleted, or somebody edited what came before this answer")
	}
	return nil
}

// say adds a delta to the open step.
func (p *projection) say(d said) []chunk {
	p.step = append(p.step, d)
	if p.shown == "" {
		return p.show(d)
	}
	now := flat(p.step)
	switch {
	case now == p.shown:
		p.shown = ""
		return nil
	case strings.HasPrefix(p.shown, now):
		return nil
	case strings.HasPrefix(now, p.shown):
		rest := strings.TrimPrefix(now[len(p.shown):], mark(d.Kind))
		p.shown = ""
		return p.show(said{Kind: d.Kind, Text: rest})
	default:
		return p.diverged()
	}
}

// show makes the chunks of a delta.
func (p *projection) show(d said) []chunk {
	var out []chunk
	if d.Kind != p.open {
		out = append(p.close(), chunk{Type: string(d.Kind) + "-start", ID: p.part()})
		p.open = d.Kind
	}
	return append(out, chunk{Type: string(d.Kind) + "-delta", ID: p.part(), Delta: d.Text})
}

// part is the id of the open part, or of the next one.
func (p *projection) part() string { return strconv.Itoa(p.parts) }

// close ends the open part.
func (p *projection) close() []chunk {
	if p.open == "" {
		return nil
	}
	end := chunk{Type: string(p.open) + "-end", ID: p.part()}
	p.open = ""
	p.parts++
	return []chunk{end}
}

// commit ends a step. What a later attempt voids is not this any more.
func (p *projection) commit() []chunk {
	if p.shown != "" {
		return p.diverged()
	}
	p.kept = append(append(p.kept, p.step...), said{})
	p.step = nil
	return p.close()
}

// void takes the open step back.
func (p *projection) void() []chunk {
	if p.steady {
		if p.shown == "" { // else the attempt that was voided now had not come as far as the one before
			p.shown = flat(p.step)
		}
		p.step = nil
		return nil
	}
	p.step = nil
	return p.replay(p.kept)
}

// reset shows all that is known of the answer to a client that may have seen anything.
func (p *projection) reset() []chunk { return p.replay(slices.Concat(p.kept, p.step)) }

func (p *projection) replay(all []said) []chunk {
	out := []chunk{{Type: resetChunk}}
	p.parts, p.open = 0, ""
	for _, d := range all {
		if d.Kind == "" {
			out = append(out, p.close()...)
		} else {
			out = append(out, p.show(d)...)
		}
	}
	return out
}

// end closes the answer as its last message says.
func (p *projection) end(m *chat.Message) []chunk {
	cut := m.Finish == chat.Interrupted || m.Finish == chat.Failed
	if p.shown != "" && !cut { // one that was cut off may keep less than was seen
		return p.diverged()
	}
	p.over = true
	out := append(p.close(), chunk{Type: "finish-step"})
	switch m.Finish {
	case chat.Length:
		return append(out, chunk{Type: finishChunk, FinishReason: "length"})
	case chat.Interrupted:
		return append(out, chunk{Type: "abort", Reason: "interrupted"}, chunk{Type: finishChunk, FinishReason: "other"})
	case chat.Failed:
		cause := chat.TurnError{Code: "error", Message: "no cause was given"}
		if m.Error != nil {
			cause = *m.Error
		}
		return append(out, failure(cause.Code+": "+cause.Message)...)
	case chat.Stop:
	}
	return append(out, chunk{Type: finishChunk, FinishReason: "stop"})
}

// fail ends the stream without the answer's own end.
func (p *projection) fail(why string) []chunk {
	p.over, p.failed = true, true
	return append(p.close(), failure(why)...)
}

func (p *projection) diverged() []chunk {
	return p.fail("the answer was generated again and differs from what is shown: load the chat again")
}

func failure(why string) []chunk {
	return []chunk{{Type: "error", ErrorText: why}, {Type: finishChunk, FinishReason: "error"}}
}

// flat makes deltas comparable however they were cut. NUL is in no text.
func flat(all []said) string {
	var b strings.Builder
	var kind chat.DeltaKind
	for _, d := range all {
		if d.Kind != kind {
			b.WriteString(mark(d.Kind))
			kind = d.Kind
		}
		b.WriteString(d.Text)
	}
	return b.String()
}

func mark(k chat.DeltaKind) string { return "\x00" + string(k) + "\x00" }
