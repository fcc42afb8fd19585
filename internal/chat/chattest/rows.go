package chattest

import (
	"context"
	"maps"
	"slices"
	"time"

	"processor/internal/chat"
)

// Store is a store under test: the five ports, and what only tests need.
type Store interface {
	chat.Runs
	chat.Opens
	chat.Commands
	chat.Labels
	chat.Histories
	chat.Queries
	chat.Beats
	chat.Sweeps

	// Rows reads everything at one moment.
	Rows(ctx context.Context) (Rows, error)
	// Elapse makes everything that is stored older, as if that time had passed.
	Elapse(ctx context.Context, d time.Duration) error
}

// Rows is the content of a store: chats by number, messages by id, the queue by chat and place, workers by id.
type Rows struct {
	// Now is the store's clock when the rows were read.
	Now      time.Time
	Chats    []ChatRow
	Messages []MessageRow
	Queue    []MessageRow
	Workers  []WorkerRow
}

// ChatRow is a chat with the columns that only the sweeper looks at.
type ChatRow struct {
	Chat     chat.Chat
	Dispatch Dispatch
}

// MessageRow is a message with the number of its chat; a queued one has no ID.
type MessageRow struct {
	Number  chat.Number
	Message chat.Message
}

// WorkerRow is a worker as it is stored: Status and HeartbeatAge, which are derived, are empty.
type WorkerRow struct {
	chat.Worker
	LostAt    *time.Time
	LostCause chat.LostCause
}

// Rows implements Store.
func (m *Memory) Rows(context.Context) (Rows, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rows, chats := Rows{Now: m.now()}, m.byNumber()
	messages, waiting := 0, 0
	for _, r := range chats {
		messages, waiting = messages+len(r.messages), waiting+len(r.queue)
	}
	rows.Chats, rows.Messages, rows.Queue = slices.Grow(rows.Chats, len(chats)), slices.Grow(rows.Messages, messages), slices.Grow(rows.Queue, waiting)
	for _, r := range chats {
		rows.Chats = append(rows.Chats, ChatRow{r.chat, r.dispatch})
		for _, msg := range r.messages {
			rows.Messages = append(rows.Messages, MessageRow{r.chat.Number, msg})
		}
		for _, msg := range r.queue {
			rows.Queue = append(rows.Queue, MessageRow{r.chat.Number, msg})
		}
	}
	if len(chats) > 1 { // one chat's are in order
		slices.SortFunc(rows.Messages, func(a, b MessageRow) int { return int(*a.Message.ID - *b.Message.ID) })
	}
	for _, id := range slices.Sorted(maps.Keys(m.workers)) {
		rows.Workers = append(rows.Workers, *m.workers[id])
	}
	return rows, nil
}

// Elapse implements Store.
func (m *Memory) Elapse(_ context.Context, d time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.elapsed += d
	return nil
}

// Chat finds a chat by its id.
func (r Rows) Chat(id chat.ID) (ChatRow, bool) {
	i := slices.IndexFunc(r.Chats, func(c ChatRow) bool { return c.Chat.ID == id })
	if i < 0 {
		return ChatRow{}, false
	}
	return r.Chats[i], true
}

// History lists a chat's messages in order.
func (r Rows) History(n chat.Number) []chat.Message { return of(n, r.Messages) }

// Waiting lists a chat's queue in order.
func (r Rows) Waiting(n chat.Number) []chat.Message { return of(n, r.Queue) }

// Worker finds a worker by its id.
func (r Rows) Worker(id chat.WorkerID) (WorkerRow, bool) {
	i := slices.IndexFunc(r.Workers, func(w WorkerRow) bool { return w.ID == id })
	if i < 0 {
		return WorkerRow{}, false
	}
	return r.Workers[i], true
}

func of(n chat.Number, rows []MessageRow) []chat.Message {
	count := 0
	for i := range rows {
		if rows[i].Number == n {
			count++
		}
	}
	if count == 0 {
		return nil
	}
	all := make([]chat.Message, 0, count)
	for i := range rows {
		if rows[i].Number == n {
			all = append(all, rows[i].Message)
		}
	}
	return all
}
