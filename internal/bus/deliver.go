package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"processor/internal/chat"
)

// Slots is a replica's capacity, in chats.
type Slots interface {
	// Reserve waits until at least one slot is free and takes up to max. Its error ends Deliver.
	Reserve(ctx context.Context, max int) (int, error)
	// Release gives slots back.
	Release(n int)
}

// Delivery is one "look at this chat". Exactly one of Ack and Nak ends it; without one it comes again after AckWait.
type Delivery struct {
	Chat chat.ID
	// Begun says that it came by way of the chats that somebody had owned before.
	Begun bool

	bus   *Bus
	reply string // empty if it was found by looking: the server knows nothing of it
	// refused is set when what was found by looking is handed back.
	refused *atomic.Bool
}

// Ack removes the message: the claim is committed, or there is nothing to do. It does not wait, and an ack that is lost or
// late is harmless (I1).
func (d Delivery) Ack() { d.answer("+ACK") }

// Nak hands the message back for any replica, at once or after a delay.
func (d Delivery) Nak(delay time.Duration) {
	if d.refused != nil {
		d.refused.Store(true)
		return
	}
	if delay <= 0 {
		d.answer("-NAK")
		return
	}
	wait, err := json.Marshal(map[string]int64{"delay": delay.Nanoseconds()})
	if err != nil {
		wait = nil
	}
	d.answer("-NAK " + string(wait))
}

func (d Delivery) term() { d.answer("+TERM") }

func (d Delivery) answer(verb string) {
	if d.reply == "" {
		return
	}
	if err := d.bus.nc.Publish(d.reply, []byte(verb)); err != nil {
		d.bus.logger.Warn("delivery not answered, it comes again", "chat", d.Chat, "err", err)
	}
}

// How dispatches are fetched.
const (
	// maxBatch bounds what one pull brings: a large one takes a whole backlog to one replica.
	maxBatch = 32
	// pullExpiry bounds how long the server keeps a pull for a client that no longer reads.
	pullExpiry = 2 * time.Second
	// While a pull waits, the server says every pullBeat that it still has it. One that is silent for pullGrace longer is lost.
	pullBeat  = 500 * time.Millisecond
	pullGrace = time.Second
	// slotGrace is how long a message waits for a slot before it is handed back.
	slotGrace = 5 * time.Millisecond
	// A line that failed twice is opened again after a pause that doubles from the first to the longest.
	retryFirst   = 50 * time.Millisecond
	retryLongest = time.Second
)

// taker is one call of Deliver. All its fields belong to the goroutine of that call.
type taker struct {
	bus    *Bus
	slots  Slots
	look   looker
	handle func(context.Context, Delivery)
	ctx    context.Context
	in     chan *nats.Msg
	resume *line
	fresh  *line

	ensuring bool
	ensured  chan error

	free    int // reserved slots that no message uses yet
	asking  bool
	granted chan grant
	held    []Delivery // arrived when no slot was free
	heldAt  time.Time
	running sync.WaitGroup
}

type grant struct {
	n   int
	err error
}

// Deliver hands dispatches to handle, each in a goroutine of its own with one slot, which is released when handle returns. It goes
// on through reconnects, deleted streams and wiped servers until ctx is done; then it takes no more, hands back what was
// fetched and not handled, waits for the handlers and returns nil. handle's context has the values of ctx, not its
// end: to take no more and to stop now are two things. While it hears nothing it looks for pending chats instead. An error comes only
// from Slots.
func (b *Bus) Deliver(ctx context.Context, slots Slots, pending Pending, handle func(context.Context, Delivery)) error {
	t := &taker{
		bus: b, slots: slots, handle: handle, ctx: ctx, in: make(chan *nats.Msg, 8*maxBatch), granted: make(chan grant, 1),
		ensured: make(chan error, 1), look: looker{pending: pending, heard: time.Now(), found: make(chan []chat.ID, 1)},
	}
	var err error
	if t.resume, err = b.openLine(ResumeConsumer, true, t.in); err != nil {
		return b.failed("open the inbox of "+ResumeConsumer, err)
	}
	if t.fresh, err = b.openLine(FreshConsumer, false, t.in); err != nil {
		return b.failed("open the inbox of "+FreshConsumer, err)
	}
	t.ensure()
	err = t.run()
	t.stop()
	return err
}

func (t *taker) run() error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	up := t.bus.link.changed()
	for {
		t.reserve()
		t.pull()
		t.lookAround(time.Now())
		timer.Reset(time.Until(t.wake()))
		select {
		case <-t.ctx.Done():
			return nil
		case m := <-t.in:
			t.receive(m)
		case g := <-t.granted:
			if t.asking = false; g.err != nil {
				return t.refused(g.err)
			}
			if t.free == 0 {
				t.asks(time.Now())
			}
			t.free += g.n
			t.startHeld()
		case <-up: // the pulls are gone with the old connection
			up = t.bus.link.changed()
			t.resume.close()
			t.fresh.close()
			t.ensure()
		case err := <-t.ensured:
			t.hasEnsured(err)
		case chats := <-t.look.found:
			t.take(chats)
		case <-timer.C:
			t.late(time.Now())
		}
	}
}

func (t *taker) refused(err error) error {
	select {
	case <-t.ctx.Done():
		return nil
	default:
		return fmt.Errorf("reserve slots: %w", err)
	}
}

