package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"processor/internal/bus"
	"processor/internal/chat"
)

// crowd is the clients of a run. What each does is its own dice's, seeded by the run's; when it does it depends on the answers.
type crowd struct {
	*arena
	bus *bus.Bus
	web *http.Client
	// stop ends what clients do by themselves; watchers stay until leave.
	stop, leave chan struct{}
	work        sync.WaitGroup
	audience    sync.WaitGroup

	mu    sync.Mutex
	chats []chat.ID // made lately, for interrupters and watchers to pick from
	// attending are those who want to know when somebody is about to say something in a chat.
	attending map[chat.ID]chan struct{}
}

// client is one of them.
type client struct {
	*crowd
	who   string
	dice  *rand.Rand
	count int
	// flooding makes the answers short.
	flooding bool
	// online says that it talks HTTP, and not to NATS.
	online bool
}

// crowdSize is how many clients there are of each kind.
type crowdSize struct{ senders, interrupters, deleters, truncaters, watchers int }

// newCrowd starts the clients.
func (a *arena) newCrowd(size crowdSize) *crowd {
	a.t.Helper()
	c := &crowd{
		arena: a, bus: a.client(a.urls["senders-nats"], "senders"), web: &http.Client{Transport: &http.Transport{}}, stop: make(chan struct{}),
		leave: make(chan struct{}), attending: map[chat.ID]chan struct{}{},
	}
	a.t.Cleanup(c.web.CloseIdleConnections)
	watchers := a.client(a.urls["watchers-nats"], "watchers")
	start := func(group *sync.WaitGroup, kind string, n int, live func(*client)) {
		for i := range n {
			who := fmt.Sprintf("%s%d", kind, i)
			dice := rand.New(rand.NewPCG(a.seed, uint64(len(kind)*1000+i)))
			group.Go(func() { live(&client{crowd: c, who: who, dice: dice, online: i%2 == 1}) })
		}
	}
	start(&c.work, "sender", size.senders, (*client).send)
	start(&c.work, "interrupter", size.interrupters, (*client).interrupt)
	start(&c.work, "deleter", size.deleters, (*client).delete)
	start(&c.work, "truncater", size.truncaters, (*client).truncate)
	start(&c.audience, "watcher", size.watchers, func(w *client) {
		if w.online {
			w.browse()
		} else {
			w.watch(watchers)
		}
	})
	return c
}

// made tells the others of a chat.
func (c *crowd) made(id chat.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.chats = append(c.chats, id)
	if len(c.chats) > 30 {
		c.chats = c.chats[1:]
	}
}

// any is a chat that somebody talks in, or none.
func (c *client) any() chat.ID {
	c.crowd.mu.Lock()
	defer c.crowd.mu.Unlock()
	if len(c.chats) == 0 {
		return ""
	}
	return c.chats[c.dice.IntN(len(c.chats))]
}

func (c *client) chance(percent int) bool { return c.dice.IntN(100) < percent }

// pause waits, and says whether to go on.
func (c *client) pause(least, most time.Duration) bool {
	select {
	case <-time.After(least + upTo(c.dice, most-least)):
		return true
	case <-c.stop:
		return false
	}
}

func (c *client) stopped() bool {
	select {
	case <-c.stop:
		return true
	default:
		return false
	}
}

// resultOf is what an error tells a client. Of a replica that is not available it says nothing: the request may have been carried out.
func resultOf(err error) result {
	var refusal *chat.Error
	switch {
	case err == nil:
		return accepted
	case errors.As(err, &refusal) && refusal.Code != chat.Unavailable:
		return refused
	default:
		return unknown
	}
}

// once makes one try of a request and notes it.
func (c *client) once(r request, in, out any) request {
	ctx, cancel := context.WithTimeout(c.ctx, 300*time.Millisecond+upTo(c.dice, 1500*time.Millisecond))
	defer cancel()
	r.At, r.Who, r.Web = time.Now(), c.who, c.online
	err := c.call(ctx, r.Op, in, out)
	r.Done = time.Now()
	if r.Result = resultOf(err); r.Result == accepted {
		r.read(out)
	} else {
		r.Why = err.Error()
	}
	c.asked(r)
	return r
}

func (c *client) call(ctx context.Context, op string, in, out any) error {
	if c.online {
		return c.webCall(ctx, op, in, out)
	}
	return c.crowd.bus.Call(ctx, "chats."+op, in, out)
}

// read takes from a reply what identifies the chat and the message.
func (r *request) read(reply any) {
	var message *chat.Message
	switch reply := reply.(type) {
	case *chat.SendReply:
		r.Number, message = reply.Chat.Number, &reply.Message
	case *chat.CreateReply:
		r.Number, message = reply.Chat.Number, reply.Message
	case *chat.TruncateReply:
		r.Number, message = reply.Chat.Number, &reply.Message
	case *chat.ChatReply:
		r.Number = reply.Chat.Number
	}
	if message != nil && message.ID != nil {
		r.ID = *message.ID
	}
}

// persist repeats a request with the same client_id until it has a reply. Now and then it gives up, and does not know.
func (c *client) persist(r request, in, out any) request {
	for {
		done := c.once(r, in, out)
		if done.Result != unknown || c.chance(5) {
			return done
		}
		select {
		case <-time.After(20*time.Millisecond + upTo(c.dice, 200*time.Millisecond)):
		case <-c.over: // everything is healed by now: a last try
			return c.once(r, in, out)
		}
	}
}

