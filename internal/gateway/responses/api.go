package responses

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"processor/internal/chat"
	"processor/internal/gateway/wire"
)

// Turns is what responses need of the service.
type Turns interface {
	Send(ctx context.Context, r chat.SendRequest) (chat.SendReply, error)
	Fork(ctx context.Context, r chat.ForkRequest) (chat.CreateReply, error)
	Interrupt(ctx context.Context, r chat.InterruptRequest) (chat.ChatReply, error)
	// Before says where a turn begins among its chat's messages, and whether it was forgotten.
	Before(ctx context.Context, r chat.TurnRequest) (chat.TurnReply, error)
	Forget(ctx context.Context, r chat.TurnRequest) error
}

// Chats is what conversations need of it besides.
type Chats interface {
	Append(ctx context.Context, r chat.AppendRequest) (chat.AppendReply, error)
	Get(ctx context.Context, r chat.ChatRequest) (chat.ChatReply, error)
	Update(ctx context.Context, r chat.UpdateRequest) (chat.ChatReply, error)
	Delete(ctx context.Context, r chat.ChatRequest) (chat.DeleteReply, error)
}

// Service is one service behind every API.
type Service interface {
	Turns
	Chats
}

var _ Service = (*chat.Service)(nil)

// Config has the API's settings; the zero value is usable.
type Config struct {
	// Drain ends when this process is about to: requests that wait for an answer then end with 503, and official clients ask again elsewhere. Nil
	// means never.
	Drain context.Context
	// Compare is how often a watcher compares with the row (chat.DefaultTiming).
	Compare time.Duration
}

// API serves the protocol. Its methods may be called from any goroutine.
type API struct {
	service Service
	feed    chat.Feed
	kit     *wire.Kit
	config  Config
}

// New makes the API.
func New(service Service, feed chat.Feed, kit *wire.Kit, config Config) *API {
	if config.Drain == nil {
		config.Drain = context.Background()
	}
	if config.Compare == 0 {
		config.Compare = chat.DefaultTiming().Compare
	}
	return &API{service: service, feed: feed, kit: kit, config: config}
}

// Register mounts the API's routes.
func (a *API) Register(mux *http.ServeMux) {
	for pattern, f := range map[string]func(http.ResponseWriter, *http.Request) error{
		"POST /v1/responses":                      a.create,
		"GET /v1/responses/{id}":                  a.retrieve,
		"DELETE /v1/responses/{id}":               a.remove,
		"POST /v1/responses/{id}/cancel":          a.cancel,
		"GET /v1/responses/{id}/input_items":      a.inputItems,
		"POST /v1/conversations":                  a.createConversation,
		"GET /v1/conversations/{id}":              a.conversation,
		"POST /v1/conversations/{id}":             a.updateConversation,
		"DELETE /v1/conversations/{id}":           a.removeConversation,
		"POST /v1/conversations/{id}/items":       a.addItems,
		"GET /v1/conversations/{id}/items":        a.items,
		"GET /v1/conversations/{id}/items/{item}": a.item,

		"DELETE /v1/conversations/{id}/items/{item}": a.removeItem,
		"POST /v1/responses/input_tokens":            a.uncounted,
		"POST /v1/responses/compact":                 a.uncompacted,
	} {
		mux.Handle(pattern, a.serve(f))
	}
}

// watch follows a turn until it is over, ctx ends or emit fails. Emit gets what comes after the cursor.
func (a *API) watch(ctx context.Context, p *projector, after int64, emit func([]event) error) error {
	w := chat.Watcher{Feed: a.feed, Compare: a.config.Compare}
	return w.Watch(ctx, p.chat, after, func(e chat.Event) error {
		out := p.apply(e)
		if len(out) > 0 {
			if err := emit(out); err != nil {
				return err
			}
		}
		if p.over {
			return chat.ErrStopWatching
		}
		return nil
	})
}