// reserve asks for slots ahead of need, without standing still for them.
func (t *taker) reserve() {
	want := maxBatch - t.free
	if t.asking || t.free >= maxBatch/2 {
		return
	}
	t.asking = true
	t.running.Go(func() {
		n, err := t.slots.Reserve(t.ctx, want)
		t.granted <- grant{n, err}
	})
}

// pull opens what should be open. Begun chats go first: a fresh one is asked for only while the server holds a pull
// for begun ones, which means that it has none.
//
// Both lines pull for the same free slots. So a message may come for which there is no slot; it is handed back within
// slotGrace. The other way, half of the slots for each line, would let an idle line keep the last slot for pullExpiry.
func (t *taker) pull() {
	if t.free == 0 || t.ensuring || !t.bus.Connected() {
		return
	}
	now, batch := time.Now(), min(t.free, maxBatch)
	t.resume.pull(now, batch)
	if t.resume.state == opened {
		t.fresh.pull(now, batch)
	}
}

func (t *taker) receive(m *nats.Msg) {
	l := t.fresh
	if m.Sub == t.resume.sub {
		l = t.resume
	}
	if m.Reply == "" {
		if err := l.status(m); err != nil {
			t.fail(l, err)
		} else {
			t.hears(time.Now())
		}
		return
	}
	t.hears(time.Now())
	l.delivered()
	d := Delivery{Chat: idOf(m.Subject), Begun: l == t.resume, bus: t.bus, reply: m.Reply}
	switch {
	case chat.CheckID("chat", string(d.Chat)) != nil:
		t.bus.counts.bad.Add(1)
		t.bus.logger.Warn("dispatch names no chat, removed", "subject", m.Subject)
		d.term()
	case t.free > 0:
		t.start(d)
	default:
		if len(t.held) == 0 {
			t.heldAt = time.Now()
		}
		t.held = append(t.held, d)
	}
}

func idOf(subject string) chat.ID {
	return chat.ID(subject[strings.LastIndexByte(subject, '.')+1:])
}

func (t *taker) start(d Delivery) {
	t.free--
	ctx := context.WithoutCancel(t.ctx) // how long a handler may go on is its owner's business, and bounded there
	t.running.Go(func() {
		defer t.slots.Release(1)
		t.handle(ctx, d)
	})
}

func (t *taker) startHeld() {
	for len(t.held) > 0 && t.free > 0 {
		t.start(t.held[0])
		t.held = t.held[1:]
	}
}

func (t *taker) handBack() {
	for _, d := range t.held {
		d.Nak(0)
		t.bus.counts.handedBack.Add(1)
	}
	t.held = nil
}

// late deals with what should have happened by now.
func (t *taker) late(now time.Time) {
	if len(t.held) > 0 && now.Sub(t.heldAt) >= slotGrace {
		t.handBack()
	}
	for _, l := range []*line{t.resume, t.fresh} {
		switch {
		case l.state == shut || now.Before(l.due):
		case t.bus.Connected():
			t.fail(l, errSilent)
		default:
			l.close()
		}
	}
}

// wake is when late has something to do.
func (t *taker) wake() time.Time {
	now := time.Now()
	at := now.Add(time.Minute)
	for _, l := range []*line{t.resume, t.fresh} {
		if l.due.Before(at) && (l.state != shut || l.due.After(now)) {
			at = l.due
		}
	}
	if t.free > 0 && t.look.want == 0 && t.look.due().Before(at) {
		at = t.look.due()
	}
	if held := t.heldAt.Add(slotGrace); len(t.held) > 0 && held.Before(at) {
		at = held
	}
	return at
}

// fail shuts a line for a while, and makes again what may have been deleted under it.
func (t *taker) fail(l *line, err error) {
	l.close()
	l.failures++
	l.due = time.Now().Add(backoff(l.failures))
	if gone(err) && t.ensure() && l.failures == 1 {
		return // nothing more if that helps
	}
	t.bus.logger.Warn("dispatches can't be fetched, trying on", "consumer", l.name, "err", err)
}

// ensure begins to make what is missing, which takes seconds if the servers are about to elect a leader.
func (t *taker) ensure() bool {
	if t.ensuring || !t.bus.Connected() {
		return t.ensuring
	}
	t.ensuring = true
	t.running.Go(func() { t.ensured <- t.bus.Ensure(t.ctx) })
	return true
}

func (t *taker) hasEnsured(err error) {
	t.ensuring = false
	if err != nil && t.ctx.Err() == nil {
		t.bus.logger.Warn("streams can't be ensured, trying on", "err", err)
	}
	for _, l := range []*line{t.resume, t.fresh} {
		if err == nil && l.state == shut && l.failures == 1 {
			l.due = time.Time{}
		}
	}
}

// stop ends the pulls without losing what the server has sent already, and waits for the handlers. Drain tells the server that
// nobody listens any more, and still takes what it has sent by then.
func (t *taker) stop() {
	err := errors.Join(t.resume.sub.Drain(), t.fresh.sub.Drain())
	if t.bus.Connected() { // after the flush nothing more can come
		err = errors.Join(err, t.bus.nc.FlushTimeout(requestTimeout))
	}
	if err != nil {
		t.bus.logger.Warn("fetched dispatches may come again late", "err", err)
	}
	for len(t.in) > 0 {
		if m := <-t.in; m.Reply != "" {
			t.held = append(t.held, Delivery{Chat: idOf(m.Subject), bus: t.bus, reply: m.Reply})
		}
	}
	t.handBack()
	t.running.Wait()
	if len(t.granted) > 0 {
		t.free += (<-t.granted).n
	}
	if t.free > 0 {
		t.slots.Release(t.free)
	}
}