// thread is a chat as its only sender sees it.
type thread struct {
	id    chat.ID
	said  int
	limit int
}

func (c *client) next() string {
	c.count++
	return fmt.Sprintf("%s-%d", c.who, c.count)
}

// question is a text whose answer takes from nothing to some seconds.
func (c *client) question(name string) string {
	words, delay := 1+c.dice.IntN(40), 2*time.Millisecond+upTo(c.dice, 40*time.Millisecond)
	switch {
	case c.flooding:
		words, delay = 1, time.Millisecond
	case c.chance(8):
		words, delay = 60, 80*time.Millisecond
	}
	return question(name, words, delay.Round(time.Millisecond))
}

// say sends one message.
func (c *client) say(t *thread, busy chat.Busy) request {
	name := c.next()
	text := c.question(name)
	t.said++
	in := chat.SendRequest{Chat: t.id, Text: &text, ClientID: name, Busy: busy}
	r := request{Op: "send", Chat: t.id, Client: name, Text: text, Busy: busy}
	c.announce(t.id)
	done := c.persist(r, in, &chat.SendReply{})
	if done.Result == accepted && c.chance(10) { // what was accepted is sent again, as after a reply that came too late
		c.once(r, in, &chat.SendReply{})
	}
	return done
}

// open makes a chat, often with its first message.
func (c *client) open(id chat.ID) *thread {
	t := &thread{id: id, limit: 4 + c.dice.IntN(10)}
	in := chat.CreateRequest{ID: id}
	r := request{Op: "create", Chat: id}
	if c.chance(60) {
		name := c.next()
		text := c.question(name)
		in.Message = &chat.FirstMessage{Text: &text, ClientID: name}
		r.Client, r.Text = name, text
		t.said++
	}
	if c.persist(r, in, &chat.CreateReply{}).Result != accepted {
		return nil
	}
	c.made(id)
	return t
}

// send is the life of a sender.
func (c *client) send() {
	var talks []*thread
	for n := 0; !c.stopped(); n++ {
		if len(talks) < 3 || c.chance(10) {
			if t := c.open(chat.ID(fmt.Sprintf("%s-chat%d", c.who, n))); t != nil {
				talks = append(talks, t)
			}
			continue
		}
		i := c.dice.IntN(len(talks))
		t := talks[i]
		c.converse(t)
		if t.said >= t.limit {
			talks = append(talks[:i], talks[i+1:]...)
		}
		if !c.pause(10*time.Millisecond, 400*time.Millisecond) {
			return
		}
	}
}

func (c *client) converse(t *thread) {
	switch dice := c.dice.IntN(100); {
	case dice < 50:
		c.say(t, chat.BusyQueue)
	case dice < 65:
		for range 2 + c.dice.IntN(3) {
			c.say(t, chat.BusyQueue)
		}
	case dice < 80:
		c.say(t, chat.BusyInterrupt)
	case dice < 88:
		c.say(t, chat.BusyReject)
	case dice < 90:
		c.flood(t)
	default:
		c.rested(t.id)
	}
}

// flood fills a queue. Its answers are short, or the run would wait for them at its end.
func (c *client) flood(t *thread) {
	c.flooding = true
	defer func() { c.flooding = false }()
	for range chat.MaxQueue + 3 {
		c.say(t, chat.BusyQueue)
	}
}

// rested waits a while for a chat to rest, and tries a turn again that failed.
func (c *client) rested(id chat.ID) {
	for range 15 {
		ctx, cancel := context.WithTimeout(c.ctx, time.Second)
		var out chat.ChatReply
		err := c.crowd.bus.Call(ctx, "chats.get", chat.ChatRequest{Chat: id}, &out)
		cancel()
		if err == nil && out.Chat.Status == chat.Parked {
			c.once(request{Op: "retry", Chat: id}, chat.ChatRequest{Chat: id}, &chat.ChatReply{})
		}
		if err == nil && out.Chat.Status == chat.Waiting || !c.pause(50*time.Millisecond, 200*time.Millisecond) {
			return
		}
	}
}

// interrupt is the life of somebody who stops what others have asked for.
func (c *client) interrupt() {
	for c.pause(50*time.Millisecond, 1200*time.Millisecond) {
		id := c.any()
		if id == "" {
			continue
		}
		in := chat.InterruptRequest{Chat: id}
		if c.chance(40) {
			in.Turn = 1 + c.dice.IntN(4)
		}
		c.once(request{Op: "interrupt", Chat: id, Turn: in.Turn}, in, &chat.ChatReply{})
	}
}

// delete is the life of somebody who removes chats in the midst of their answers, and sometimes makes them again.
func (c *client) delete() {
	for n := 0; !c.stopped(); n++ {
		id := chat.ID(fmt.Sprintf("%s-chat%d", c.who, n))
		for again := true; again && !c.stopped(); again = c.chance(40) {
			t := c.open(id)
			if t == nil {
				break
			}
			for range c.dice.IntN(3) {
				c.say(t, chat.BusyQueue)
			}
			c.pause(10*time.Millisecond, 900*time.Millisecond)
			c.persist(request{Op: "delete", Chat: id}, chat.ChatRequest{Chat: id}, &chat.DeleteReply{})
		}
	}
}
