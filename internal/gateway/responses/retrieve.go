package responses

import (
	"context"
	"net/http"
	"slices"
	"strconv"

	"processor/internal/chat"
)

func (a *API) retrieve(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	for name, values := range q {
		switch name {
		case "stream", "starting_after":
		case "include", "include[]":
			if slices.ContainsFunc(values, func(v string) bool { return v != sealedReasoning }) {
				return unsupported("include")
			}
		case "include_obfuscation":
			if q.Get(name) != "false" {
				return unsupported(name)
			}
		default:
			return unsupported(name)
		}
	}
	cursor := int64(-1)
	if v := q.Get("starting_after"); v != "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return invalid("starting_after", "starting_after must be a number")
		}
		cursor = max(n, -1)
	}
	stream, err := a.wantsStream(w, r)
	if err != nil {
		return err
	}
	of, err := wanted(r)
	if err != nil {
		return err
	}
	if stream {
		return a.stream(w, r, of, cursor)
	}
	s, c, _, err := a.load(r.Context(), of)
	if err != nil {
		return err
	}
	return a.kit.Write(w, http.StatusOK, s.object(statusOf(c, s.turn)))
}

// wanted is the response that the path names.
func wanted(r *http.Request) (ref, error) {
	of, ok := refOf(r.PathValue("id"))
	if !ok {
		return ref{}, unknownResponse(r.PathValue("id"))
	}
	return of, nil
}

// wantsStream reads the query, or the body: the official client for Go sends one with its GET.
func (a *API) wantsStream(w http.ResponseWriter, r *http.Request) (bool, error) {
	if v := r.URL.Query().Get("stream"); v != "" || r.ContentLength == 0 {
		return v == "true", nil
	}
	var body struct {
		Stream bool `json:"stream"`
	}
	return body.Stream, a.kit.Read(w, r, &body)
}

// cancel asks the turn to stop and answers with the response when it has. One that is over stays as it is.
func (a *API) cancel(w http.ResponseWriter, r *http.Request) error {
	of, err := wanted(r)
	if err != nil {
		return err
	}
	if _, err := a.find(r.Context(), of); err != nil {
		return err
	}
	if _, err := a.service.Interrupt(r.Context(), chat.InterruptRequest{Chat: of.chat, Turn: of.turn}); err != nil {
		if is(err, chat.NotFound, "") {
			err = unknownResponse(of.String())
		}
		return err
	}
	return a.wait(w, r, of)
}

// remove deletes a response that is over. What was said belongs to its conversation and stays there: later responses were made from it. The chat of
// an only response, which nobody made as a conversation, goes as a whole.
func (a *API) remove(w http.ResponseWriter, r *http.Request) error {
	of, err := wanted(r)
	if err != nil {
		return err
	}
	s, c, after, err := a.load(r.Context(), of)
	if err != nil {
		return err
	}
	_, n := s.asked()
	alone := after == 0 && c.Turn == s.turn && c.Queued == 0 && !n.Conversation
	switch {
	case !s.messages[len(s.messages)-1].Ends():
		return unfinished(s.ref)
	case alone:
		err = a.delete(r.Context(), s.chat)
	default:
		err = a.service.Forget(r.Context(), chat.TurnRequest{Chat: s.chat, Turn: s.turn})
	}
	switch {
	case is(err, chat.NotFound, ""):
		return unknownResponse(s.String())
	case is(err, chat.Conflict, "turn"): // a retry opened it again
		return unfinished(s.ref)
	case err != nil:
		return err
	}
	return a.kit.Write(w, http.StatusOK, deleted{s.String(), "response", true})
}

func (a *API) uncounted(http.ResponseWriter, *http.Request) error {
	return refuse(http.StatusBadRequest, "unsupported_operation", "", "this server does not count tokens before a response is made: its usage has them")
}

func (a *API) uncompacted(http.ResponseWriter, *http.Request) error {
	return refuse(http.StatusBadRequest, "unsupported_operation", "", "this server does not compact: the oldest of a history is left out when a model is called, see --history-bytes")
}

func unfinished(r ref) *failure {
	return refuse(http.StatusConflict, "response_in_progress", "", "Response '"+r.String()+"' is in progress. Cancel it first.")
}

type deleted struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Deleted bool   `json:"deleted"`
}

func (a *API) delete(ctx context.Context, id chat.ID) error {
	_, err := a.service.Delete(ctx, chat.ChatRequest{Chat: id})
	return err
}

func (a *API) inputItems(w http.ResponseWriter, r *http.Request) error {
	of, err := wanted(r)
	if err != nil {
		return err
	}
	q, err := pageOf(r.URL.Query())
	if err != nil {
		return err
	}
	s, _, _, err := a.load(r.Context(), of)
	if err != nil {
		return err
	}
	var all []item
	if _, n := s.asked(); n.Brought > 0 {
		if all, err = a.brought(r.Context(), of, n.Brought); err != nil {
			return err
		}
	}
	return a.page(w, q, append(all, of.saidItem(s.messages[0])))
}

// brought are the items of the turns before a turn that came with its request.
func (a *API) brought(ctx context.Context, r ref, turns int) ([]item, error) {
	at, err := a.service.Before(ctx, chat.TurnRequest{Chat: r.chat, Turn: r.turn - turns})
	if err != nil {
		return nil, err
	}
	messages, _, err := a.messages(ctx, r.chat, at.After, r.turn-1)
	return itemsOf(r.chat, messages), err
}
