package gateway

import (
	"net/http"

	"processor/internal/chat"
)

func (g *Gateway) create(w http.ResponseWriter, r *http.Request) error {
	var request chat.CreateRequest
	if err := g.kit.Read(w, r, &request); err != nil {
		return err
	}
	reply, err := g.service.Create(r.Context(), request)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/chats/"+string(reply.Chat.ID))
	return g.kit.Write(w, http.StatusCreated, reply)
}

func (g *Gateway) list(w http.ResponseWriter, r *http.Request) error {
	q := queryOf(r)
	request := chat.ListRequest{Status: chat.Status(q.text("status")), Tenant: q.text("tenant"), Limit: q.limit(), Cursor: q.text("cursor")}
	if err := q.err(); err != nil {
		return err
	}
	reply, err := g.service.List(r.Context(), request)
	if err != nil {
		return err
	}
	return g.kit.Write(w, http.StatusOK, reply)
}

func (g *Gateway) get(w http.ResponseWriter, r *http.Request) error {
	if err := queryOf(r).err(); err != nil {
		return err
	}
	reply, err := g.service.Get(r.Context(), chat.ChatRequest{Chat: idOf(r)})
	if err != nil {
		return err
	}
	return g.kit.Write(w, http.StatusOK, reply)
}

func (g *Gateway) update(w http.ResponseWriter, r *http.Request) error {
	var request chat.UpdateRequest
	if err := g.kit.Read(w, r, &request); err != nil {
		return err
	}
	if err := named(&request.Chat, r); err != nil {
		return err
	}
	reply, err := g.service.Update(r.Context(), request)
	if err != nil {
		return err
	}
	return g.kit.Write(w, http.StatusOK, reply)
}

func (g *Gateway) remove(w http.ResponseWriter, r *http.Request) error {
	reply, err := g.service.Delete(r.Context(), chat.ChatRequest{Chat: idOf(r)})
	if err != nil {
		return err
	}
	return g.kit.Write(w, http.StatusOK, reply)
}

// send answers with 202: the message is durable, and its answer is still to come.
func (g *Gateway) send(w http.ResponseWriter, r *http.Request) error {
	request := chat.SendRequest{}
	if err := g.kit.Read(w, r, &request); err != nil {
		return err
	}
	if err := named(&request.Chat, r); err != nil {
		return err
	}
	reply, err := g.service.Send(r.Context(), request)
	if err != nil {
		return err
	}
	return g.kit.Write(w, http.StatusAccepted, reply)
}

func (g *Gateway) messages(w http.ResponseWriter, r *http.Request) error {
	q := queryOf(r)
	request := chat.MessagesRequest{Chat: idOf(r), After: q.number("after"), Limit: q.limit()}
	if err := q.err(); err != nil {
		return err
	}
	reply, err := g.service.Messages(r.Context(), request)
	if err != nil {
		return err
	}
	return g.kit.Write(w, http.StatusOK, reply)
}

func (g *Gateway) queue(w http.ResponseWriter, r *http.Request) error {
	q := queryOf(r)
	request := chat.QueueRequest{Chat: idOf(r), After: q.text("after")}
	if err := q.err(); err != nil {
		return err
	}
	reply, err := g.service.Queue(r.Context(), request)
	if err != nil {
		return err
	}
	return g.kit.Write(w, http.StatusOK, reply)
}

func (g *Gateway) interrupt(w http.ResponseWriter, r *http.Request) error {
	var request chat.InterruptRequest
	if err := g.kit.Read(w, r, &request); err != nil {
		return err
	}
	if err := named(&request.Chat, r); err != nil {
		return err
	}
	reply, err := g.service.Interrupt(r.Context(), request)
	if err != nil {
		return err
	}
	return g.kit.Write(w, http.StatusOK, reply)
}

func (g *Gateway) retry(w http.ResponseWriter, r *http.Request) error {
	var request chat.ChatRequest
	if err := g.kit.Read(w, r, &request); err != nil {
		return err
	}
	if err := named(&request.Chat, r); err != nil {
		return err
	}
	reply, err := g.service.Retry(r.Context(), request)
	if err != nil {
		return err
	}
	return g.kit.Write(w, http.StatusOK, reply)
}

func (g *Gateway) truncate(w http.ResponseWriter, r *http.Request) error {
	var request chat.TruncateRequest
	if err := g.kit.Read(w, r, &request); err != nil {
		return err
	}
	if err := named(&request.Chat, r); err != nil {
		return err
	}
	reply, err := g.service.Truncate(r.Context(), request)
	if err != nil {
		return err
	}
	return g.kit.Write(w, http.StatusAccepted, reply)
}

// workers tells whoever is bound to a tenant how many replicas there are and how they are, but not on which machines.
func (g *Gateway) workers(w http.ResponseWriter, r *http.Request) error {
	if err := queryOf(r).err(); err != nil {
		return err
	}
	reply, err := g.service.Workers(r.Context(), chat.WorkersRequest{})
	if err != nil {
		return err
	}
	if reply.Workers == nil {
		reply.Workers = []chat.Worker{}
	}
	if chat.TenantOf(r.Context()) != "" {
		for i := range reply.Workers {
			reply.Workers[i].Host, reply.Workers[i].PID = "", 0
		}
	}
	return g.kit.Write(w, http.StatusOK, reply)
}

func idOf(r *http.Request) chat.ID { return chat.ID(r.PathValue("id")) }

// named takes the chat's id from the path; a body that names it has to agree.
func named(id *chat.ID, r *http.Request) error {
	if *id != "" && *id != idOf(r) {
		return chat.Errorf(chat.Invalid, "chat", "chat is %q in the body and %q in the path", string(*id), string(idOf(r)))
	}
	*id = idOf(r)
	return nil
}
