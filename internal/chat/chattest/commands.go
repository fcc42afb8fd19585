package chattest

import (
	"context"
	"slices"

	"processor/internal/chat"
)

// Create implements chat.Commands.
func (m *Memory) Create(ctx context.Context, n chat.NewChat) (chat.Sent, error) {
	if only := chat.TenantOf(ctx); only != "" && n.Tenant != only {
		return chat.Sent{}, chat.ErrTenant(only)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if r, ok := m.chats[n.ID]; ok {
		return m.open(r).created(n)
	}
	c := m.create(n, n.Digest())
	sent := chat.Sent{}
	if n.Message != nil {
		c.pend(m.RedispatchAfter)
		sent.Message = c.turn(userMessage(*n.Message))
	}
	m.chats[n.ID] = c.record
	sent.Outcome = chat.Outcome{Changed: true, Chat: c.chat, Messages: c.added}
	return sent, nil
}

// create makes the record of an idle chat.
func (m *Memory) create(n chat.NewChat, digest [32]byte) *change {
	m.number++
	now := m.now()
	return m.open(&record{digest: digest, chat: chat.Chat{
		Number: m.number, ID: n.ID, Tenant: n.Tenant, Title: n.Title, Model: n.Model, System: n.System,
		Metadata: object(n.Metadata), Status: chat.Waiting, Version: 1, CreatedAt: now, UpdatedAt: now,
	}})
}

// created answers a creation of an id that exists.
func (c *change) created(n chat.NewChat) (chat.Sent, error) {
	if c.digest != n.Digest() {
		return chat.Sent{}, chat.Errorf(chat.Conflict, "id", "there is another chat %q", string(n.ID))
	}
	sent := chat.Sent{Outcome: c.same(), Duplicate: true}
	if n.Message != nil {
		sent.Message = c.messages[0]
	}
	return sent, nil
}

func userMessage(n chat.NewMessage) chat.Message {
	return chat.Message{Role: chat.User, Parts: n.Parts, ClientID: n.ClientID, Model: n.Model, Params: n.Params}
}

// Send implements chat.Commands.
func (m *Memory) Send(ctx context.Context, n chat.NewMessage, partial *chat.Partial) (chat.Sent, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, err := m.findFor(ctx, n.Chat)
	if err != nil {
		return chat.Sent{}, err
	}
	if accepted, ok := c.accepted(n.ClientID); ok {
		return c.again(n, accepted)
	}
	if err := chat.Send.Check(c.from); err != nil {
		return chat.Sent{}, err
	}
	if err := c.send(n, partial); err != nil {
		return chat.Sent{}, err
	}
	out := c.put(chat.Send)
	accepted, _ := c.accepted(n.ClientID)
	return chat.Sent{Outcome: out, Message: accepted, Queued: accepted.ID == nil}, nil
}

// OpenTurn implements chat.Opens.
func (m *Memory) OpenTurn(ctx context.Context, n chat.NewMessage, worker chat.WorkerID, b chat.Budget) (chat.Sent, []chat.Message, error) {
	m.mu.Lock()
	c, err := m.findFor(ctx, n.Chat)
	w, known := m.workers[worker]
	opens := err == nil && c.from == chat.Waiting && (n.After == nil || *n.After == c.chat.Turn) && known && m.Rules.Entitled(*w)
	if opens {
		_, again := c.accepted(n.ClientID)
		opens = !again
	}
	if !opens {
		m.mu.Unlock()
		sent, err := m.Send(ctx, n, nil)
		return sent, nil, err
	}
	defer m.mu.Unlock()
	c.own(worker)
	msg := c.turn(userMessage(n))
	return chat.Sent{Outcome: c.put(chat.Send), Message: msg}, c.history(b), nil
}

// accepted finds a message by the sender's id, in history or in the queue.
func (c *change) accepted(clientID string) (chat.Message, bool) {
	for _, list := range [][]chat.Message{c.messages, c.queue} {
		if i := slices.IndexFunc(list, func(m chat.Message) bool { return c.m.Rules.Accepted(clientID, m) }); i >= 0 {
			return list[i], true
		}
	}
	return chat.Message{}, false
}

// again answers a client_id that was accepted before.
func (c *change) again(n chat.NewMessage, accepted chat.Message) (chat.Sent, error) {
	if !n.SameContent(accepted) {
		return chat.Sent{}, chat.Errorf(chat.Conflict, "client_id", "client_id %q was sent before with other content", n.ClientID)
	}
	return chat.Sent{Outcome: c.same(), Message: accepted, Queued: accepted.ID == nil, Duplicate: true}, nil
}

func (c *change) send(n chat.NewMessage, partial *chat.Partial) error {
	msg := userMessage(n)
	switch {
	case n.After != nil && (c.from == chat.Pending || c.from == chat.Running || c.chat.Turn != *n.After || c.chat.Queued > 0):
		return chat.Errorf(chat.Conflict, "after", "the chat is %s in turn %d, and the sender knows turn %d", string(c.from), c.chat.Turn, *n.After)
	case c.from == chat.Waiting:
		c.pend(c.m.RedispatchAfter)
		c.turn(msg)
	case c.from == chat.Parked:
		c.enqueue(msg)
		c.chat.LastError = nil
		c.pend(c.m.RedispatchAfter)
		c.pop()
	case n.Busy == chat.BusyReject:
		return chat.Errorf(chat.Conflict, "status", "the chat is %s, and the sender wants no queue", string(c.from))
	default:
		c.enqueue(msg)
		if n.Busy == chat.BusyInterrupt {
			c.interrupt(partial)
		}
	}
	return c.full()
}

// Interrupt implements chat.Commands.
func (m *Memory) Interrupt(ctx context.Context, id chat.ID, turn int, partial *chat.Partial) (chat.Outcome, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, err := m.findFor(ctx, id)
	if err != nil {
		return chat.Outcome{}, err
	}
	if err := chat.Interrupt.Check(c.from); err != nil {
		return chat.Outcome{}, err
	}
	idle := c.from == chat.Waiting || c.from == chat.Parked
	asked := c.from == chat.Running && c.m.Rules.Asked(c.chat)
	if idle || asked || (turn != 0 && turn != c.chat.Turn) {
		return c.same(), nil
	}
	c.interrupt(partial)
	return c.put(chat.Interrupt), nil
}

// interrupt tells a running chat's owner, and ends a pending chat's turn itself, in an epoch of its own.
func (c *change) interrupt(partial *chat.Partial) {
	if c.from == chat.Running {
		c.chat.InterruptTurn = c.chat.Turn
		return
	}
	last := chat.Message{Role: chat.Assistant, Finish: chat.Interrupted}
	if partial != nil && partial.Of(c.chat) {
		last.Parts, last.Chunks = partial.Parts, partial.Chunks
	}
	c.chat.Epoch++
	c.step(c.chat.Epoch, c.closed(last))
	if c.settle() {
		c.pend(c.m.RedispatchAfter)
	}
}

// Retry implements chat.Commands.
func (m *Memory) Retry(ctx context.Context, id chat.ID) (chat.Outcome, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, err := m.findFor(ctx, id)
	if err != nil {
		return chat.Outcome{}, err
	}
	if err := chat.Retry.Check(c.from); err != nil {
		return chat.Outcome{}, err
	}
	if c.from != chat.Parked {
		return c.same(), nil
	}
	removed := c.forget()
	c.anew()
	c.chat.LastError = nil
	c.chat.Epoch++
	c.pend(m.RedispatchAfter)
	out := c.put(chat.Retry)
	out.Removed, out.Kept = removed, c.last()
	return out, nil
}

// forget takes the error that ended the turn out of the history.
func (c *change) forget() (removed []int64) {
	var kept []chat.Message
	for _, msg := range c.messages {
		if msg.Turn == c.chat.Turn && msg.Finish == chat.Failed {
			removed = append(removed, *msg.ID)
			continue
		}
		kept = append(kept, msg)
	}
	c.messages = kept
	return removed
}

// Delete implements chat.Commands.
func (m *Memory) Delete(ctx context.Context, id chat.ID) (chat.Chat, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, err := m.findFor(ctx, id)
	if err != nil {
		return chat.Chat{}, err
	}
	chat.Delete.CheckTo(c.from, chat.Gone)
	delete(m.chats, id)
	return c.chat, nil
}
