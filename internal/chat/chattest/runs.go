package chattest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"processor/internal/chat"
)

// Claim implements chat.Runs.
func (m *Memory) Claim(_ context.Context, id chat.ID, worker chat.WorkerID, suspects bool, b chat.Budget) (chat.Claimed, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, err := m.find(id)
	if err != nil {
		return chat.Claimed{}, refuse(chat.ErrNothingToDo, chat.Claim, chat.Gone)
	}
	if !m.Rules.Claimable(c.from) {
		return chat.Claimed{}, refuse(chat.ErrNothingToDo, chat.Claim, c.from)
	}
	if w, ok := m.workers[worker]; !ok || !m.Rules.Entitled(*w) {
		return chat.Claimed{}, fmt.Errorf("claim of %s by %s: %w", id, worker, chat.ErrNotEntitled)
	}
	if c.chat.Takeovers >= chat.SuspectFrom && !suspects {
		return chat.Claimed{}, fmt.Errorf("claim of %s: %w", id, chat.ErrSuspect)
	}
	c.own(worker)
	return chat.Claimed{Chat: c.put(chat.Claim).Chat, History: c.history(b)}, nil
}

// own makes the worker the owner, in an epoch of its own.
func (c *change) own(worker chat.WorkerID) {
	c.chat.Status, c.chat.Worker, c.chat.ClaimedAt = chat.Running, &worker, &c.now
	c.m.Rules.Claimed(&c.chat)
	c.dispatch.At = nil
}

// history is the newest part of the transcript within the budget, and the open turn in any case.
func (c *change) history(b chat.Budget) []chat.Message {
	from, total := len(c.messages), 0
	for i, m := range slices.Backward(c.messages) {
		total += size(m)
		if m.Turn != c.chat.Turn && (len(c.messages)-i > b.Messages || total > b.Bytes) {
			break
		}
		from = i
	}
	return slices.Clone(c.messages[from:])
}

// Backoff implements chat.Runs.
func (m *Memory) Backoff(_ context.Context, l chat.Lease, wait time.Duration, _ chat.TurnError) (chat.Outcome, error) {
	return m.owned(chat.Backoff, l, backedOff, func(c *change) error {
		if m.Rules.Asked(c.chat) {
			return chat.ErrInterrupted
		}
		at := c.now.Add(wait)
		c.chat.Void = c.chat.Epoch
		c.chat.Epoch++
		c.chat.Attempts++
		c.chat.RetryAt = &at
		return nil
	})
}

// Commit implements chat.Runs.
func (m *Memory) Commit(_ context.Context, l chat.Lease, messages []chat.Message) (chat.Outcome, error) {
	return m.owned(chat.Commit, l, committed, func(c *change) error {
		c.step(l.Epoch, messages)
		c.chat.Step++
		c.chat.Takeovers, c.chat.Attempts, c.chat.RetryAt = 0, 0, nil
		return nil
	})
}

// Finish implements chat.Runs.
func (m *Memory) Finish(_ context.Context, l chat.Lease, messages []chat.Message) (chat.Outcome, error) {
	return m.owned(chat.End, l, finished, func(c *change) error {
		messages = slices.Clone(messages)
		if last := &messages[len(messages)-1]; m.Rules.Asked(c.chat) {
			last.Finish, last.Error = chat.Interrupted, nil
		}
		c.step(l.Epoch, messages)
		c.settle()
		return nil
	})
}

// Fail implements chat.Runs.
func (m *Memory) Fail(_ context.Context, l chat.Lease, messages []chat.Message) (chat.Outcome, error) {
	return m.owned(chat.Fail, l, committed, func(c *change) error {
		if m.Rules.Asked(c.chat) {
			return chat.ErrInterrupted
		}
		messages = slices.Clone(messages)
		last := &messages[len(messages)-1]
		last.Finish = chat.Failed
		c.step(l.Epoch, messages)
		c.park(*last.Error)
		return nil
	})
}

// Yield implements chat.Runs.
func (m *Memory) Yield(_ context.Context, l chat.Lease) (chat.Outcome, error) {
	return m.owned(chat.Yield, l, never, func(c *change) error {
		m.yield(c)
		return nil
	})
}

func (m *Memory) yield(c *change) {
	m.Rules.HandOff(&c.chat)
	c.pend(m.RedispatchAfter)
}

// owned is the one way to write as an owner: the guard, else a look whether the same call had landed before (I2).
func (m *Memory) owned(t chat.Transition, l chat.Lease, landed func(*change, chat.Lease) (chat.Outcome, bool), do func(*change) error) (chat.Outcome, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, err := m.find(l.Chat)
	if err != nil {
		return chat.Outcome{}, refuse(chat.ErrFenced, t, chat.Gone)
	}
	if t.Check(c.from) != nil || !m.Rules.Guard(c.chat, l) {
		if out, ok := landed(c, l); ok {
			return out, nil
		}
		return chat.Outcome{}, refuse(chat.ErrFenced, t, c.from)
	}
	if err := do(c); err != nil {
		return chat.Outcome{}, fmt.Errorf("%s of %s: %w", string(t), l.Chat, err)
	}
	return c.put(t), nil
}

func never(*change, chat.Lease) (chat.Outcome, bool) { return chat.Outcome{}, false }

// backedOff: only a Backoff raises the epoch by one and leaves the same owner.
func backedOff(c *change, l chat.Lease) (chat.Outcome, bool) {
	after := l
	after.Epoch++
	return c.past(nil), guard(c.chat, after) && c.chat.Attempts > 0
}

func committed(c *change, l chat.Lease) (chat.Outcome, bool) {
	found := c.landed(l)
	return c.past(found), len(found) > 0
}

// finished adds the user message that the queue's head became.
func finished(c *change, l chat.Lease) (chat.Outcome, bool) {
	found := c.landed(l)
	if len(found) == 0 {
		return chat.Outcome{}, false
	}
	next := slices.IndexFunc(c.messages, func(m chat.Message) bool { return m.Turn == l.Turn+1 && m.Role == chat.User })
	if next >= 0 {
		found = append(found, c.messages[next])
	}
	return c.past(found), true
}

// Wrote says whether the write that the lease allows has landed, as far as the history shows.
func (m *Memory) Wrote(l chat.Lease) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, err := m.find(l.Chat)
	return err == nil && len(c.landed(l)) > 0
}

// past is the outcome of a call that had landed: its messages, and the row as it is now.
func (c *change) past(messages []chat.Message) chat.Outcome {
	return chat.Outcome{Changed: true, Chat: c.chat, Messages: messages, From: chat.Running}
}
