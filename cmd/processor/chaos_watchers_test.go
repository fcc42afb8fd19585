package main

import (
	"context"
	"slices"
	"sync"
	"time"

	"processor/internal/bus"
	"processor/internal/chat"
)

// viewing is a watch under way.
type viewing struct {
	*watch
	mu      sync.Mutex
	shown   string // of the answer that is not committed
	current bool
}

// watch is the life of a watcher: it joins a chat, from its beginning or from where it was, leaves, joins another. The last one it stays with
// until the run is over.
func (c *client) watch(b *bus.Bus) {
	var last *watch
	for !c.stopped() {
		id, after := c.any(), int64(0)
		if id == "" {
			if !c.pause(20*time.Millisecond, 100*time.Millisecond) {
				return
			}
			continue
		}
		if last != nil && !last.Gone && c.chance(40) {
			id, after = last.Chat, last.lastID() // the same one again, as after a reload
		}
		last = c.follow(b, id, after)
	}
}

// lastID is the cursor with which a watcher comes back.
func (w *watch) lastID() int64 {
	id := w.After
	for _, s := range w.Seen {
		if s.Type == chat.MessageEvent {
			id = max(id, s.ID)
		}
	}
	return id
}

// follow watches one chat for a while, or to the end if the run ends meanwhile.
func (c *client) follow(b *bus.Bus, id chat.ID, after int64) *watch {
	v := &viewing{watch: &watch{Who: c.who, Chat: id, After: after}, current: true}
	c.begin(v)
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- (chat.Watcher{Feed: feed{b}, Compare: c.timing.Compare}).Watch(ctx, id, after, v.take) }()
	var err error
	select {
	case err = <-done:
	case <-time.After(500*time.Millisecond + upTo(c.dice, 6*time.Second)):
		cancel()
		<-done
	case <-c.stop:
		err = c.stay(v, cancel, done)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.current = false
	if err != nil && !v.Gone {
		v.Err = err.Error()
	}
	return v.watch
}

// stay watches on until the arena has what it wants to compare.
func (c *client) stay(v *viewing, cancel func(), done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-c.leave:
		cancel()
		<-done
		v.mu.Lock()
		v.Alive, v.Left = true, v.shown
		v.mu.Unlock()
		return nil
	}
}

func (l *ledger) begin(v *viewing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watches = append(l.watches, v)
}

func (v *viewing) take(e chat.Event) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch e.Type {
	case chat.DeltaEvent:
		v.shown += e.Delta.Text
		return nil
	case chat.VoidEvent:
		v.shown = ""
	}
	s := sight{At: time.Now(), Type: e.Type, Number: e.Number, Epoch: e.Epoch, Version: e.Version, Status: e.Status, ID: e.MessageID, From: e.RemovedFrom}
	if e.Message != nil {
		s.Role, s.Finish, s.Text = e.Message.Role, e.Message.Finish, e.Message.Text()
		if s.Role == chat.Assistant {
			s.Shown, v.shown = v.shown, ""
		}
	}
	v.Seen = append(v.Seen, s)
	if e.Type == chat.DeletedEvent {
		v.Gone = true
		return chat.ErrStopWatching
	}
	return nil
}

// known are the messages that the watch ends with.
func (w *watch) known() []sight {
	var all []sight
	for _, s := range w.Seen {
		switch s.Type {
		case chat.MessageEvent:
			all = append(all, s)
		case chat.RemovedEvent:
			all = slices.DeleteFunc(all, func(m sight) bool { return m.ID >= s.From && m.ID <= s.ID })
		}
	}
	return all
}

// staying are those who still watch.
func (l *ledger) staying() []*viewing {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(l.watches), func(v *viewing) bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		return !v.current || v.Gone
	})
}

// settled says whether all who still watch have as many messages as there are. It waits for what should be; the checker compares.
func (a *arena) settled() bool {
	for _, v := range a.staying() {
		s, err := a.store.Snapshot(a.ctx, v.Chat, v.After, 1000)
		if err != nil && resultOf(err) != refused {
			return false
		}
		v.mu.Lock()
		missing := err == nil && len(v.known()) != len(s.Messages)
		v.mu.Unlock()
		if missing {
			return false
		}
	}
	return true
}
