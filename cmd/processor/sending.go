package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"processor/internal/bus"
	"processor/internal/chat"
)

// sending is one message on its way to its outcome.
type sending struct {
	bus    *bus.Bus
	std    *Streams
	print  printer
	client string        // the message's client_id
	id     int64         // the message's, zero while it waits in the queue
	gone   bool          // it was removed, unless the same transition brings it again
	voided bool          // the next event says why the answer starts again
	last   *chat.Message // what ended the turn

	mu    sync.Mutex // Ctrl-C comes on a goroutine of its own
	chat  chat.ID
	after int64 // the id before ours, if that is known
	turn  int   // ours, zero while the message waits in the queue
	stop  bool  // the person wants it stopped
}

func newSending(b *bus.Bus, std *Streams, hold bool) *sending {
	s := &sending{bus: b, std: std}
	s.print = printer{w: std.text(), hold: hold, restarted: func() { std.warn("the answer turned out otherwise, and starts again here") }}
	return s
}

// accepted takes where the message went.
func (s *sending) accepted(id chat.ID, m chat.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chat = id
	if m.ID == nil {
		s.std.note("the chat is busy, the message waits in its queue")
		return
	}
	s.after, s.turn, s.id = *m.ID-1, m.Turn, *m.ID
}

// errLeft is the cause of a second Ctrl-C.
var errLeft = errors.New("left; the chat goes on")

// listen makes the first Ctrl-C a request to stop the turn, and the second one leave.
func (s *sending) listen(ctx context.Context, keys <-chan os.Signal, leave context.CancelCauseFunc) {
	select {
	case <-ctx.Done():
		return
	case <-keys:
	}
	var stopping sync.WaitGroup // the second Ctrl-C leaves whether or not the first one is heard
	defer stopping.Wait()
	if turn := s.wantStop(); turn == 0 {
		s.std.note("\nthe turn is stopped as soon as it begins; Ctrl-C again leaves")
	} else {
		s.std.note("\nstopping…; Ctrl-C again leaves")
		stopping.Go(func() { s.interrupt(ctx, turn) })
	}
	select {
	case <-ctx.Done():
	case <-keys:
		leave(errLeft)
	}
}

// wantStop notes the wish, and returns the turn if it has begun.
func (s *sending) wantStop() (turn int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop = true
	return s.turn
}

// state is the turn if it has begun, and whether it is to be stopped.
func (s *sending) state() (turn int, stop bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.turn, s.stop
}

// interrupt may be asked for more than once: it names the turn.
func (s *sending) interrupt(ctx context.Context, turn int) {
	_, err := ask[chat.ChatReply](ctx, s.bus, "chats.interrupt", chat.InterruptRequest{Chat: s.chat, Turn: turn})
	if err != nil && ctx.Err() == nil {
		s.std.warn("the turn could not be stopped: %v", err)
	}
}

// follow watches until the turn has ended.
func (s *sending) follow(ctx context.Context) error {
	if turn, stop := s.state(); stop && turn != 0 {
		s.interrupt(ctx, turn)
	}
	err := watcher(s.bus, s.std).Watch(ctx, s.chat, s.after, func(e chat.Event) error { return s.take(ctx, e) })
	if newline := s.print.newline(); err == nil {
		err = newline
	}
	switch {
	case errors.Is(err, errLeft):
		return fmt.Errorf("%w: follow it with `processor watch %s`", errLeft, s.chat)
	case err != nil:
		return err
	case s.gone:
		return errors.New("the message was removed by somebody who edited the chat")
	case s.last == nil:
		return errors.New("the chat was deleted")
	}
	return s.outcome()
}

func (s *sending) outcome() error {
	switch s.last.Finish {
	case chat.Interrupted:
		return errors.New("the turn was stopped before its answer was complete")
	case chat.Failed:
		cause := chat.TurnError{Code: "error", Message: "no cause was given"}
		if s.last.Error != nil {
			cause = *s.last.Error
		}
		return fmt.Errorf("the turn failed, %s: %s; try again with `processor retry %s`", cause.Code, oneLine(cause.Message, 500), s.chat)
	case chat.Length:
		s.std.warn("the answer ends here because it reached its limit")
	case chat.Stop:
	}
	return nil
}

// take prints what belongs to our turn.
func (s *sending) take(ctx context.Context, e chat.Event) error {
	if s.removed(e) {
		return chat.ErrStopWatching
	}
	if s.opens(e) {
		if turn, stop := s.state(); stop {
			s.interrupt(ctx, turn)
		}
	}
	if turn, _ := s.state(); turn == 0 || e.Turn != turn {
		return nil
	}
	switch e.Type {
	case chat.VoidEvent:
		s.voided = true
		s.print.void()
	case chat.DeltaEvent:
		return s.delta(*e.Delta)
	case chat.RetryEvent:
		s.voided = true
		s.explain(fmt.Sprintf("the model failed (%s), trying again at %s…", e.Retry.Error, e.Retry.At.Local().Format("15:04:05")))
	case chat.StatusEvent:
		s.handedOver(e.Reason)
	case chat.MessageEvent:
		return s.message(*e.Message)
	case chat.RemovedEvent, chat.DeletedEvent:
	}
	return nil
}

// removed notices that somebody removed our message. One that is only answered again, perhaps with other text, opens another turn in the same
// transition, before its status comes.
func (s *sending) removed(e chat.Event) bool {
	turn, _ := s.state()
	switch {
	case e.Type == chat.RemovedEvent && turn != 0 && s.id >= e.RemovedFrom && s.id <= e.MessageID:
		s.gone = true
	case s.gone && e.Type == chat.MessageEvent && e.Message.ClientID == s.client:
		s.gone = false
	}
	return s.gone && e.Type == chat.StatusEvent
}

// opens notices that our message has left the queue.
func (s *sending) opens(e chat.Event) bool {
	m := e.Message
	if e.Type != chat.MessageEvent || m.Role != chat.User || m.ClientID != s.client {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	waited := s.turn == 0
	s.turn, s.id = m.Turn, *m.ID
	return waited
}

func (s *sending) delta(d chat.Delta) error {
	s.explain("the answer so far is void, answering again…")
	if d.Kind != chat.TextDelta {
		return nil
	}
	return s.print.delta(d.Text)
}

func (s *sending) message(m chat.Message) error {
	if m.Role != chat.Assistant {
		return nil
	}
	s.voided = false
	if err := s.print.commit(m.Text(), m.Finish); err != nil {
		return err
	}
	if m.Ends() {
		s.last = &m
		return chat.ErrStopWatching
	}
	return nil
}

// handedOver says why the answer starts again.
func (s *sending) handedOver(reason string) {
	switch reason {
	case "recovered":
		s.voided = true
		s.explain("the replica is gone, another one answers again…")
	case "yielded":
		s.voided = true
		s.explain("the replica is going away, another one answers again…")
	}
}

// explain says once why the answer starts again, below the line that it is on.
func (s *sending) explain(why string) {
	if !s.voided {
		return
	}
	s.voided = false
	if s.print.midLine() {
		why = "\n" + why
	}
	s.std.note("%s", why)
}