// find looks a response up that was not deleted, and reads where its turn begins.
func (a *API) find(ctx context.Context, r ref) (chat.TurnReply, error) {
	at, err := a.service.Before(ctx, chat.TurnRequest{Chat: r.chat, Turn: r.turn})
	if is(err, chat.NotFound, "") || (err == nil && (at.Forgotten || at.Chat.Turn < r.turn)) {
		err = unknownResponse(r.String())
	}
	return at, err
}

// load reads a response as it is now. A turn that was truncated is no more.
func (a *API) load(ctx context.Context, r ref) (state, chat.Chat, int64, error) {
	at, err := a.find(ctx, r)
	if err != nil {
		return state{}, chat.Chat{}, 0, err
	}
	s := state{ref: r, model: at.Chat.Model}
	messages, c, err := a.messages(ctx, r.chat, at.After, r.turn)
	if is(err, chat.NotFound, "") {
		err = unknownResponse(r.String())
	}
	if err != nil {
		return state{}, chat.Chat{}, 0, err
	}
	s.messages = slices.DeleteFunc(messages, func(m chat.Message) bool { return m.Turn != r.turn })
	if len(s.messages) == 0 || s.messages[0].Role != chat.User {
		return state{}, chat.Chat{}, 0, unknownResponse(r.String())
	}
	return s, c, at.After, nil
}

// messages reads a chat's messages after one, up to those of a turn.
func (a *API) messages(ctx context.Context, id chat.ID, after int64, turn int) (all []chat.Message, c chat.Chat, err error) {
	for {
		snap, err := a.feed.Snapshot(ctx, chat.MessagesRequest{Chat: id, After: after, Limit: 200})
		if err != nil {
			return nil, chat.Chat{}, err
		}
		for _, m := range snap.Messages {
			if m.Turn > turn {
				return all, snap.Chat, nil
			}
			all = append(all, m)
		}
		if snap.Next == 0 {
			return all, snap.Chat, nil
		}
		after = snap.Next
	}
}

var errDrain = chat.Errorf(chat.Unavailable, "", "this replica is going away; the response goes on, ask again")

// wait answers with the response when its turn is over.
func (a *API) wait(w http.ResponseWriter, r *http.Request, of ref) error {
	s, c, after, err := a.load(r.Context(), of)
	if err != nil {
		return err
	}
	if !s.messages[len(s.messages)-1].Ends() {
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		defer context.AfterFunc(a.config.Drain, func() { cancel(errDrain) })()
		p := newProjector(of, c.Model, -1)
		if err := a.watch(ctx, p, after, func([]event) error { return nil }); err != nil {
			return err
		}
		if len(p.messages) == 0 || !p.over || !p.messages[len(p.messages)-1].Ends() {
			return unknownResponse(of.String())
		}
		s = p.state
	}
	return a.kit.Write(w, http.StatusOK, s.object(""))
}

// stream answers with the response's events after a cursor, and those to come.
func (a *API) stream(w http.ResponseWriter, r *http.Request, of ref, cursor int64) error {
	s, c, after, err := a.load(r.Context(), of)
	if err != nil {
		return err
	}
	out, err := a.kit.Open(w, r)
	if err != nil {
		return err
	}
	defer out.Close()
	p := newProjector(s.ref, c.Model, cursor)
	err = a.watch(out.Context(), p, after, func(events []event) error {
		frames := make([]wire.Frame, len(events))
		for i, e := range events {
			if frames[i], err = e.frame(); err != nil {
				return err
			}
		}
		return out.Send(frames...)
	})
	switch {
	case err == nil && !p.over: // the chat was deleted before its turn was seen
	case err != nil && !errors.As(err, new(*chat.Error)):
		return nil // there is nobody to tell
	}
	// A refusal, too, means that the response is no more.
	_ = out.Send(wire.Frame{Data: []byte("[DONE]")})
	return nil
}
