package chattest

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"

	"processor/internal/chat"
)

// player is one store in a game, with what it gave out. The leases of two players have the same index when they are of the same move.
type player struct {
	ctx context.Context
	Store

	leases []chat.Lease
	rows   Rows
	before Rows
	seen   view

	// numbers and ids rename what the stores number each in their own way: by the order within the game, and within the chat.
	numbers map[chat.Number]int
	ids     map[int64]int
	ended   map[chat.Number]int
}

// view is a store's answer in a form that can be compared.
type view struct {
	Err string
	// Changed, Queued, Duplicate and From are of the one outcome, if the move has one.
	Changed, Queued, Duplicate bool
	From                       chat.Status
	Chats                      []chat.Chat
	Messages                   []chat.Message
	Removed                    []int64
	Kept                       int64
	Evicted                    *chat.WorkerID
	Other                      any
	// Elapsed, Swept and Fenced say what kind of move it was; Fenced is one under a lease that is over.
	Elapsed time.Duration
	Swept   bool
	Fenced  bool
}

// clear empties the store by its own means.
func (p *player) clear() error {
	rows, err := p.Rows(p.ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range rows.Chats {
		_, err := p.Delete(p.ctx, c.Chat.ID)
		errs = append(errs, err)
	}
	for _, w := range rows.Workers {
		errs = append(errs, p.Unregister(p.ctx, w.ID))
	}
	return errors.Join(errs...)
}

// look reads the rows and names what is new in them.
func (p *player) look() error {
	rows, err := p.Rows(p.ctx)
	if err != nil {
		return err
	}
	p.rows = rows
	for _, c := range rows.Chats {
		if _, ok := p.numbers[c.Chat.Number]; !ok {
			p.numbers[c.Chat.Number] = len(p.numbers) + 1
		}
	}
	for _, m := range rows.Messages {
		if _, ok := p.ids[*m.Message.ID]; !ok {
			p.ended[m.Number]++
			p.ids[*m.Message.ID] = p.ended[m.Number]
		}
	}
	return nil
}

// name makes an answer comparable.
func (p *player) name(v *view) {
	v.Chats = slices.Clone(v.Chats)
	for i := range v.Chats {
		v.Chats[i] = p.chat(v.Chats[i])
	}
	v.Messages = slices.Clone(v.Messages)
	for i := range v.Messages {
		v.Messages[i] = p.message(v.Messages[i])
	}
	v.Removed = slices.Clone(v.Removed)
	for i, id := range v.Removed {
		v.Removed[i] = int64(p.ids[id])
	}
	v.Kept = int64(p.ids[v.Kept])
}

// named are the rows in a form that can be compared. The messages of a chat whose row is as before are left out: CheckStep
// looks after them, and long histories are slow to compare.
func (p *player) named() Rows {
	rows := Rows{Now: base()}
	for _, c := range p.rows.Chats {
		rows.Chats = append(rows.Chats, ChatRow{p.chat(c.Chat), p.dispatch(c.Dispatch)})
		n := c.Chat.Number
		if before, _ := p.before.Chat(c.Chat.ID); before.Chat.Number == n && before.Chat.Version == c.Chat.Version {
			continue
		}
		for _, m := range p.rows.History(n) {
			rows.Messages = append(rows.Messages, MessageRow{chat.Number(p.numbers[n]), p.message(m)})
		}
		for _, m := range p.rows.Waiting(n) {
			rows.Queue = append(rows.Queue, MessageRow{chat.Number(p.numbers[n]), p.message(m)})
		}
	}
	for _, w := range p.rows.Workers {
		w.StartedAt, w.HeartbeatAt, w.LostAt = p.time(w.StartedAt), p.time(w.HeartbeatAt), p.at(w.LostAt)
		rows.Workers = append(rows.Workers, w)
	}
	return rows
}

// dispatch: the count means nothing while the chat is not pending.
func (p *player) dispatch(d Dispatch) Dispatch {
	if d.At == nil {
		return Dispatch{}
	}
	return Dispatch{d.Count, p.at(d.At)}
}

func (p *player) chat(c chat.Chat) chat.Chat {
	c.Number = chat.Number(p.numbers[c.Number])
	c.CreatedAt, c.UpdatedAt = p.time(c.CreatedAt), p.time(c.UpdatedAt)
	c.ClaimedAt, c.RetryAt, c.LastError = p.at(c.ClaimedAt), p.at(c.RetryAt), cause(c.LastError)
	return c
}

func (p *player) message(m chat.Message) chat.Message {
	if m.ID != nil {
		id := int64(p.ids[*m.ID])
		m.ID = &id
	}
	m.CreatedAt, m.Error = p.time(m.CreatedAt), cause(m.Error)
	return m
}

func cause(e *chat.TurnError) *chat.TurnError {
	if e == nil {
		return nil
	}
	named := *e
	if !e.At.IsZero() {
		// A cause is a document, which Elapse leaves alone.
		named.At = base()
	}
	return &named
}

// base is what every store's clock is said to show.
func base() time.Time { return time.Unix(1e9, 0).UTC() }

// time moves a time to where it is when the store's clock shows base. The zero time stays zero.
func (p *player) time(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return base().Add(t.Sub(p.rows.Now))
}

func (p *player) at(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	moved := p.time(*t)
	return &moved
}

// sameJSON compares JSON by value: Postgres stores it normalised.
func sameJSON() cmp.Option {
	present := func(a, b json.RawMessage) bool { return len(a) > 0 || len(b) > 0 }
	return cmp.FilterValues(present, cmp.Transformer("json", func(raw json.RawMessage) any {
		var v any
		if len(raw) > 0 && json.Unmarshal(raw, &v) != nil {
			return string(raw)
		}
		return v
	}))
}

// failed makes an error comparable: a sentinel's text, or code and field.
func failed(err error) view {
	var refusal *chat.Error
	if errors.As(err, &refusal) {
		return view{Err: string(refusal.Code) + " " + refusal.Field}
	}
	for _, sentinel := range []error{chat.ErrNothingToDo, chat.ErrSuspect, chat.ErrNotEntitled, chat.ErrFenced, chat.ErrInterrupted, chat.ErrBadData} {
		if errors.Is(err, sentinel) {
			return view{Err: sentinel.Error()}
		}
	}
	return view{Err: "unexpected: " + err.Error()}
}

// outcome is the view of a transition. What it leaves running is a lease that later moves may use.
func (p *player) outcome(o chat.Outcome, err error) view {
	if err != nil {
		return failed(err)
	}
	if o.Chat.Worker != nil {
		p.leases = append(p.leases, leaseOf(o.Chat, *o.Chat.Worker))
	}
	return view{Changed: o.Changed, From: o.From, Chats: []chat.Chat{o.Chat}, Messages: o.Messages, Removed: o.Removed, Kept: o.Kept, Evicted: o.Evicted}
}

func (p *player) sent(s chat.Sent, err error) view {
	v := p.outcome(s.Outcome, err)
	if err == nil {
		v.Queued, v.Duplicate, v.Other = s.Queued, s.Duplicate, line(s.Message)+" "+s.Message.ClientID
	}
	return v
}

func (p *player) register(id chat.WorkerID) view {
	err := p.Register(p.ctx, chat.Worker{ID: id, Name: "replica", Host: "host", PID: 1, Build: "test", Slots: 10})
	if err != nil {
		return failed(err)
	}
	return view{}
}
