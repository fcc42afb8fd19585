package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// turnsPerChat, reuse and the texts are those of processor's benchmarks.
	turnsPerChat = 10
	reuse        = 4 * time.Second
)

// throughput has senders of which each waits for its answer before it sends again.
func (a *app) throughput(ctx context.Context, o options) (result, error) {
	if err := a.prepare(ctx, o.chats); err != nil {
		return result{}, fmt.Errorf("make chats: %w", err)
	}
	var begun atomic.Int64 // chats
	from := time.Now().Add(o.warmup)
	r := result{From: from.UnixNano(), To: from.Add(o.duration).UnixNano()}
	ctx, cancel := context.WithDeadlineCause(ctx, from.Add(o.duration), errOver)
	defer cancel()
	var mu sync.Mutex
	var group sync.WaitGroup
	failed := make(chan error, o.senders)
	next := func() (string, error) {
		n := begun.Add(1) - 1
		chat := strconv.FormatInt(n, 10)
		if n < int64(o.chats) {
			return chat, nil
		}
		return chat, a.create(ctx, chat)
	}
	for range o.senders {
		group.Go(func() {
			err := a.turns(ctx, next, o.tokens, func(ended time.Time, took time.Duration) {
				mu.Lock()
				defer mu.Unlock()
				if !ended.Before(from) {
					r.Turns = append(r.Turns, [2]int64{ended.UnixNano(), took.Nanoseconds()})
				}
			})
			if !errors.Is(context.Cause(ctx), errOver) {
				failed <- err
				cancel()
			}
		})
	}
	group.Wait()
	select {
	case err := <-failed:
		return r, fmt.Errorf("send: %w", err)
	default:
		return r, nil
	}
}

var errOver = errors.New("the time is over")

// turns sends one message after the other until ctx ends. next is a chat without messages.
func (a *app) turns(ctx context.Context, next func() (string, error), tokens int, done func(ended time.Time, took time.Duration)) error {
	text := fmt.Sprintf("#tokens=%d say something", tokens)
	var chat string
	for n := 0; ; n++ {
		if n%turnsPerChat == 0 {
			var err error
			if chat, err = next(); err != nil {
				return err
			}
		}
		t := turnArgs{Chat: chat, Turn: n%turnsPerChat + 1}
		answered, start := a.await(t), time.Now()
		if _, err := a.send(ctx, t, text); err != nil {
			return err
		}
		select {
		case <-answered:
			done(time.Now(), time.Since(start))
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// dispatch sends on time, however long the messages before take.
func (a *app) dispatch(ctx context.Context, o options) (result, error) {
	chats := min(max(int(o.rate*reuse.Seconds()), 32), 10_000)
	for i := range chats {
		if err := a.create(ctx, strconv.Itoa(i)); err != nil {
			return result{}, err
		}
	}
	var r result
	var mu sync.Mutex
	var failed error
	warm := int(o.rate * o.warmup.Seconds())
	n := warm + max(int(o.rate*o.duration.Seconds()), 1)
	err := openLoop(ctx, o.rate, n, func(i int, intended time.Time) {
		text := fmt.Sprintf("#n=%d #tokens=%d say something", o.first+i, o.tokens)
		created, err := a.send(ctx, turnArgs{strconv.Itoa(i % chats), i/chats + 1}, text)
		stored := time.Now()
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err != nil:
			failed = err
		case i >= warm:
			r.Sent = append(r.Sent, [5]int64{int64(o.first + i), intended.UnixNano(), created.UnixNano(), 0, stored.UnixNano()})
		}
	})
	if err != nil {
		return r, err
	}
	if failed != nil {
		return r, fmt.Errorf("send: %w", failed)
	}
	if err := a.drained(ctx); err != nil {
		return r, err
	}
	committed, err := a.committed(ctx)
	for i, sent := range r.Sent {
		n := int(sent[0]) - o.first
		r.Sent[i][3] = committed[turnArgs{strconv.Itoa(n % chats), n/chats + 1}].UnixNano()
	}
	return r, err
}

// drained waits until no job is left: the last calls of the provider were made.
func (a *app) drained(ctx context.Context) error {
	for {
		var left int
		const query = `select count(*) from river_job where state in ('available', 'running', 'retryable')`
		if err := a.pool.QueryRow(ctx, query).Scan(&left); err != nil || left == 0 {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// openLoop is that of processor's benchmark.
func openLoop(ctx context.Context, rate float64, n int, do func(i int, intended time.Time)) error {
	var group sync.WaitGroup
	defer group.Wait()
	start := time.Now()
	for i := range n {
		intended := start.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		if wait := time.Until(intended); wait > 0 {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		group.Go(func() { do(i, intended) })
	}
	return nil
}
