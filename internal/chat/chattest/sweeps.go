package chattest

import (
	"context"
	"maps"
	"slices"
	"time"

	"processor/internal/chat"
)

// day is how long the row of a dead worker is kept.
const day = 24 * time.Hour

// Sweep implements chat.Sweeps. The mutex is the sweep's lock, so Held is always true.
func (m *Memory) Sweep(_ context.Context, p chat.Pass) (chat.Report, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := chat.Report{Held: true, Now: m.now()}
	r.Lost = m.judge(p)
	r.Recovered, r.Unowned = m.recover(p)
	r.Suspects, r.Oldest = m.suspects(p.SuspectAfter)
	r.Stale = m.stale(p.Batch)
	r.More = len(r.Recovered) == p.Batch || len(r.Stale) == p.Batch
	return r, nil
}

// judge declares workers lost.
func (m *Memory) judge(p chat.Pass) []chat.LostWorker {
	var lost []chat.LostWorker
	now := m.now()
	for _, id := range slices.Sorted(maps.Keys(m.workers)) {
		row := *m.workers[id]
		age := now.Sub(row.HeartbeatAt)
		cause := verdict(p, now, id, age)
		if row.LostAt != nil || cause == "" {
			continue
		}
		row.LostAt, row.LostCause = &now, cause
		m.workers[id] = &row
		lost = append(lost, chat.LostWorker{ID: id, Cause: cause, Age: age})
	}
	return lost
}

func verdict(p chat.Pass, now time.Time, id chat.WorkerID, age time.Duration) chat.LostCause {
	switch {
	case slices.Contains(p.Gone, id) && age >= p.SuspectAfter:
		return chat.LostGone
	case p.LostAfter > 0 && age >= p.LostAfter && (p.NotAfter.IsZero() || !now.After(p.NotAfter)):
		return chat.LostAge
	}
	return ""
}

// recover takes chats from lost owners, and counts those that it leaves.
func (m *Memory) recover(p chat.Pass) (all []chat.Recovered, left int) {
	for _, r := range m.byNumber() {
		if !m.Rules.Recoverable(r.chat.Status) {
			continue
		}
		owner := ownerOf(r.chat)
		cause, draining := m.ownerLost(owner)
		switch {
		case cause == "":
		case len(all) == p.Batch:
			left++
		default:
			all = append(all, m.takeOver(r, owner, cause, draining, p.RedispatchAfter))
		}
	}
	return all, left
}

// ownerOf is the row's owner; none if a broken rule recovers what has none.
func ownerOf(c chat.Chat) chat.WorkerID {
	if c.Worker == nil {
		return ""
	}
	return *c.Worker
}

// ownerLost says why a worker no longer owns what it runs, or nothing.
func (m *Memory) ownerLost(id chat.WorkerID) (cause chat.LostCause, draining bool) {
	w, ok := m.workers[id]
	if !ok {
		return chat.LostRow, false
	}
	return w.LostCause, w.Draining
}

func (m *Memory) takeOver(r *record, owner chat.WorkerID, cause chat.LostCause, draining bool, wait time.Duration) chat.Recovered {
	c := m.open(r)
	rec := chat.Recovered{Worker: owner, Cause: cause, Charged: m.Rules.Charged(cause, draining)}
	m.Rules.TakeOver(&c.chat)
	if rec.Charged {
		c.chat.Takeovers++
	}
	code, message := m.Rules.Poisoned(c.chat)
	if code == "" || m.Rules.Asked(c.chat) {
		c.pend(wait)
	} else {
		e := chat.TurnError{Code: code, Message: message}
		c.step(c.chat.Epoch, c.closed(chat.Message{Role: chat.Assistant, Finish: chat.Failed, Error: &e}))
		c.park(e)
	}
	rec.Outcome = c.put(chat.Recover)
	return rec
}

func (m *Memory) suspects(after time.Duration) (all []chat.Suspect, oldest time.Duration) {
	for _, id := range slices.Sorted(maps.Keys(m.workers)) {
		w := m.workers[id]
		if w.LostAt != nil {
			continue
		}
		age := m.now().Sub(w.HeartbeatAt)
		if oldest = max(oldest, age); age >= after {
			all = append(all, chat.Suspect{ID: id, Age: age})
		}
	}
	return all, oldest
}

// stale lists pending chats that are due, the longest overdue first.
func (m *Memory) stale(batch int) []chat.Stale {
	now := m.now()
	due := slices.DeleteFunc(m.byNumber(), func(r *record) bool {
		return r.chat.Status != chat.Pending || r.dispatch.At == nil || r.dispatch.At.After(now)
	})
	slices.SortStableFunc(due, func(a, b *record) int { return a.dispatch.At.Compare(*b.dispatch.At) })
	var all []chat.Stale
	for _, r := range due[:min(batch, len(due))] {
		all = append(all, chat.Stale{Chat: r.chat.ID, Number: r.chat.Number, Begun: r.chat.Begun()})
	}
	return all
}

// Dispatched implements chat.Sweeps.
func (m *Memory) Dispatched(_ context.Context, published, present []chat.Number, first, longest time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.byNumber() {
		switch n := r.chat.Number; {
		case slices.Contains(published, n):
			m.look(r, func(d *Dispatch, _ time.Duration) time.Duration {
				d.Count++
				return doubled(first, longest, d.Count)
			})
		case slices.Contains(present, n):
			m.look(r, func(_ *Dispatch, waited time.Duration) time.Duration { return min(max(first, waited), longest) })
		}
	}
	return nil
}

// look notes when a pending chat's dispatch is looked for next. It is no transition: the version stays.
func (m *Memory) look(r *record, wait func(d *Dispatch, waited time.Duration) time.Duration) {
	if r.chat.Status != chat.Pending {
		return
	}
	edited, now := *r, m.now()
	at := now.Add(wait(&edited.dispatch, now.Sub(r.chat.UpdatedAt)))
	edited.dispatch.At = &at
	m.chats[r.chat.ID] = &edited
}

// doubled is first doubled times times, and never above longest.
func doubled(first, longest time.Duration, times int) time.Duration {
	for range times {
		if first >= longest {
			break
		}
		first *= 2
	}
	return min(first, longest)
}

// Anew implements chat.Sweeps.
func (m *Memory) Anew(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.chats {
		m.look(r, func(d *Dispatch, _ time.Duration) time.Duration {
			d.Count = 0
			return 0
		})
	}
	return nil
}

// Prune implements chat.Sweeps.
func (m *Memory) Prune(_ context.Context, retain time.Duration, batch int) ([]chat.ID, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	maps.DeleteFunc(m.workers, func(_ chat.WorkerID, w *WorkerRow) bool { return now.Sub(w.HeartbeatAt) >= day })
	old := slices.DeleteFunc(m.byNumber(), func(r *record) bool {
		idle := r.chat.Status == chat.Waiting || r.chat.Status == chat.Parked
		return !idle || r.chat.Queued > 0 || retain <= 0 || now.Sub(r.chat.UpdatedAt) < retain
	})
	slices.SortStableFunc(old, func(a, b *record) int { return a.chat.UpdatedAt.Compare(b.chat.UpdatedAt) })
	var removed []chat.ID
	for _, r := range old[:min(batch, len(old))] {
		delete(m.chats, r.chat.ID)
		removed = append(removed, r.chat.ID)
	}
	return removed, nil
}
