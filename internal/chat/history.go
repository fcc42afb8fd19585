package chat

import (
	"context"
	"crypto/sha256"
	"encoding/json"
)

// Exchange is a turn that is over when it is written: what somebody said and what was answered, neither of it to or by a model of ours. Either may
// be missing.
type Exchange struct {
	Said   []Part `json:"said,omitempty"`
	Answer []Part `json:"answer,omitempty"`
	// ClientID is what a user message must have. It is made here and no part of the content.
	ClientID string `json:"-"`
}

// MaxExchanges bounds how many turns one request may bring.
const MaxExchanges = 500

// Exchanged are the messages of exchanges as the turns after one, in an epoch.
func Exchanged(turn int, epoch int64, all []Exchange) []Message {
	messages := make([]Message, 0, 2*len(all))
	for i, e := range all {
		messages = append(messages,
			Message{Turn: turn + i + 1, Epoch: epoch, Role: User, Parts: e.Said, ClientID: e.ClientID},
			Message{Turn: turn + i + 1, Step: 1, Epoch: epoch, Role: Assistant, Parts: e.Answer, Finish: Stop})
	}
	return messages
}

// NewFork is a chat to make that begins with a history: From's up to Turn, if it names a chat, and then Exchanges. With From, the chat takes
// tenant, title, model and system prompt from there, and must have a Message.
type NewFork struct {
	NewChat

	From      ID
	Turn      int
	Exchanges []Exchange
}

// Opens is the turn that the fork's message opens.
func (f NewFork) Opens() int { return f.Turn + len(f.Exchanges) + 1 }

// Digest identifies the content, as that of a NewChat does.
func (f NewFork) Digest() [sha256.Size]byte {
	chat := f.NewChat.Digest()
	raw, err := json.Marshal(struct {
		Chat      []byte
		From      ID
		Turn      int
		Exchanges []Exchange
	}{chat[:], f.From, f.Turn, f.Exchanges})
	if err != nil {
		panic("digest of a validated fork: " + err.Error())
	}
	return sha256.Sum256(raw)
}

// Histories is what callers need of the store for turns that were had elsewhere. Errors are as those of Commands.
type Histories interface {
	// Append adds turns that are over to an idle chat.
	Append(ctx context.Context, id ID, all []Exchange) (Outcome, error)
	// Fork makes a chat with a history, and opens a turn with the message if there is one. Of the messages, the outcome has that one only.
	// The same fork again returns the first result. A turn that is not over can't be forked from.
	Fork(ctx context.Context, f NewFork) (Sent, error)
	// Before reads the row, the id of the last message of the turns before one, and whether that was forgotten.
	Before(ctx context.Context, id ID, turn int) (TurnReply, error)
	// Forget marks a turn that is over: NotFound, turn, for one that is not there or was forgotten; Conflict, turn, for one that is not over.
	// The row, its version and its messages stay as they are. A fork's turns are its own, whatever becomes of those that they were copied from.
	Forget(ctx context.Context, id ID, turn int) error
}

// ErrNoTurn makes the refusal of a turn that is not there, or not any more.
func ErrNoTurn(id ID, turn int) *Error {
	return Errorf(NotFound, "turn", "chat %q has no turn %d", string(id), turn)
}

// ErrOpenTurn makes the refusal of a turn that is not over.
func ErrOpenTurn(turn int) *Error { return Errorf(Conflict, "turn", "turn %d is not over", turn) }

type (
	// AppendRequest adds turns that are over.
	AppendRequest struct {
		Chat      ID         `json:"chat"`
		Exchanges []Exchange `json:"exchanges"`
	}
	// AppendReply has the messages that were added.
	AppendReply struct {
		Chat     Chat      `json:"chat"`
		Messages []Message `json:"messages"`
	}
	// ForkRequest makes a chat that begins with another one's history up to a turn, with exchanges, or with both.
	ForkRequest struct {
		CreateRequest

		From      ID         `json:"from,omitempty"`
		Turn      int        `json:"turn,omitempty"`
		Exchanges []Exchange `json:"exchanges,omitempty"`
		Model     string     `json:"message_model,omitempty"`
		Params    *Params    `json:"params,omitempty"`
	}
	// TurnRequest names a turn.
	TurnRequest struct {
		Chat ID  `json:"chat"`
		Turn int `json:"turn"`
	}
	// TurnReply says after which message the turn's messages come.
	TurnReply struct {
		Chat  Chat  `json:"chat"`
		After int64 `json:"after"`
		// Forgotten: see Forget. A truncation opens another turn, which was not.
		Forgotten bool `json:"forgotten,omitempty"`
	}
)

