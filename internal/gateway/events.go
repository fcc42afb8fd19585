package gateway

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"processor/internal/chat"
	"processor/internal/gateway/wire"
)

// events streams one chat: from its beginning, or from after the cursor that a client brings.
func (g *Gateway) events(w http.ResponseWriter, r *http.Request) error {
	from, err := cursorOf(r)
	if err != nil {
		return err
	}
	turn := 1
	if from != nil {
		turn = max(1, from.turn)
	}
	id := idOf(r)
	place, err := g.service.Before(r.Context(), chat.TurnRequest{Chat: id, Turn: turn})
	if err != nil {
		return err
	}
	var first []wire.Frame
	if from != nil && (from.number != place.Chat.Number || from.turn > place.Chat.Turn) {
		from, place.After = nil, 0
		first = append(first, newChatLog(place.Chat, nil, 0, &g.recent).frame("", told{Type: resetEvent}))
	}
	s, err := g.kit.Open(w, r)
	if err != nil {
		return err
	}
	defer s.Close()
	if s.Send(first...) != nil {
		return nil
	}
	g.follow(s, newChatLog(place.Chat, from, place.After, &g.recent), place.After)
	return nil
}

// follow sends what the log makes of the chat's events until the chat, the stream or this process ends.
func (g *Gateway) follow(s *wire.Stream, l *chatLog, after int64) {
	watcher := chat.Watcher{Feed: g.hub, Compare: g.config.Compare, Rest: s.Flush, Trouble: func(err error) {
		g.config.Logger.Debug("stream begins again", "chat", l.chat, "err", err)
	}}
	err := watcher.Watch(s.Context(), l.chat, after, func(e chat.Event) error {
		if e.Number != l.number {
			return chat.ErrStopWatching // another chat under the same id: the client comes back for it
		}
		frames := l.apply(e)
		if err := errors.Join(l.err, s.Gather(frames...)); err != nil {
			return err
		}
		if e.Type == chat.DeletedEvent {
			return chat.ErrStopWatching
		}
		return nil
	})
	_ = s.Flush() // whatever ended the watch, what came before it is true
	var refusal *chat.Error
	switch {
	case err == nil || s.Context().Err() != nil:
	case errors.As(err, &refusal): // it was deleted before it was read
		_ = s.Send(l.frame("", told{Type: chat.DeletedEvent}))
	default:
		g.config.Logger.Error("stream failed", "chat", l.chat, "err", err)
	}
}

// syncEvent begins the stream of all chats: what was read of them before it may be old, and whatever changes from here on is told, until the next one.
const syncEvent = "sync"

// overview streams what happens to the rows of all chats that the caller may see. It is a doorbell for lists, without cursors: what was lost is not
// repeated, but never lost silently.
func (g *Gateway) overview(w http.ResponseWriter, r *http.Request) error {
	if err := queryOf(r).err(); err != nil {
		return err
	}
	s, err := g.kit.Open(w, r)
	if err != nil {
		return err
	}
	defer s.Close()
	for wait := 50 * time.Millisecond; s.Context().Err() == nil; wait = min(2*wait, 2*time.Second) {
		if err := g.ring(s, chat.TenantOf(r.Context())); err != nil {
			g.config.Logger.Debug("stream of all chats begins again", "err", err)
		} else {
			wait = 50 * time.Millisecond
		}
		select {
		case <-s.Context().Done():
		case <-time.After(wait/2 + rand.N(wait)):
		}
	}
	return nil
}

// ring tells of changes until events are lost or the stream ends.
func (g *Gateway) ring(s *wire.Stream, tenant string) error {
	events, stop, err := g.hub.SubscribeAll(s.Context())
	if err != nil {
		return err
	}
	defer stop()
	if err := s.Send(wire.Frame{Event: syncEvent, Data: []byte(`{"type":"sync"}`)}); err != nil {
		return err
	}
	for {
		if len(events) == 0 {
			if err := s.Flush(); err != nil {
				return err
			}
		}
		select {
		case <-s.Context().Done():
			return context.Cause(s.Context())
		case e, ok := <-events:
			if !ok {
				return nil
			}
			if tenant != "" && e.Tenant != tenant {
				continue
			}
			raw, err := chat.Marshal(&e)
			if err != nil {
				return err
			}
			if err := s.Gather(wire.Frame{Event: string(e.Type), Data: raw}); err != nil {
				return err
			}
		}
	}
}

// ofRow are the events that tell of a row, and not of what is said.
func ofRow(e chat.Event) bool {
	return e.Type == chat.StatusEvent || e.Type == chat.RetryEvent || e.Type == chat.DeletedEvent
}
