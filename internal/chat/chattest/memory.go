package chattest

import (
	"context"
	"maps"
	"sync"
	"time"

	"processor/internal/chat"
)

var _ Store = (*Memory)(nil)

// RedispatchAfter is what Suite and Differential expect a store under test to be configured with. It is far above the time
// that a test takes, so that nothing falls due by itself.
const RedispatchAfter = time.Minute

// Memory is a chat store in memory: one mutex is its row locks, Now its database clock. The zero value is not usable.
type Memory struct {
	// Now is the clock. Elapse adds to it.
	Now func() time.Time
	// Rules are the decisions that keep the invariants. Tests replace one to see that its loss is noticed.
	Rules Rules
	// RedispatchAfter is the wait before a pending chat's dispatch is looked for first; SuspectAfter the age that Workers calls suspect.
	RedispatchAfter time.Duration
	SuspectAfter    time.Duration

	mu      sync.Mutex
	elapsed time.Duration
	// The records are never written once they are stored: a change works on a copy. So Clone copies maps of pointers only.
	chats   map[chat.ID]*record
	workers map[chat.WorkerID]*WorkerRow
	number  chat.Number
	message int64
}

// record is one chat and all that hangs on it.
type record struct {
	chat     chat.Chat
	digest   [32]byte
	dispatch Dispatch
	messages []chat.Message
	queue    []chat.Message
	// forgotten are the user messages of forgotten turns.
	forgotten map[int64]bool
}

// Dispatch is what a chat's row knows of its wake-ups.
type Dispatch struct {
	// Count is the number of re-publishings since the chat became pending.
	Count int
	// At is when the dispatch is looked for; nil unless the chat is pending.
	At *time.Time
}

// NewMemory makes an empty store with the right rules.
func NewMemory() *Memory {
	return &Memory{
		Now:             func() time.Time { return time.Now().UTC().Truncate(time.Microsecond) },
		Rules:           DefaultRules(),
		RedispatchAfter: RedispatchAfter,
		SuspectAfter:    SuspectAfter,
		chats:           map[chat.ID]*record{},
		workers:         map[chat.WorkerID]*WorkerRow{},
	}
}

// Clone copies the store; the copies share no state that changes.
func (m *Memory) Clone() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &Memory{
		Now: m.Now, Rules: m.Rules, RedispatchAfter: m.RedispatchAfter, SuspectAfter: m.SuspectAfter,
		elapsed: m.elapsed, chats: maps.Clone(m.chats), workers: maps.Clone(m.workers), number: m.number, message: m.message,
	}
}

func (m *Memory) now() time.Time { return m.Now().Add(m.elapsed) }

// change is one transaction on one chat: a copy of its record that put stores, or nobody does.
type change struct {
	*record
	m     *Memory
	now   time.Time
	from  chat.Status
	added []chat.Message
}

func (m *Memory) open(r *record) *change {
	edited := *r
	return &change{record: &edited, m: m, now: m.now(), from: r.chat.Status}
}

// find opens a change under the caller's lock.
func (m *Memory) find(id chat.ID) (*change, error) {
	r, ok := m.chats[id]
	if !ok {
		return nil, chat.ErrNotFound(id)
	}
	return m.open(r), nil
}

// findFor is find for whoever asks: the chats of other tenants do not exist.
func (m *Memory) findFor(ctx context.Context, id chat.ID) (*change, error) {
	c, err := m.find(id)
	if only := chat.TenantOf(ctx); err == nil && only != "" && c.chat.Tenant != only {
		return nil, chat.ErrNotFound(id)
	}
	return c, err
}

// put commits the change: the table is asked once more, whatever the move looked at before.
func (c *change) put(t chat.Transition) chat.Outcome {
	t.CheckTo(c.from, c.chat.Status)
	c.chat.Version++
	c.chat.UpdatedAt = c.now
	c.m.chats[c.chat.ID] = c.record
	return chat.Outcome{Changed: true, Chat: c.chat, Messages: c.added, From: c.from}
}

// same is the outcome of a move that was accepted and changed nothing.
func (c *change) same() chat.Outcome { return chat.Outcome{Chat: c.chat, From: c.from} }

// add inserts a message at the end of the history. The slice is copied: stored records share it.
func (c *change) add(msg chat.Message) chat.Message {
	c.m.message++
	id := c.m.message
	msg.ID, msg.Chat, msg.CreatedAt = &id, c.chat.ID, c.now
	c.messages = append(c.messages[:len(c.messages):len(c.messages)], stored(msg))
	c.added = append(c.added, c.messages[len(c.messages)-1])
	return c.messages[len(c.messages)-1]
}
