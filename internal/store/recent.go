package store

import (
	"container/list"
	"math"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"processor/internal/chat"
)

// recentBytes is how much recent keeps, by an estimate of what the messages take. More pays less: what is kept is work for the garbage collector with
// every cycle, which after some ten seconds is more than it is to read a message again.
const recentBytes = 8 << 20

// recent remembers the histories of the chats that this replica ran last, so that the next claim reads only what is new.
//
// It needs no word from anybody, because a history only changes at its end: messages are added there, a retry and a truncation remove from there, and no
// message is changed. So while the last message that is remembered exists, all before it is as it was. The statement that reads a history looks
// for that message, in the claim's own transaction, and reads everything when it is gone.
type recent struct {
	mu    sync.Mutex
	limit int
	bytes int
	order *list.List // of past, the one used last in front
	chats map[chat.ID]*list.Element
}

// past is the newest part of a history within a budget, up to what was its end.
type past struct {
	chat     chat.ID
	budget   chat.Budget
	messages []chat.Message
	sizes    []int32 // of the messages, as the budget counts them
	bytes    int
	// lease is the one under which the next message may be added without asking.
	lease chat.Lease
}

func newRecent(limit int) *recent {
	return &recent{limit: limit, order: list.New(), chats: map[chat.ID]*list.Element{}}
}

// end is the id and the time of the last message; zero for none. Both must be found again: a database that was restored gives out ids again.
func (p past) end() (int64, time.Time) {
	if len(p.messages) == 0 {
		return 0, time.Time{}
	}
	last := p.messages[len(p.messages)-1]
	return *last.ID, last.CreatedAt
}

// of is what is remembered of a chat. The slices may be read for ever, and appending to them copies them.
func (r *recent) of(id chat.ID, b chat.Budget) past {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.chats[id]
	if e == nil || e.Value.(past).budget != b {
		return past{}
	}
	r.order.MoveToFront(e)
	p := e.Value.(past)
	p.messages, p.sizes = slices.Clip(p.messages), slices.Clip(p.sizes)
	return p
}

// keep remembers what a claim has read, and returns its messages.
func (r *recent) keep(p past) []chat.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.put(p)
	return slices.Clip(p.messages)
}

// add remembers the message that ended a turn, under the lease that wrote it. Where that does not follow what is remembered, or would be read back
// with other words than those that were written, it is left for the next claim to read.
func (r *recent) add(l chat.Lease, m chat.Message, size int32) {
	if !sameWhenRead(m) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.chats[l.Chat]
	if e == nil || e.Value.(past).lease != l {
		return
	}
	p := e.Value.(past)
	p.messages, p.sizes = append(p.messages, m), append(p.sizes, size)
	p.lease = chat.Lease{}
	r.put(p)
}

// put replaces what is remembered of a chat, and forgets what was used longest ago. r.mu is held.
func (r *recent) put(p past) {
	p.bytes = 0
	for _, size := range p.sizes {
		p.bytes += int(size) + messageBytes
	}
	if p.bytes > r.limit/2 { // it would drive out all others
		r.drop(p.chat)
		return
	}
	if e := r.chats[p.chat]; e != nil {
		r.bytes += p.bytes - e.Value.(past).bytes
		e.Value = p
		r.order.MoveToFront(e)
	} else {
		r.bytes += p.bytes
		r.chats[p.chat] = r.order.PushFront(p)
	}
	for r.bytes > r.limit {
		r.remove(r.order.Back())
	}
}

// forget is for a chat that is gone.
func (r *recent) forget(id chat.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop(id)
}

func (r *recent) drop(id chat.ID) {
	if e := r.chats[id]; e != nil {
		r.remove(e)
	}
}

func (r *recent) remove(e *list.Element) {
	gone := r.order.Remove(e).(past)
	delete(r.chats, gone.chat)
	r.bytes -= gone.bytes
}

// messageBytes is about what a message takes beside its words.
const messageBytes = 512

// sameWhenRead says whether the database gives back just what it gets: plain words it does, JSON it writes in its own way.
func sameWhenRead(m chat.Message) bool {
	return m.Error == nil && m.Params == nil && !slices.ContainsFunc(m.Parts, func(p chat.Part) bool {
		return p.Type != chat.TextPart || !utf8.ValidString(p.Text)
	})
}

// historyRead is a history on its way: what was remembered of it, and then rows of historySQL.
type historyRead struct {
	chat   chat.ID
	past   past
	budget chat.Budget
	// known says that the first of news is the end of what was remembered.
	known bool
	news  []chat.Message
	sizes []int32
}

// histories adds the values of claims that say how much of each history is wanted.
func (a args) histories(all []*historyRead) {
	n := len(all)
	counts, bytes, known, knownAt := make([]int32, n), make([]int64, n), make([]int64, n), make([]time.Time, n)
	for i, h := range all {
		counts[i], bytes[i] = int32(min(h.budget.Messages, math.MaxInt32)), int64(h.budget.Bytes)
		known[i], knownAt[i] = h.past.end()
	}
	a["counts"], a["bytes"], a["known"], a["known_at"] = counts, bytes, known, knownAt
}

// readHistories takes rows of historySQL.
func readHistories(rows pgx.Rows, to []*historyRead) error {
	for _, h := range to {
		h.known, h.news, h.sizes = false, nil, nil
	}
	var place int
	var size int32
	var known bool
	return readMessages(rows, []any{&place, &size, &known}, func(r *messageRow) error {
		h := to[place-1]
		h.known = h.known || known
		m, err := r.read(h.chat)
		h.news, h.sizes = append(h.news, m), append(h.sizes, size)
		return err
	})
}

// of puts the rows behind what is remembered, if they begin with its end; otherwise they are all that the budget allows.
func (h *historyRead) of(c chat.Chat) past {
	p := past{chat: c.ID, budget: h.budget, messages: h.news, sizes: h.sizes}
	if h.known {
		p.messages = append(h.past.messages, h.news[1:]...)
		p.sizes = append(h.past.sizes, h.sizes[1:]...)
	}
	from, total := len(p.messages), 0
	for i, m := range slices.Backward(p.messages) {
		total += int(p.sizes[i])
		if m.Turn != c.Turn && (len(p.messages)-i > h.budget.Messages || total > h.budget.Bytes) {
			break
		}
		from = i
	}
	p.messages, p.sizes = p.messages[from:], p.sizes[from:]
	p.lease = chat.Lease{Chat: c.ID, Number: c.Number, Worker: *c.Worker, Epoch: c.Epoch, Turn: c.Turn, Step: c.Step}
	return p
}
