package responses

import (
	"processor/internal/chat"
	"processor/internal/gateway/wire"
)

// event is one event of a response's stream. Fields that a type lacks are left out.
type event struct {
	Type           string  `json:"type"`
	SequenceNumber int64   `json:"sequence_number"`
	Response       *object `json:"response,omitempty"`
	OutputIndex    *int64  `json:"output_index,omitempty"`
	ContentIndex   *int    `json:"content_index,omitempty"`
	ItemID         string  `json:"item_id,omitempty"`
	Item           *item   `json:"item,omitempty"`
	Part           *part   `json:"part,omitempty"`
	Delta          *string `json:"delta,omitempty"`
	Text           *string `json:"text,omitempty"`
	Logprobs       *[]any  `json:"logprobs,omitempty"`
	Arguments      *string `json:"arguments,omitempty"`
	Name           string  `json:"name,omitempty"`
}

func (e event) frame() (wire.Frame, error) {
	raw, err := chat.Marshal(e)
	return wire.Frame{Event: e.Type, Data: raw}, err
}

// What is open after an event: the low bits of its number.
const (
	nothing      = 0
	thinking     = 1 // a reasoning item
	talking      = 2 // a message
	talkingAfter = 3 // a message that follows a reasoning item
	stride       = 4

	// voidNumber ends the open item of a voided attempt; deltaNumbers is where deltas end, and the rest of a text comes whole.
	attemptNumbers = 1_000_000
	voidNumber     = attemptNumbers - stride
	deltaNumbers   = attemptNumbers - 40_000
)

// projector turns the events of one turn into those of the protocol. It sees all of them, and gives out those after a cursor.
type projector struct {
	state

	log    *chat.TurnLog
	cursor int64

	attempt int64
	// last is the number of the attempt's last event, without the attempt; kept the last one that is committed.
	last, kept int64
	// index is the output_index of the open step's first item.
	index   int64
	open    int64
	thought string
	out     []event
	over    bool
}

func newProjector(r ref, model string, after int64) *projector {
	return &projector{
		state: state{ref: r, model: model}, log: chat.NewTurnLog(r.turn, chat.MarkOf(-1)), cursor: after, last: -stride, kept: -stride,
	}
}

// apply takes one event of the chat and returns what it adds to the response.
func (p *projector) apply(e chat.Event) []event {
	p.out = nil
	for _, t := range p.log.Apply(e) {
		p.take(t)
	}
	return p.out
}

func (p *projector) take(t chat.TurnEvent) {
	if t.Type == chat.TurnGone {
		p.gone()
		return
	}
	if t.Type == chat.TurnVoided {
		p.abandon()
		return
	}
	p.raise(t.Attempt)
	switch t.Type {
	case chat.TurnOpened:
		p.messages = []chat.Message{*t.Message}
		p.lifecycle("response.created", p.opening(queued))
		p.lifecycle("response.in_progress", p.opening(inProgress))
		p.kept = p.last
	case chat.TurnDelta:
		p.delta(*t.Delta)
	case chat.TurnStep, chat.TurnEnded:
		p.commit(t.Message)
	case chat.TurnVoided, chat.TurnGone:
	}
}

// raise begins another attempt. What was open is closed, also for who knows of it by a cursor only.
func (p *projector) raise(attempt int64) {
	if attempt == p.attempt {
		return
	}
	p.abandon()
	if c := p.cursor / attemptNumbers; p.cursor >= 0 && c > p.attempt && c < attempt { // the cursor's attempt left nothing else
		p.attempt, p.last, p.kept, p.index, p.open = c, -stride, -stride, block(p.messages[0].Epoch, c), nothing
		p.abandon()
	}
	p.attempt, p.last, p.kept, p.index, p.open, p.thought = attempt, -stride, -stride, block(p.messages[0].Epoch, attempt), nothing, ""
}

// abandon closes the open item of a voided attempt, the same for everybody who has seen it, however much of it.
func (p *projector) abandon() {
	open := p.open
	if p.cursor/attemptNumbers == p.attempt && p.cursor >= 0 {
		if c := p.cursor % attemptNumbers; c > p.kept && c > p.last && c < voidNumber {
			open = c % stride
		}
	}
	p.open = nothing
	if open != nothing {
		p.last = voidNumber - stride
		p.dropped(open)
	}
}

// dropped closes an item of which nothing is kept.
func (p *projector) dropped(open int64) {
	it := p.messageItem(p.index, incomplete)
	switch open {
	case thinking:
		it = p.reasoningItem(p.index, incomplete)
	case talkingAfter:
		it = p.messageItem(p.index+1, incomplete)
	}
	p.emit(event{Type: "response.output_item.done", OutputIndex: &it.index, Item: &it}, nothing)
}

