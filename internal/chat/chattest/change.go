package chattest

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"processor/internal/chat"
)

// stored copies what a caller may still write to, as a database would.
func stored(m chat.Message) chat.Message {
	m.Parts = slices.Clone(m.Parts)
	if m.Parts == nil {
		m.Parts = []chat.Part{}
	}
	m.Chunks = slices.Clone(m.Chunks)
	m.Params = slices.Clone(m.Params)
	return m
}

// pend makes the chat wait for an owner.
func (c *change) pend(wait time.Duration) {
	c.chat.Status, c.chat.Worker, c.chat.ClaimedAt = chat.Pending, nil, nil
	c.m.Rules.Wake(&c.dispatch, c.now, wait)
}

// rest ends the ownership and the waiting for one.
func (c *change) rest(s chat.Status) {
	c.chat.Status, c.chat.Worker, c.chat.ClaimedAt, c.chat.RetryAt, c.dispatch.At = s, nil, nil, nil, nil
}

// anew gives the turn its budgets back.
func (c *change) anew() { c.m.Rules.Anew(&c.chat) }

// turn opens the next turn with a user message.
func (c *change) turn(m chat.Message) chat.Message {
	c.chat.Turn++
	c.chat.Step = 0
	c.anew()
	m.Role, m.Turn, m.Step, m.Epoch = chat.User, c.chat.Turn, 0, c.chat.Epoch
	return c.add(m)
}

// enqueue appends to the queue. The limit is the caller's to judge: it depends on what the move takes out again.
func (c *change) enqueue(m chat.Message) {
	m = stored(m)
	m.Role, m.Chat, m.CreatedAt = chat.User, c.chat.ID, c.now
	c.queue = append(c.queue[:len(c.queue):len(c.queue)], m)
	c.chat.Queued = len(c.queue)
}

// pop moves the head of the queue into history as the next turn.
func (c *change) pop() {
	head := c.queue[0]
	c.queue = c.queue[1:]
	c.chat.Queued = len(c.queue)
	if c.m.Rules.Inserted(head) {
		c.turn(head)
	}
}

// full refuses what would leave more than the limit in the queue.
func (c *change) full() error {
	if c.chat.Queued > chat.MaxQueue {
		return chat.Errorf(chat.Full, "queue", "%d messages wait already, the limit is %d", chat.MaxQueue, chat.MaxQueue)
	}
	return nil
}

// step writes messages as the step after the row's.
func (c *change) step(epoch int64, messages []chat.Message) {
	for _, m := range messages {
		m.Turn, m.Step, m.Epoch = c.chat.Turn, c.chat.Step+1, epoch
		c.add(m)
	}
}

// closed are the synthetic results of the open turn's calls, then its last message.
func (c *change) closed(last chat.Message) []chat.Message {
	open := slices.DeleteFunc(slices.Clone(c.messages), func(m chat.Message) bool { return m.Turn != c.chat.Turn })
	return append(chat.CloseCalls(open), last)
}

// park ends the turn with an error; the step is not counted, so that a retry writes the same one.
func (c *change) park(e chat.TurnError) {
	e.At = c.now
	if e.Attempts == 0 {
		e.Attempts = c.chat.Attempts
	}
	c.rest(chat.Parked)
	c.chat.LastError = &e
}

// settle ends the turn: an idle chat, or the queue's head.
func (c *change) settle() (popped bool) {
	c.chat.Step++
	c.anew()
	c.chat.LastError = nil
	if len(c.queue) == 0 {
		c.rest(chat.Waiting)
		return false
	}
	c.pop()
	return true
}

// landed finds the messages that an earlier call with the same lease wrote.
func (c *change) landed(l chat.Lease) []chat.Message {
	var found []chat.Message
	for _, m := range c.messages {
		if c.chat.Number == l.Number && m.Turn == l.Turn && m.Step == l.Step+1 && m.Epoch == l.Epoch {
			found = append(found, m)
		}
	}
	return found
}

// size is what the history budget counts.
func size(m chat.Message) int {
	raw, err := json.Marshal(m.Parts)
	if err != nil {
		panic("parts of a stored message: " + err.Error())
	}
	return len(raw)
}

// refuse names the transition and the status, for people; the sentinel is for code.
func refuse(sentinel error, t chat.Transition, from chat.Status) error {
	return fmt.Errorf("%w: %s is not possible from %s", sentinel, string(t), string(from))
}
