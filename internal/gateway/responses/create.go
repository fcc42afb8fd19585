package responses

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"processor/internal/chat"
)

// maxBody is above what any input within the limits takes.
const maxBody = 16 << 20

func (a *API) create(w http.ResponseWriter, r *http.Request) error {
	raw, err := a.kit.Body(w, r, maxBody)
	if err != nil {
		return err
	}
	o, err := readOrder(raw)
	if err != nil {
		return err
	}
	if o.input, err = a.resolve(r.Context(), o.lines); err != nil {
		return err
	}
	if len(o.message) == 0 {
		return invalid("input", "input must end with a message of the user")
	}
	o.note.Brought = len(o.exchanges)
	if o.note.Unstored {
		return a.pass(w, r, o)
	}
	of, err := a.accept(r.Context(), o, keyOf(r, raw))
	switch {
	case err != nil:
		return err
	case o.stream:
		return a.stream(w, r, of, -1)
	case o.note.Background:
		s, c, _, err := a.load(r.Context(), of)
		if err != nil {
			return err
		}
		w.Header().Set("Location", "/v1/responses/"+of.String())
		return a.kit.Write(w, http.StatusOK, s.object(statusOf(c, of.turn)))
	}
	return a.wait(w, r, of)
}

// key recognises a request that is sent again. Its hash is empty for one that can't be.
type key struct {
	hash string
	// explicit: the client named it. Otherwise it is made of what an official client sends: the body, and the count of its retries; then the first of
	// the same requests takes the name, and the others are requests of their own.
	explicit bool
	again    bool
	// earlier is the hash that a first try some minutes ago had.
	earlier string
}

// retryWindow is for how long a request without a key of its own may be recognised.
const retryWindow = 15 * time.Minute

func keyOf(r *http.Request, body []byte) key {
	caller := chat.TenantOf(r.Context()) + "\x00" + r.Header.Get("Authorization") + "\x00"
	if k := r.Header.Get("Idempotency-Key"); k != "" {
		return key{hash: hash(caller + "key\x00" + k), explicit: true}
	}
	count, err := strconv.Atoi(r.Header.Get("X-Stainless-Retry-Count"))
	if err != nil {
		return key{}
	}
	window := time.Now().Unix() / int64(retryWindow/time.Second)
	of := func(window int64) string {
		return hash(caller + "body\x00" + strconv.FormatInt(window, 10) + "\x00" + string(body))
	}
	return key{hash: of(window), again: count > 0, earlier: of(window - 1)}
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}

// clientID is what the message is recognised by, empty for one of its own.
func (k key) clientID() string {
	if k.hash == "" {
		return ""
	}
	return "request-" + k.hash
}

// fresh is for a request that only says what another one said.
func (k key) fresh() key { return key{} }

// accept makes the message durable and says which turn it opened.
func (a *API) accept(ctx context.Context, o order, k key) (ref, error) {
	client, err := json.Marshal(o.note)
	if err != nil {
		return ref{}, err
	}
	o.params.Client = client
	switch {
	case o.conversation != "":
		return a.converse(ctx, o, k)
	case o.previous != nil:
		return a.proceed(ctx, o, k)
	}
	return a.begin(ctx, o, k, nil)
}

// send opens the turn after one. A request that only says what another one said gets a message of its own, also if that one was edited since.
func (a *API) send(ctx context.Context, id chat.ID, after int, o order, k key) (ref, error) {
	params := o.params
	params.Instructions = o.told(params.Instructions)
	reply, err := a.service.Send(ctx, chat.SendRequest{
		Chat: id, Parts: o.message, ClientID: k.clientID(), Model: provider(o.note.Model), Params: &params, Busy: chat.BusyReject, After: &after,
	})
	if edited := is(err, chat.Conflict, "client_id"); k.hash != "" && !k.explicit && !k.again && (edited || (err == nil && reply.Duplicate)) {
		return a.send(ctx, id, after, o, k.fresh())
	}
	if err != nil {
		return ref{}, err
	}
	return ref{id, reply.Message.Turn}, nil
}

// converse opens the next turn of a conversation, whichever that is.
func (a *API) converse(ctx context.Context, o order, k key) (ref, error) {
	if len(o.exchanges) > 0 {
		return ref{}, refuse(http.StatusBadRequest, "unsupported_parameter", "input", "in a conversation, input may have no messages of the assistant: add them to its items first")
	}
	for range 3 {
		reply, err := a.service.Get(ctx, chat.ChatRequest{Chat: o.conversation})
		if is(err, chat.NotFound, "") {
			return ref{}, unknownConversation(conversationID(o.conversation))
		}
		if err != nil {
			return ref{}, err
		}
		of, err := a.send(ctx, o.conversation, reply.Chat.Turn, o, k)
		if !is(err, chat.Conflict, "after") {
			return of, err
		}
	}
	return ref{}, locked()
}

// proceed opens the turn after the named one. If that is not the newest, or the input has turns to put between, it does so in a chat of its own,
// which begins with the history up to the named one.
func (a *API) proceed(ctx context.Context, o order, k key) (ref, error) {
	at, err := a.service.Before(ctx, chat.TurnRequest{Chat: o.previous.chat, Turn: o.previous.turn})
	switch {
	case is(err, chat.NotFound, ""), at.Forgotten:
		return ref{}, unknownPrevious(o.note.Previous)
	case err != nil:
		return ref{}, err
	}
	var of ref
	apart := len(o.exchanges) > 0 || o.note.Unstored
	if !apart {
		of, err = a.send(ctx, o.previous.chat, o.previous.turn, o, k)
	}
	if apart || is(err, chat.Conflict, "after") {
		of, err = a.begin(ctx, o, k, o.previous)
	}
	switch {
	case is(err, chat.NotFound, ""):
		return ref{}, unknownPrevious(o.note.Previous)
	case is(err, chat.Conflict, "turn"):
		return ref{}, locked()
	}
	return of, err
}

// begin makes a chat whose history is that up to a turn, and what the input brings, and opens a turn there.
func (a *API) begin(ctx context.Context, o order, k key, from *ref) (ref, error) {
	params := o.params
	request := chat.ForkRequest{Exchanges: o.exchanges, Model: provider(o.note.Model), Params: &params}
	if from == nil {
		request.CreateRequest.Model, request.System = request.Model, o.told("")
	} else {
		request.From, request.Turn = from.chat, from.turn
		params.Instructions = o.told(params.Instructions)
	}
	request.Message = &chat.FirstMessage{Parts: o.message, ClientID: k.clientID()}
	request.ID = o.own
	if k.hash != "" {
		request.ID = chat.ID(k.hash)
	}
	if k.again {
		if c, err := a.service.Get(ctx, chat.ChatRequest{Chat: chat.ID(k.earlier)}); err == nil && time.Since(c.Chat.CreatedAt) < retryWindow {
			request.ID, request.Message.ClientID = chat.ID(k.earlier), key{hash: k.earlier}.clientID()
		}
	}
	reply, err := a.service.Fork(ctx, request)
	if k.hash != "" && !k.explicit && (is(err, chat.Conflict, "id") || (err == nil && reply.Duplicate && !k.again)) {
		return a.begin(ctx, o, k.fresh(), from)
	}
	if err != nil {
		return ref{}, err
	}
	return ref{reply.Chat.ID, reply.Message.Turn}, nil
}
