package chat

import "time"

// EventType is the kind of a live event.
type EventType string

// The live events of DESIGN section 7.
const (
	StatusEvent  EventType = "status"
	MessageEvent EventType = "message"
	RemovedEvent EventType = "removed"
	DeletedEvent EventType = "deleted"
	DeltaEvent   EventType = "delta"
	RetryEvent   EventType = "retry"
	// VoidEvent is never published: a Transcript makes it when what was shown of an uncommitted step is void.
	VoidEvent EventType = "void"
)

// Event is one live event of a chat. What the owner streams (delta, retry) is ordered by Epoch and Seq, seq rising by one within an
// epoch; status is ordered by Version; message is known by its id. Publishers need no common order, and any event
// may be lost: a watcher that sees a gap reads the row again (I1, I10).
type Event struct {
	Type   EventType `json:"type"`
	Chat   ID        `json:"chat"`
	Number Number    `json:"number"`
	// Tenant is the chat's, of what the owner streams not told.
	Tenant  string `json:"tenant,omitempty"`
	Turn    int    `json:"turn"`
	Version int64  `json:"version"`
	Epoch   int64  `json:"epoch"`
	Step    int    `json:"step"`
	// Place numbers the messages of one transition from 1.
	Place int `json:"place,omitempty"`
	// Seq numbers deltas from 1 within an epoch; other events carry the last one published.
	Seq int64     `json:"seq"`
	At  time.Time `json:"at"`

	Status  Status    `json:"status,omitempty"`
	Worker  *WorkerID `json:"worker,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	Message *Message  `json:"message,omitempty"`
	// MessageID is the message's id: of one too large for an event, of one removed, and in a status event the last one that the
	// transition wrote.
	MessageID int64 `json:"message_id,omitempty"`
	// RemovedFrom says in every event of a transition that removed messages where they began: those from this id on are gone, in a
	// removed event up to MessageID.
	RemovedFrom int64      `json:"removed_from,omitempty"`
	Delta       *Delta     `json:"delta,omitempty"`
	Retry       *RetryNote `json:"retry,omitempty"`
}

// RetryNote tells watchers that the partial is void and when the model is called again.
type RetryNote struct {
	Attempt int       `json:"attempt"`
	At      time.Time `json:"at"`
	Error   string    `json:"error"`
}

// Partial is what an owner has streamed of a step that is not committed yet.
type Partial struct {
	Chat   ID     `json:"chat"`
	Number Number `json:"number"`
	Turn   int    `json:"turn"`
	Step   int    `json:"step"`
	Epoch  int64  `json:"epoch"`
	// Seq is the last delta's number in the epoch that Parts contain.
	Seq    int64   `json:"seq"`
	Parts  []Part  `json:"parts"`
	Chunks []int32 `json:"chunks"`
}

// Of reports whether the partial belongs to the row's open step and was not voided by a retry.
func (p Partial) Of(c Chat) bool {
	return p.Number == c.Number && p.Turn == c.Turn && p.Step == c.Step && p.Epoch > c.Void && p.Epoch <= c.Epoch
}

// Snapshot is a chat as Postgres holds it, with the messages after a given one and, where its owner could be asked, the
// partial so far.
type Snapshot struct {
	Chat     Chat      `json:"chat"`
	Messages []Message `json:"messages"`
	// Kept is the newest message up to the given one, zero for none: what a reader has beyond it was removed. Releases that can't
	// tell leave it out.
	Kept *int64 `json:"kept,omitempty"`
	// Next is the id after which more messages follow, zero for none.
	Next    int64    `json:"next,omitempty"`
	Partial *Partial `json:"partial,omitempty"`
}

// Events lists what a committed transition has to tell watchers: payloads first, the status last, so that nobody sees
// "done" before the answer is there.
func (o Outcome) Events(reason string) []Event {
	c := o.Chat
	base := Event{Chat: c.ID, Number: c.Number, Tenant: c.Tenant, Turn: c.Turn, Version: c.Version, Epoch: c.Epoch, Step: c.Step, At: c.UpdatedAt}
	events := make([]Event, 0, len(o.Messages)+2)
	if n := len(o.Removed); n > 0 {
		base.RemovedFrom = o.Kept + 1
		e := base
		e.Type, e.MessageID = RemovedEvent, o.Removed[n-1]
		events = append(events, e)
	}
	for i := range o.Messages {
		e, m := base, o.Messages[i]
		e.Type, e.Message, e.MessageID, e.Place = MessageEvent, &m, *m.ID, i+1
		e.Turn, e.Step, e.Epoch = m.Turn, m.Step, m.Epoch
		events = append(events, e)
	}
	if o.Changed {
		e := base
		e.Type, e.Status, e.Worker, e.Reason = StatusEvent, c.Status, c.Worker, reason
		if n := len(o.Messages); n > 0 {
			e.MessageID = *o.Messages[n-1].ID
		}
		events = append(events, e)
	}
	return events
}