// Append adds turns that are over to an idle chat. A busy one is refused: the turns would come before what is answered just now.
func (s *Service) Append(ctx context.Context, r AppendRequest) (AppendReply, error) {
	all, err := newExchanges(r.Exchanges)
	if err == nil {
		err = CheckID("chat", string(r.Chat))
	}
	if err == nil && len(all) == 0 {
		err = Errorf(Invalid, "exchanges", "there is nothing to append")
	}
	if err != nil {
		return AppendReply{}, err
	}
	out, err := observe(s, Append, func() (Outcome, error) { return s.store.Append(ctx, r.Chat, all) })
	if err != nil {
		return AppendReply{}, err
	}
	s.tell(out, "appended")
	return AppendReply{Chat: out.Chat, Messages: out.Messages}, nil
}

// Fork makes a chat that begins with a history. The same id with the same content again returns the first result.
func (s *Service) Fork(ctx context.Context, r ForkRequest) (CreateReply, error) {
	r.CreateRequest = r.forTenant(ctx)
	f, err := s.newFork(r)
	if err != nil {
		return CreateReply{}, err
	}
	sent, err := observe(s, Send, func() (Sent, error) { return s.store.Fork(ctx, f) })
	if err != nil {
		return CreateReply{}, err
	}
	if sent.Changed {
		s.tell(sent.Outcome, "created")
	}
	reply := CreateReply{Chat: sent.Chat, Duplicate: sent.Duplicate}
	if f.Message != nil {
		reply.Message = &sent.Message
	}
	return reply, nil
}

// Before finds where a turn begins in its chat's messages, or would begin.
func (s *Service) Before(ctx context.Context, r TurnRequest) (TurnReply, error) {
	if err := CheckID("chat", string(r.Chat)); err != nil {
		return TurnReply{}, err
	}
	return s.store.Before(ctx, r.Chat, r.Turn)
}

// Forget marks a turn that is over as one that is no more for those who ask for it by its number. Its messages stay in the history, so later
// turns build on them, and watchers are told nothing. The second time is refused.
func (s *Service) Forget(ctx context.Context, r TurnRequest) error {
	if err := CheckID("chat", string(r.Chat)); err != nil {
		return err
	}
	return s.store.Forget(ctx, r.Chat, r.Turn)
}

func (s *Service) newFork(r ForkRequest) (NewFork, error) {
	first := r.Message
	r.Message = nil
	c, err := s.newChat(r.CreateRequest)
	f := NewFork{NewChat: c, From: r.From, Turn: r.Turn}
	errs := []error{err}
	if f.Exchanges, err = newExchanges(r.Exchanges); err != nil {
		errs = append(errs, err)
	}
	if f.From != "" {
		errs = append(errs, CheckID("from", string(f.From)))
	}
	if (f.From != "") != (f.Turn > 0) || f.Turn < 0 || f.Turn > 1<<30 || (f.From != "" && first == nil) {
		errs = append(errs, Errorf(Invalid, "turn", "from and turn go together, and with a message"))
	}
	if first != nil {
		m, err := newMessage(SendRequest{Chat: c.ID, Text: first.Text, Parts: first.Parts, ClientID: first.ClientID, Model: r.Model, Params: r.Params})
		errs = append(errs, err)
		f.Message = &m
	}
	return f, firstError(errs)
}

// newExchanges checks what was said and gives each turn the id that its user message needs.
func newExchanges(all []Exchange) ([]Exchange, error) {
	if len(all) > MaxExchanges {
		return nil, Errorf(TooLarge, "exchanges", "there are %d turns, the limit is %d", len(all), MaxExchanges)
	}
	checked := make([]Exchange, len(all))
	for i, e := range all {
		if len(e.Said) == 0 && len(e.Answer) == 0 {
			return nil, Errorf(Invalid, "exchanges", "a turn in which nobody says anything")
		}
		for _, parts := range [][]Part{e.Said, e.Answer} {
			if len(parts) == 0 {
				continue
			}
			if err := checkParts(parts); err != nil {
				return nil, err
			}
		}
		checked[i] = e
		checked[i].ClientID = newUUID()
	}
	return checked, nil
}
