package uistream

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strconv"
	"strings"

	"processor/internal/chat"
)

// maxBody is for clients that send the whole conversation with every message.
const maxBody = 16 << 20

// The triggers of a request.
const (
	submit     = "submit-message"
	regenerate = "regenerate-message"
)

// post is the body of a request. Fields that an application adds for itself are let through.
type post struct {
	ID        string      `json:"id"`
	Messages  []uiMessage `json:"messages"`
	Trigger   string      `json:"trigger"`
	MessageID string      `json:"messageId"`
	// Model answers the turn instead of the chat's own; Busy is what a message does that comes while the chat is busy.
	Model string    `json:"model"`
	Busy  chat.Busy `json:"busy"`
	// Reset is false for clients that don't know reset-step.
	Reset *bool           `json:"reset"`
	Tools json.RawMessage `json:"tools"`

	// parts are those of the last message, which is the one that counts; system is what the client's system messages say.
	parts  []chat.Part
	system string
}

type uiMessage struct {
	ID    string   `json:"id"`
	Role  string   `json:"role"`
	Parts []uiPart `json:"parts"`
}

type uiPart struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

func (p *post) last() uiMessage { return p.Messages[len(p.Messages)-1] }

func readPost(raw []byte) (*post, error) {
	p := &post{}
	if err := json.Unmarshal(raw, p); err != nil {
		var kind *json.UnmarshalTypeError
		if errors.As(err, &kind) {
			return nil, chat.Errorf(chat.Malformed, kind.Field, "%s has the wrong type", kind.Field)
		}
		return nil, chat.Errorf(chat.Malformed, "", "the body is not JSON")
	}
	n := len(p.Messages)
	switch {
	case len(p.Tools) > 0:
		return nil, chat.Errorf(chat.Invalid, "tools", "tools are not supported")
	case p.Trigger == "":
		p.Trigger = submit
	case p.Trigger != submit && p.Trigger != regenerate:
		return nil, chat.Errorf(chat.Invalid, "trigger", "trigger must be %s or %s", submit, regenerate)
	}
	if n == 0 || p.last().Role != string(chat.User) {
		return nil, chat.Errorf(chat.Invalid, "messages", "the last of the messages must be the user's")
	}
	if p.ID != "" {
		if err := chat.CheckID("id", p.ID); err != nil {
			return nil, err
		}
	}
	var err error
	if p.parts, err = texts(p.last()); err != nil {
		return nil, err
	}
	return p, p.readSystem()
}

// texts are the parts of a message, which have to be text.
func texts(m uiMessage) ([]chat.Part, error) {
	var out []chat.Part
	for _, part := range m.Parts {
		if part.Type != string(chat.TextPart) {
			return nil, chat.Errorf(chat.Invalid, "messages", "parts of type %q are not supported, text only", part.Type)
		}
		if part.Text != "" {
			out = append(out, chat.Part{Type: chat.TextPart, Text: part.Text})
		}
	}
	if len(out) == 0 {
		return nil, chat.Errorf(chat.Invalid, "messages", "the last message has no text")
	}
	return out, nil
}

func (p *post) readSystem() error {
	var all []string
	for _, m := range p.Messages {
		if m.Role != "system" {
			continue
		}
		parts, err := texts(m)
		if err != nil {
			return err
		}
		all = append(all, chat.Message{Parts: parts}.Text())
	}
	p.system = strings.Join(all, "\n\n")
	return nil
}

// accept does what the request asks for, and says where the answer is to come.
func (s *Server) accept(ctx context.Context, p *post) (place, error) {
	if p.ID == "" {
		return s.create(ctx, p)
	}
	id, client := chat.ID(p.ID), p.last().ID
	if client == "" {
		return s.send(ctx, p)
	}
	found, err := s.service.Find(ctx, chat.FindRequest{Chat: id, ClientID: client})
	var refusal *chat.Error
	switch {
	case err == nil:
		return s.known(ctx, p, found.Message)
	case errors.As(err, &refusal) && refusal.Code == chat.NotFound && refusal.Field == "chat":
		return s.create(ctx, p)
	case errors.As(err, &refusal) && refusal.Code == chat.NotFound:
		return s.send(ctx, p)
	}
	return place{}, err
}

