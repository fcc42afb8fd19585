package uistream

import (
	"context"
	"errors"

	"processor/internal/chat"
	"processor/internal/gateway/wire"
)

// relay streams one turn to one client.
type relay struct {
	to interface {
		Send(frames ...wire.Frame) error
	}
	// row is the chat as it was read before the watch began.
	row chat.Chat
	// turn is the turn, zero while its message waits in the queue under the id client.
	turn   int
	client string
	// skip is how many of the chunks to come the client knows.
	skip int

	log  *chat.TurnLog
	made projection
	// held are the chunks of what was there when the watch began, until it is known whether the client's index is exact.
	held     []chunk
	synced   bool
	begun    bool  // its user message is there
	opened   int64 // the epoch at which the turn opened
	last     int64 // the epoch of its last message
	mixed    bool  // its messages are of several epochs
	epoch    int64 // the row's when the index was found exact
	finished bool
}

// errOver ends a watch whose turn has ended.
var errOver = chat.ErrStopWatching

// take is what Watcher.Watch emits.
func (v *relay) take(e chat.Event) error {
	if e.Number != v.row.Number && e.Type != chat.DeletedEvent {
		return v.send(v.made.fail("the chat was deleted"))
	}
	if v.log == nil && !v.begins(e) {
		return v.waits(e)
	}
	v.note(e)
	var out []chunk
	if v.passedBy(e) {
		out = v.made.reset()
	}
	for _, t := range v.log.Apply(e) {
		out = append(out, v.made.apply(t)...)
	}
	if v.synced {
		return v.send(out)
	}
	v.held = append(v.held, out...)
	if e.Type != chat.StatusEvent && e.Type != chat.DeletedEvent {
		return nil // pages of messages come before the row
	}
	v.synced = true
	held := v.held
	v.held = nil
	return v.send(v.rest(held, e))
}

// begins notices that the turn has a number, and makes its log.
func (v *relay) begins(e chat.Event) bool {
	if m := e.Message; v.turn == 0 && e.Type == chat.MessageEvent && m.Role == chat.User && m.ClientID == v.client {
		v.turn = m.Turn
	}
	if v.turn == 0 {
		return false
	}
	v.log, v.made.id = chat.NewTurnLog(v.turn, chat.MarkOf(-1)), answerID(v.row.ID, v.turn)
	return true
}

// waits follows a chat in whose queue the message is.
func (v *relay) waits(e chat.Event) error {
	if e.Type == chat.DeletedEvent {
		return v.send(v.made.fail("the chat was deleted"))
	}
	if e.Type != chat.StatusEvent {
		return nil
	}
	v.synced = true
	if e.Status == chat.Parked {
		return v.send(v.made.fail("an earlier turn failed; this message is answered when that is tried again, or after the next message"))
	}
	return nil
}

// note gathers what tells whether an index is exact.
func (v *relay) note(e chat.Event) {
	m := e.Message
	if e.Type != chat.MessageEvent || e.Turn != v.turn {
		return
	}
	if m.Role == chat.User {
		v.begun, v.opened, v.last = true, m.Epoch, m.Epoch
		return
	}
	v.mixed = v.mixed || (v.last != v.opened && v.last != m.Epoch)
	v.last = m.Epoch
}

// exact reports whether nothing was void of what a client can have seen of the turn, so that an index counts what is in the list. All of it was
// said in one epoch then, the one in which the turn opened or, if it had waited for an owner, the next. A retry of the model in the first one is told by
// the row. Changes of the row between its two readings are not known, so there must be none.
func (v *relay) exact(now chat.Event) bool {
	said := v.last
	if !v.log.Over() {
		if now.Epoch != v.row.Epoch || (now.Status == chat.Pending && now.Epoch != v.opened) || (v.last != v.opened && now.Epoch != v.last) {
			return false
		}
		said = now.Epoch
	}
	return !v.mixed && said <= v.opened+1 && said <= v.row.Epoch && (v.row.Void == 0 || v.row.Void < v.opened)
}

// rest is what the client lacks of what was there when the watch began.
func (v *relay) rest(held []chunk, row chat.Event) []chunk {
	switch {
	case !v.begun:
		return v.made.fail("this answer was removed: somebody edited what came before it")
	case v.skip == 0 || row.Type == chat.DeletedEvent:
		v.skip = 0
		return held
	case v.exact(row):
		v.epoch = row.Epoch
		known := min(v.skip, len(held))
		v.skip -= known
		return held[known:]
	case v.made.steady:
		return v.made.fail("what is shown may be void: load the chat again")
	}
	// The client has the start, and perhaps the start of the step.
	begun := min(v.skip, 2, len(held))
	v.skip = 0
	return append([]chunk{{Type: resetChunk}}, held[begun:]...)
}

// passedBy notices that chunks are void which the client has seen and this relay has not.
func (v *relay) passedBy(e chat.Event) bool {
	if !v.synced || v.skip == 0 || e.Turn != v.turn || e.Epoch <= v.epoch {
		return false
	}
	v.skip = 0
	return true
}

// send writes chunks, but those that the client knows, and what ends a stream after the last one.
func (v *relay) send(chunks []chunk) error {
	var frames []wire.Frame
	for _, c := range chunks {
		if c.Type == resetChunk || v.made.failed {
			v.skip = 0
		}
		if v.skip > 0 {
			v.skip--
			continue
		}
		frames = append(frames, wire.Frame{Data: c.data()})
		v.finished = v.finished || c.Type == finishChunk
	}
	over := v.made.over || (v.log != nil && v.log.Over() && v.synced)
	if over {
		if !v.finished { // the client knew all but this
			frames = append(frames, wire.Frame{Data: chunk{Type: finishChunk, FinishReason: "other"}.data()})
		}
		frames = append(frames, wire.Frame{Data: []byte("[DONE]")})
	}
	if len(frames) == 0 {
		return nil
	}
	if err := v.to.Send(frames...); err != nil {
		return err
	}
	if over {
		return errOver
	}
	return nil
}

// follow watches until the turn has ended, the client has left, or this process drains. A stream that is cut off has no finish, so clients that come
// back do.
func (s *Server) follow(ctx context.Context, v *relay, after int64) {
	watcher := chat.Watcher{Feed: s.feed, Compare: s.config.Compare}
	err := watcher.Watch(ctx, v.row.ID, after, v.take)
	var refusal *chat.Error
	switch {
	case err == nil || ctx.Err() != nil:
	case errors.As(err, &refusal):
		_ = v.send(v.made.fail(refusal.Message))
	case !errors.Is(err, context.Canceled):
		s.config.Logger.Error("stream failed", "chat", v.row.ID, "err", err)
	}
}
