package responses

import (
	"encoding/json"
	"net/http"

	"processor/internal/chat"
)

// conversation is a chat as clients see it.
type conversation struct {
	ID        string          `json:"id"`
	Object    string          `json:"object"`
	CreatedAt int64           `json:"created_at"`
	Metadata  json.RawMessage `json:"metadata"`
}

func conversationOf(c chat.Chat) conversation {
	if len(c.Metadata) == 0 {
		c.Metadata = json.RawMessage("{}")
	}
	return conversation{conversationID(c.ID), "conversation", c.CreatedAt.Unix(), c.Metadata}
}

func (a *API) createConversation(w http.ResponseWriter, r *http.Request) error {
	in, metadata, err := a.readItems(w, r, true)
	if err != nil {
		return err
	}
	request := chat.ForkRequest{Exchanges: in.all()}
	request.System = in.told("")
	if len(metadata) > 0 {
		if request.Metadata, err = json.Marshal(metadata); err != nil {
			return err
		}
	}
	reply, err := a.service.Fork(r.Context(), request)
	if err != nil {
		return err
	}
	return a.kit.Write(w, http.StatusOK, conversationOf(reply.Chat))
}

// readItems reads a body of items, and of metadata where a conversation is made. What a system message says holds for a conversation as a whole, so
// it has to come with its beginning.
func (a *API) readItems(w http.ResponseWriter, r *http.Request, making bool) (input, map[string]string, error) {
	body, err := a.fields(w, r)
	if err != nil {
		return input{}, nil, err
	}
	var lines []line
	if items := body.take("items"); items != nil {
		if lines, err = readInput(items, "items"); err != nil {
			return input{}, nil, err
		}
	}
	var metadata map[string]string
	if making {
		metadata = body.metadata()
	}
	body.end()
	if body.err != nil {
		return input{}, nil, body.err
	}
	in, err := a.resolve(r.Context(), lines)
	if err == nil && len(in.system) > 0 && !making {
		err = refuse(http.StatusBadRequest, "unsupported_parameter", "items", "system and developer messages are accepted where a conversation is made, or in a response's input")
	}
	return in, metadata, err
}

// fields reads a body's fields; no body has none.
func (a *API) fields(w http.ResponseWriter, r *http.Request) (*reader, error) {
	body := &reader{}
	raw, err := a.kit.Body(w, r, maxBody)
	if err == nil && len(raw) > 0 && json.Unmarshal(raw, &body.fields) != nil {
		err = refuse(http.StatusBadRequest, "invalid_json", "", "the request's body must be a JSON object")
	}
	return body, err
}

// thread finds the conversation that the path names.
func (a *API) thread(r *http.Request) (chat.Chat, error) {
	id, ok := chatOf(r.PathValue("id"))
	if !ok {
		return chat.Chat{}, unknownConversation(r.PathValue("id"))
	}
	reply, err := a.service.Get(r.Context(), chat.ChatRequest{Chat: id})
	if is(err, chat.NotFound, "") {
		err = unknownConversation(r.PathValue("id"))
	}
	return reply.Chat, err
}

func (a *API) conversation(w http.ResponseWriter, r *http.Request) error {
	c, err := a.thread(r)
	if err != nil {
		return err
	}
	return a.kit.Write(w, http.StatusOK, conversationOf(c))
}

// updateConversation puts other metadata in place of all that was, also while a response is in progress.
func (a *API) updateConversation(w http.ResponseWriter, r *http.Request) error {
	c, err := a.thread(r)
	if err != nil {
		return err
	}
	body, err := a.fields(w, r)
	if err != nil {
		return err
	}
	if _, given := body.fields["metadata"]; !given {
		body.fail(refuse(http.StatusBadRequest, "missing_required_parameter", "metadata", "Missing required parameter: 'metadata'."))
	}
	metadata := body.metadata()
	body.end()
	if body.err != nil {
		return body.err
	}
	if metadata == nil {
		metadata = map[string]string{}
	}
	request := chat.UpdateRequest{Chat: c.ID}
	if request.Metadata, err = json.Marshal(metadata); err != nil {
		return err
	}
	reply, err := a.service.Update(r.Context(), request)
	if is(err, chat.NotFound, "") {
		err = unknownConversation(r.PathValue("id"))
	}
	if err != nil {
		return err
	}
	return a.kit.Write(w, http.StatusOK, conversationOf(reply.Chat))
}

func (a *API) removeConversation(w http.ResponseWriter, r *http.Request) error {
	c, err := a.thread(r)
	if err == nil {
		err = a.delete(r.Context(), c.ID)
	}
	if err != nil {
		return err
	}
	return a.kit.Write(w, http.StatusOK, deleted{conversationID(c.ID), "conversation.deleted", true})
}

func (a *API) addItems(w http.ResponseWriter, r *http.Request) error {
	c, err := a.thread(r)
	if err != nil {
		return err
	}
	in, _, err := a.readItems(w, r, false)
	if err != nil {
		return err
	}
	if len(in.all()) == 0 {
		return invalid("items", "items must have a message")
	}
	reply, err := a.service.Append(r.Context(), chat.AppendRequest{Chat: c.ID, Exchanges: in.all()})
	switch {
	case is(err, chat.Conflict, "status") && c.Status == chat.Parked:
		return refuse(http.StatusConflict, "response_failed", "", "The last response of this conversation failed and may still be tried again. Items can be added after the next response.")
	case is(err, chat.Conflict, "status"):
		return locked()
	case is(err, chat.NotFound, ""):
		return unknownConversation(r.PathValue("id"))
	case err != nil:
		return err
	}
	added := itemsOf(c.ID, reply.Messages)
	return a.kit.Write(w, http.StatusOK, listOf(added, len(added)))
}