// create makes the chat with its first message. Whoever else made it meanwhile is sent the message.
func (s *Server) create(ctx context.Context, p *post) (place, error) {
	made, err := s.service.Create(ctx, chat.CreateRequest{
		ID: chat.ID(p.ID), Model: p.Model, System: p.system,
		Message: &chat.FirstMessage{Parts: p.parts, ClientID: p.last().ID},
	})
	var refusal *chat.Error
	if errors.As(err, &refusal) && refusal.Code == chat.Conflict && refusal.Field == "id" {
		return s.send(ctx, p)
	}
	if err != nil {
		return place{}, err
	}
	return answering(made.Chat.ID, *made.Message), nil
}

func (s *Server) send(ctx context.Context, p *post) (place, error) {
	sent, err := s.service.Send(ctx, chat.SendRequest{
		Chat: chat.ID(p.ID), Parts: p.parts, ClientID: p.last().ID, Model: p.Model, Busy: p.Busy,
	})
	if err != nil {
		return place{}, err
	}
	return answering(sent.Chat.ID, sent.Message), nil
}

// answering is where the answer to a message comes.
func answering(id chat.ID, m chat.Message) place {
	return place{run: run{chat: id, turn: m.Turn, client: m.ClientID}}
}

// known decides what is wanted of a message that was sent before: nothing new if the request is a repeat, else that it is answered again. A repeated
// regeneration names an answer that is gone by now. An edit that leaves the text as it is does so only if there is something after the answer that is to go.
func (s *Server) known(ctx context.Context, p *post, m chat.Message) (place, error) {
	here := answering(m.Chat, m)
	same := m.Text() == chat.Message{Parts: p.parts}.Text()
	if m.ID == nil {
		if !same || p.Trigger == regenerate {
			return place{}, chat.Errorf(chat.Conflict, "messageId", "the message waits to be answered, and can't be changed until then")
		}
		return here, nil
	}
	row, err := s.service.Before(ctx, chat.TurnRequest{Chat: m.Chat})
	if err != nil {
		return place{}, err
	}
	r := chat.TruncateRequest{Chat: m.Chat, Message: *m.ID, Model: p.Model}
	switch {
	case p.Trigger == regenerate:
		if answer := answeredTurn(m.Chat, p.MessageID); answer != 0 && answer != m.Turn {
			return here, nil
		}
	case same && row.Chat.Turn == m.Turn && row.Chat.Status != chat.Parked:
		return here, nil
	case p.MessageID != p.last().ID:
		if same {
			return here, nil // a repeat, which came late
		}
		return place{}, chat.Errorf(chat.Conflict, "messages", "message %q was sent before with another text", m.ClientID)
	}
	if !same {
		r.Parts = p.parts
	}
	cut, err := s.service.Truncate(ctx, r)
	if err != nil {
		return place{}, err
	}
	return answering(m.Chat, cut.Message), nil
}

// readQuery reads ?startIndex and ?reset.
func readQuery(q url.Values) (index int, counted, steady bool, err error) {
	if text := q.Get("startIndex"); text != "" {
		counted = true
		if index, err = strconv.Atoi(text); err != nil {
			return 0, false, false, chat.Errorf(chat.Malformed, "startIndex", "startIndex must be a whole number")
		}
	}
	if text := q.Get("reset"); text != "" {
		reset, err := strconv.ParseBool(text)
		if err != nil {
			return 0, false, false, chat.Errorf(chat.Malformed, "reset", "reset must be true or false")
		}
		steady = !reset
	}
	return index, counted, steady, nil
}

// stopped is the run that a stop is meant for, none for the open turn. Clients may name the stream by its run's id.
func stopped(id chat.ID, raw []byte) (run, error) {
	var named struct {
		ActiveStreamID string `json:"activeStreamId"`
	}
	if len(raw) > 0 && json.Unmarshal(raw, &named) != nil {
		return run{}, chat.Errorf(chat.Malformed, "", "the body is not JSON")
	}
	if named.ActiveStreamID == "" {
		return run{}, nil
	}
	r, err := parseRun(named.ActiveStreamID)
	if err != nil || r.chat != id {
		return run{}, errNoRun(run{chat: id})
	}
	return r, nil
}
