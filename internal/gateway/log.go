package gateway

import (
	"processor/internal/chat"
	"processor/internal/gateway/wire"
)

// told is one event as a client sees it. What is part of the transcript says nothing that depends on when it is seen: a replay has the same bytes.
type told struct {
	Type   chat.EventType `json:"type"`
	Chat   chat.ID        `json:"chat"`
	Number chat.Number    `json:"number"`
	Turn   int            `json:"turn"`
	Step   int            `json:"step,omitempty"`

	Delta   *chat.Delta   `json:"delta,omitempty"`
	Message *chat.Message `json:"message,omitempty"`
	// From is in a void event the cursor from which on the turn's events are withdrawn.
	From string `json:"from,omitempty"`

	// The others are of events about the row.
	Version     int64           `json:"version,omitempty"`
	Status      chat.Status     `json:"status,omitempty"`
	Worker      *chat.WorkerID  `json:"worker,omitempty"`
	Reason      string          `json:"reason,omitempty"`
	Retry       *chat.RetryNote `json:"retry,omitempty"`
	RemovedFrom int64           `json:"removed_from,omitempty"`
}

// resetEvent tells a client whose cursor is of another chat, or of a future that was lost, to forget what it has.
const resetEvent chat.EventType = "reset"

// chatLog makes the frames of one stream: a turn's log after another, and between their events those about the row.
type chatLog struct {
	chat   chat.ID
	number chat.Number
	turn   int
	log    *chat.TurnLog
	// begun is false until the cursor's turn was seen; after is the last message before that.
	begun bool
	after int64
	// brief leaves out the deltas of steps that were committed when the client came without a cursor.
	brief bool
	err   error
	// recent is shared with the streams beside it.
	recent *recent
}

// newChatLog goes on after a cursor; nil is from the beginning. The first message that it is given is the one after after.
func newChatLog(c chat.Chat, from *cursor, after int64, recent *recent) *chatLog {
	l := &chatLog{chat: c.ID, number: c.Number, brief: from == nil, after: after, recent: recent}
	if from != nil {
		l.turn, l.log = from.turn, chat.NewTurnLog(from.turn, from.Mark)
	}
	return l
}

// apply takes what a watcher emits and returns what the client has not seen.
func (l *chatLog) apply(e chat.Event) []wire.Frame {
	var frames []wire.Frame
	if e.Type == chat.MessageEvent && e.Message != nil && e.Message.Role == chat.User {
		frames = l.open(e)
	}
	if l.log != nil {
		for _, te := range l.log.Apply(e) {
			frames = append(frames, l.numbered(te)...)
		}
	}
	switch e.Type {
	case chat.StatusEvent:
		l.brief = false
	case chat.RemovedEvent, chat.RetryEvent, chat.DeletedEvent:
	default:
		return frames
	}
	return append(frames, l.frame("", told{
		Type: e.Type, Turn: e.Turn, Version: e.Version, Status: e.Status, Worker: e.Worker, Reason: e.Reason, Retry: e.Retry, RemovedFrom: e.RemovedFrom,
	}))
}

// open begins the turn of a user message. If that is not the cursor's turn, it was removed while the client was away, and so was all that it
// has from there on.
func (l *chatLog) open(e chat.Event) []wire.Frame {
	if l.log != nil && e.Turn == l.turn {
		l.begun = true
		return nil
	}
	var frames []wire.Frame
	if l.log != nil && !l.begun {
		frames = append(frames, l.frame("", told{Type: chat.RemovedEvent, Turn: e.Turn, RemovedFrom: l.after + 1}))
	}
	l.turn, l.log, l.begun = e.Turn, chat.NewTurnLog(e.Turn, chat.MarkOf(-1)), true
	return frames
}

func (l *chatLog) numbered(te chat.TurnEvent) []wire.Frame {
	at := cursor{l.number, l.turn, te.Mark}
	if te.Type == chat.TurnDelta {
		if l.brief {
			return nil
		}
		return []wire.Frame{l.recent.frame(deltaKey{l.chat, at, te.Step, *te.Delta}, func() wire.Frame {
			return l.frame(at.String(), told{Type: chat.DeltaEvent, Turn: l.turn, Step: te.Step, Delta: te.Delta})
		})}
	}
	id := at.String()
	switch te.Type {
	case chat.TurnVoided:
		from := cursor{l.number, l.turn, chat.Mark{Attempt: te.Attempt, Place: te.Kept + 1}}
		return []wire.Frame{l.frame(id, told{Type: chat.VoidEvent, Turn: l.turn, From: from.String()})}
	case chat.TurnGone:
		return nil // the removed or deleted event says it
	default:
		m := *te.Message
		m.Chunks = nil
		return []wire.Frame{l.frame(id, told{Type: chat.MessageEvent, Turn: l.turn, Step: m.Step, Message: &m})}
	}
}

func (l *chatLog) frame(id string, t told) wire.Frame {
	t.Chat, t.Number = l.chat, l.number
	raw, err := chat.Marshal(t)
	if err != nil && l.err == nil {
		l.err = err
	}
	return wire.Frame{ID: id, Event: string(t.Type), Data: raw}
}
