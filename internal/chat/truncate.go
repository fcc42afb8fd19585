package chat

import "context"

// Truncate removes a user message and all that follows it, from every status, and opens a turn with the message again: a person edits what
// was said, or wants another answer. The queue is kept. A repeated request is refused: the id that it names is gone.
func (s *Service) Truncate(ctx context.Context, r TruncateRequest) (TruncateReply, error) {
	t, err := newTruncation(r)
	if err != nil {
		return TruncateReply{}, err
	}
	out, err := observe(s, Truncate, func() (Outcome, error) { return s.store.Truncate(ctx, t) })
	if err != nil {
		return TruncateReply{}, err
	}
	s.tell(out, "truncated")
	return TruncateReply{Chat: out.Chat, Message: out.Messages[len(out.Messages)-1]}, nil
}

// Find finds a user message by its sender's id, in the history or, with no id of its own, in the queue.
func (s *Service) Find(ctx context.Context, r FindRequest) (FindReply, error) {
	if err := firstError([]error{CheckID("chat", string(r.Chat)), checkClientID(r.ClientID)}); err != nil {
		return FindReply{}, err
	}
	m, err := s.store.Find(ctx, r.Chat, r.ClientID)
	return FindReply{m}, err
}

// ErrNoMessage makes the refusal of a message that its sender has not sent, or that was removed.
func ErrNoMessage(clientID string) *Error {
	return Errorf(NotFound, "client_id", "there is no message %q", clientID)
}

func newTruncation(r TruncateRequest) (Truncation, error) {
	t := Truncation{Chat: r.Chat, Message: r.Message, Model: r.Model, Version: r.Version}
	errs := []error{CheckID("chat", string(r.Chat)), checkModel(r.Model)}
	if r.Message < 1 {
		errs = append(errs, Errorf(Invalid, "message", "message must be the id of a user message"))
	}
	if r.Version < 0 {
		errs = append(errs, Errorf(Invalid, "version", "version must be one that the chat had"))
	}
	if r.Text != nil || r.Parts != nil {
		m, err := newMessage(SendRequest{Chat: r.Chat, Text: r.Text, Parts: r.Parts, ClientID: "any"})
		t.Parts, errs = m.Parts, append(errs, err)
	}
	params, err := storedParams(r.Params)
	t.Params, errs = params, append(errs, err)
	return t, firstError(errs)
}

// CheckMessage refuses a truncation at a message that is not there, or is not a user's; role is empty for none.
func (t Truncation) CheckMessage(role Role) error {
	switch role {
	case "":
		return Errorf(NotFound, "message", "there is no message %d in the history of chat %q", t.Message, string(t.Chat))
	case User:
		return nil
	default:
		return Errorf(Invalid, "message", "message %d is not a user's", t.Message)
	}
}

// CheckVersion refuses a truncation of a chat that has moved on.
func (t Truncation) CheckVersion(c Chat) error {
	if t.Version != 0 && t.Version != c.Version {
		return Errorf(Conflict, "version", "the chat is at version %d, the request is for %d", c.Version, t.Version)
	}
	return nil
}
