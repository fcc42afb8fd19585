package chat

import "context"

// Queued is a chat's row and what waits in its queue after a message, as Postgres holds both at one moment.
type Queued struct {
	Chat Chat
	// Messages have no id yet.
	Messages []Message
	// More says that there are more of them.
	More bool
}

// Queue pages through what was accepted and waits to be taken into the history. It changes with the version of the row: a status event says when to
// look again.
func (s *Service) Queue(ctx context.Context, r QueueRequest) (QueueReply, error) {
	if err := firstError([]error{CheckID("chat", string(r.Chat)), checkAfter(r.After)}); err != nil {
		return QueueReply{}, err
	}
	q, err := s.store.Queue(ctx, r.Chat, r.After, MaxReply)
	if err != nil {
		return QueueReply{}, err
	}
	return q.page(), nil
}

func checkAfter(clientID string) error {
	if len(clientID) > maxClientID {
		return Errorf(Invalid, "after", "after must be the client_id of a queued message")
	}
	return checkText("after", clientID, maxClientID)
}

// page keeps what fits a reply, and the first message in any case: a reader that could not get past it would never see the rest.
func (q Queued) page() QueueReply {
	size, keep := sizeOf(q.Chat), len(q.Messages)
	for i, m := range q.Messages {
		if size += sizeOf(m) + 1; i > 0 && size > MaxReply {
			keep = i
			break
		}
	}
	reply := QueueReply{Chat: q.Chat, Messages: q.Messages[:keep]}
	if q.More || keep < len(q.Messages) {
		reply.Next = q.Messages[keep-1].ClientID
	}
	if reply.Messages == nil {
		reply.Messages = []Message{}
	}
	return reply
}