func (p *projector) emit(e event, open int64) {
	p.last += stride - p.last%stride
	p.open = open
	p.last += open
	e.SequenceNumber = p.attempt*attemptNumbers + p.last
	if e.SequenceNumber > p.cursor {
		p.out = append(p.out, e)
	}
}

func (p *projector) lifecycle(kind string, o object) {
	p.emit(event{Type: kind, Response: &o}, nothing)
}

// delta shows a piece of the open step. What is thought after something was said is shown when it is committed.
func (p *projector) delta(d chat.Delta) {
	if d.Kind == chat.ReasoningDelta {
		if p.open == talking || p.open == talkingAfter {
			return
		}
		if p.open == nothing {
			it := p.reasoningItem(p.index, inProgress)
			p.added(it, reasoningText(""), thinking)
		}
		p.thought += d.Text
		p.piece("response.reasoning_text.delta", p.item("rs", p.index), p.index, d.Text, nil)
		return
	}
	if p.open == nothing || p.open == thinking {
		open, index := int64(talking), p.index
		if p.open == thinking {
			open, index = talkingAfter, p.index+1
			p.closeThought(completed)
		}
		p.added(p.messageItem(index, inProgress), outputText(""), open)
	}
	index := p.index
	if p.open == talkingAfter {
		index++
	}
	p.piece("response.output_text.delta", p.item("msg", index), index, d.Text, none())
}

func (p *projector) added(it item, first part, open int64) {
	zero := 0
	p.emit(event{Type: "response.output_item.added", OutputIndex: &it.index, Item: &it}, open)
	p.emit(event{Type: "response.content_part.added", OutputIndex: &it.index, ContentIndex: &zero, ItemID: it.ID, Part: &first}, open)
}

func (p *projector) piece(kind, id string, index int64, text string, logprobs *[]any) {
	zero := 0
	if p.last < deltaNumbers {
		p.emit(event{Type: kind, OutputIndex: &index, ContentIndex: &zero, ItemID: id, Delta: &text, Logprobs: logprobs}, p.open)
	}
}

func (p *projector) closeThought(status string) {
	p.done(p.reasoningItem(p.index, status, reasoningText(p.thought)))
}

// done closes an item whose content was streamed.
func (p *projector) done(it item) {
	zero, open := 0, p.open
	content := (*it.Content)[0]
	e := event{Type: "response.reasoning_text.done", OutputIndex: &it.index, ContentIndex: &zero, ItemID: it.ID, Text: &content.Text}
	if it.Type == "message" {
		e.Type, e.Logprobs = "response.output_text.done", none()
	}
	p.emit(e, open)
	p.emit(event{Type: "response.content_part.done", OutputIndex: &it.index, ContentIndex: &zero, ItemID: it.ID, Part: &content}, open)
	p.emit(event{Type: "response.output_item.done", OutputIndex: &it.index, Item: &it}, nothing)
}

// commit brings a message: it closes what was streamed of it and shows the rest, and ends the response if the message ends the turn.
func (p *projector) commit(m *chat.Message) {
	p.messages = append(p.messages, *m)
	open, first := p.open, p.index
	for _, it := range p.itemsOf(m, first) {
		switch {
		case it.Type == "reasoning" && it.index == first && open == talkingAfter:
			// closed when the message began
		case it.Type == "reasoning" && it.index == first && open == thinking, it.Type == "message" && open >= talking:
			p.done(it)
		default:
			p.whole(it)
		}
		p.index = it.index + 1
	}
	if p.open != nothing { // what was streamed could not be stored
		p.dropped(p.open)
	}
	p.open, p.thought = nothing, ""
	if m.Ends() {
		o := p.object("")
		kind := "response." + o.Status
		if o.Status == cancelled {
			kind = "response.incomplete" // official clients throw on any other event
		}
		p.lifecycle(kind, o)
		p.over = true
	}
	p.kept = p.last
}

// whole shows an item that was not streamed.
func (p *projector) whole(it item) {
	begun := it
	begun.Status = inProgress
	p.emit(event{Type: "response.output_item.added", OutputIndex: &it.index, Item: &begun}, nothing)
	if it.Type == "function_call" {
		p.emit(event{Type: "response.function_call_arguments.done", OutputIndex: &it.index, ItemID: it.ID, Name: it.Name, Arguments: it.Arguments}, nothing)
	}
	p.emit(event{Type: "response.output_item.done", OutputIndex: &it.index, Item: &it}, nothing)
}

// gone ends the stream of a response that was deleted while it was watched.
func (p *projector) gone() {
	p.over = true
	if len(p.messages) == 0 {
		return
	}
	o := p.opening(failed)
	o.Error = &cause{"server_error", "the response was deleted"}
	p.out = append(p.out, event{Type: "response.failed", SequenceNumber: p.attempt*attemptNumbers + attemptNumbers - 1, Response: &o})
}
