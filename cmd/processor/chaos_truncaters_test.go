package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"processor/internal/chat"
)

// truncate is the life of somebody who edits what others have said, or wants another answer to it.
func (c *client) truncate() {
	for c.pause(20*time.Millisecond, 500*time.Millisecond) {
		if id := c.lately(); id != "" {
			c.cutOff(id)
		}
	}
}

// lately is mostly a chat in which somebody still talks.
func (c *client) lately() chat.ID {
	c.crowd.mu.Lock()
	defer c.crowd.mu.Unlock()
	n := len(c.chats)
	if n == 0 {
		return ""
	}
	if c.chance(70) {
		return c.chats[n-1-c.dice.IntN(min(n, 10))]
	}
	return c.chats[c.dice.IntN(n)]
}

// cutOff cuts a chat at the moment that the dice choose: at once, while it is answered, while it rests, or while somebody else sends; and often what
// came of it right away once more.
func (c *client) cutOff(id chat.ID) {
	c.bide(id)
	message, version := c.choose(id)
	if c.chance(40) {
		c.attend(id)
	}
	for message != 0 {
		done := c.cutAt(id, message, version)
		if done.Result != accepted || !c.chance(30) {
			return
		}
		message, version = done.ID, 0
	}
}

// cutAt cuts a chat off at a message, in every fifth case beside somebody else who does the same.
func (c *client) cutAt(id chat.ID, message, version int64) request {
	in := chat.TruncateRequest{Chat: id, Message: message}
	r := request{Op: "truncate", Chat: id, Message: message}
	if c.chance(50) {
		r.Text = c.question(c.next())
		in.Text = &r.Text
	}
	if c.chance(20) {
		in.Version, r.Version = version, version
	}
	if c.chance(20) {
		other := *c
		other.dice = rand.New(rand.NewPCG(c.dice.Uint64(), 0))
		var beside sync.WaitGroup
		beside.Go(func() { other.once(r, in, &chat.TruncateReply{}) })
		defer beside.Wait()
	}
	done := c.persist(r, in, &chat.TruncateReply{})
	if done.Result == accepted && c.chance(20) { // what is gone can't be cut off again
		c.once(r, in, &chat.TruncateReply{})
	}
	return done
}

// bide waits a while for the chat to be as the dice want it.
func (c *client) bide(id chat.ID) {
	wanted := []chat.Status{"", "", chat.Running, chat.Running, chat.Waiting}[c.dice.IntN(5)]
	for range 8 {
		ctx, cancel := context.WithTimeout(c.ctx, time.Second)
		var out chat.ChatReply
		err := c.call(ctx, "get", chat.ChatRequest{Chat: id}, &out)
		cancel()
		if wanted == "" || err == nil && out.Chat.Status == wanted || !c.pause(20*time.Millisecond, 100*time.Millisecond) {
			return
		}
	}
}

// choose picks a message, mostly one of the user's last, and rarely one that nobody may cut at. Zero is none.
func (c *client) choose(id chat.ID) (message, version int64) {
	ctx, cancel := context.WithTimeout(c.ctx, time.Second)
	defer cancel()
	var row chat.ChatReply
	var history chat.MessagesReply
	if c.call(ctx, "get", chat.ChatRequest{Chat: id}, &row) != nil || c.call(ctx, "messages", chat.MessagesRequest{Chat: id, Limit: 200}, &history) != nil {
		return 0, 0
	}
	var said []int64
	for _, m := range history.Messages {
		if m.Role == chat.User || c.chance(2) {
			said = append(said, *m.ID)
		}
	}
	if len(said) == 0 {
		return 0, 0
	}
	if last := min(len(said), 3); c.chance(75) {
		said = said[len(said)-last:]
	}
	return said[c.dice.IntN(len(said))], row.Chat.Version
}

// attend waits a while for somebody to send to the chat.
func (c *client) attend(id chat.ID) {
	c.crowd.mu.Lock()
	said := c.attending[id]
	if said == nil {
		said = make(chan struct{})
		c.attending[id] = said
	}
	c.crowd.mu.Unlock()
	select {
	case <-said:
	case <-time.After(500 * time.Millisecond):
	case <-c.stop:
	}
}

// announce tells those who attend that somebody is about to send to the chat.
func (c *crowd) announce(id chat.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if said := c.attending[id]; said != nil {
		close(said)
		delete(c.attending, id)
	}
}
