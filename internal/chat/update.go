package chat

import (
	"context"
	"encoding/json"
)

// Labelling is what a chat is called from now on. Nothing that is said or run depends on it.
type Labelling struct {
	Chat ID
	// Title and Metadata stay as they are where these are nil.
	Title    *string
	Metadata json.RawMessage
}

// Labels is what callers need of the store to say what a chat is called. Errors are as those of Commands.
type Labels interface {
	// Update changes the row and nothing else, in every status. The same again is another change of the row with the same outcome.
	Update(ctx context.Context, l Labelling) (Outcome, error)
}

// Update changes a chat's title and metadata, also when it is busy. Of two updates at once the later one stands.
func (s *Service) Update(ctx context.Context, r UpdateRequest) (ChatReply, error) {
	l, err := newLabelling(r)
	if err != nil {
		return ChatReply{}, err
	}
	out, err := observe(s, Update, func() (Outcome, error) { return s.store.Update(ctx, l) })
	if err != nil {
		return ChatReply{}, err
	}
	s.bus.Announce(out.Events("updated")...)
	return ChatReply{out.Chat}, nil
}

func newLabelling(r UpdateRequest) (Labelling, error) {
	l := Labelling{Chat: r.Chat, Title: r.Title}
	metadata, err := checkMetadata(r.Metadata)
	l.Metadata = metadata
	errs := []error{CheckID("chat", string(r.Chat)), err}
	if r.Title != nil {
		errs = append(errs, checkTitle(*r.Title))
	}
	if r.Title == nil && metadata == nil {
		errs = append(errs, Errorf(Invalid, "metadata", "give a title, metadata, or both"))
	}
	return l, firstError(errs)
}
