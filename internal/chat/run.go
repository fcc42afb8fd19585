package chat

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// run is one ownership of one chat: from its claim to the write that ends or releases it. Only its own goroutine changes it, but
// for what mu guards.
type run struct {
	p       *Processor
	reg     *Registration
	done    chan struct{}
	history []Message
	// seq is the last delta's number in the lease's epoch.
	seq int64

	mu     sync.Mutex
	chat   Chat
	lease  Lease
	stream *stream
	ctx    context.Context
	cancel context.CancelCauseFunc
}

// execute runs a claimed chat and returns when the replica does not own it any more. known is called when others here know of the run.
func (p *Processor) execute(reg *Registration, c Claimed, known func()) {
	r := &run{p: p, reg: reg, done: make(chan struct{}), history: c.History, chat: c.Chat}
	r.lease = Lease{Chat: c.Chat.ID, Number: c.Chat.Number, Worker: reg.ID, Epoch: c.Chat.Epoch, Turn: c.Chat.Turn, Step: c.Chat.Step}
	r.ctx, r.cancel = context.WithCancelCause(reg.ctx)
	p.add(r)
	known()
	defer p.remove(r)
	unhook := context.AfterFunc(p.stop, func() { r.abort(CauseShutdown) })
	defer unhook()
	p.config.Logger.Info("claimed", "chat", r.lease.Chat, "epoch", r.lease.Epoch, "worker", reg.ID)
	r.observeWait()
	for r.turn() {
		if p.draining.Load() {
			r.yield(Partial{}, CauseShutdown)
			return
		}
		r.renew()
	}
}

// renew gives the next turn a context of its own: an interrupt of the last one must never hit it.
func (r *run) renew() {
	r.cancel(nil)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ctx, r.cancel = context.WithCancelCause(r.reg.ctx)
	if r.p.stop.Err() != nil {
		r.cancel(CauseShutdown)
	}
}

// abort cancels the current turn with a cause.
func (r *run) abort(cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cancel(cause)
}

// turn works on the open turn until it has ended or was given away; true says that the run goes on with the next turn.
// A panic in a turn is recovered here and nowhere else: it parks the chat with the cause.
func (r *run) turn() (more bool) {
	defer func() {
		if v := recover(); v != nil {
			r.p.config.Logger.Error("panic in a turn", "chat", r.lease.Chat, "err", fmt.Sprint(v), "stack", string(debug.Stack()))
			more = r.fail(&ModelError{Code: "panic", Message: "the replica failed while it worked on this turn"})
		}
	}()
	for {
		var on, again bool
		switch decide(r.chat, openTurn(r.chat, r.history)) {
		case nextInterrupt:
			return r.finishInterrupted()
		case nextTools:
			on, again = r.runTools()
		case nextFinish:
			return r.finish(r.message(Partial{}, Stop, nil))
		case nextTooLong:
			return r.fail(&ModelError{Code: "too_many_steps", Message: fmt.Sprintf("the turn has %d steps, the limit", MaxSteps)})
		case nextCall:
			on, again = r.callModel()
		}
		if !again {
			return on
		}
	}
}

// message makes an assistant message of what was said.
func (r *run) message(said Partial, finish Finish, a *Answer) Message {
	model, _ := turnModel(r.chat, openTurn(r.chat, r.history))
	m := Message{Role: Assistant, Parts: said.Parts, Chunks: said.Chunks, Model: model, Finish: finish}
	if a != nil {
		m.Usage = a.Usage
		m.Parts = append(m.Parts, a.Calls...)
	}
	if m.Parts == nil {
		m.Parts = []Part{}
	}
	return m
}

// closing puts the synthetic results of open tool calls before the message that ends the turn.
func (r *run) closing(last Message) []Message {
	return append(CloseCalls(openTurn(r.chat, r.history)), last)
}

// finish ends the turn. True says that the queue's head opened the next one, which this run goes on with.
func (r *run) finish(last Message) bool {
	messages := r.closing(last)
	out, err := r.write(End, func(ctx context.Context) (Outcome, error) { return r.p.store.Finish(ctx, r.lease, messages) })
	if errors.Is(err, ErrBadData) {
		return r.fail(&ModelError{Code: CodeBadResponse, Message: "the answer can't be stored"})
	}
	return err == nil && r.took(End, out, "finished")
}

// finishInterrupted ends a turn that was asked to stop before this run streamed anything of it: what an earlier owner had streamed is
// kept, in this run's epoch.
func (r *run) finishInterrupted() bool {
	said := Partial{}
	ctx, cancel := context.WithTimeout(r.reg.ctx, r.p.config.Timing.Coalesce+time.Second)
	defer cancel()
	if p, ok, err := r.p.bus.LastPartial(ctx, r.lease.Chat); err == nil && ok && p.Of(r.chat) {
		said = p
	}
	return r.finish(r.message(said, Interrupted, nil))
}

// fail parks the chat, with what had been said beside the cause. A turn that was asked to stop meanwhile ends as interrupted.
func (r *run) fail(cause *ModelError) bool { return r.failWith(cause, Partial{}) }

func (r *run) failWith(cause *ModelError, said Partial) bool {
	last := r.message(said, Failed, nil)
	last.Error = &TurnError{Code: cause.Code, Message: Clean(cause.Message), Attempts: r.chat.Attempts + 1}
	messages := r.closing(last)
	out, err := r.write(Fail, func(ctx context.Context) (Outcome, error) { return r.p.store.Fail(ctx, r.lease, messages) })
	switch {
	case errors.Is(err, ErrInterrupted):
		return r.finish(r.message(said, Interrupted, nil))
	case errors.Is(err, ErrBadData) && len(said.Parts) > 0:
		return r.fail(cause)
	}
	return err == nil && r.took(Fail, out, cause.Code)
}

// yield gives the chat back. What was streamed is saved, so that an interrupt that comes before the next owner keeps it.
func (r *run) yield(said Partial, cause error) {
	if said.Seq > 0 {
		r.p.bus.SavePartial(said)
	}
	out, err := r.write(Yield, func(ctx context.Context) (Outcome, error) { return r.p.store.Yield(ctx, r.lease) })
	if errors.Is(err, ErrFenced) {
		// Perhaps the first try had landed and its reply was lost. A ring for nothing is harmless.
		r.p.bus.Ring(r.lease.Chat, true)
	}
	if err != nil {
		return
	}
	if h := r.p.config.Hooks.Yielded; h != nil {
		h(cause)
	}
	r.took(Yield, out, "yielded")
	r.p.bus.Ring(r.lease.Chat, true)
}

// took takes over what a write of this run left behind, and publishes it. True says that the chat is still ours. A write that turns out to
// have landed before comes with the row as it is by now: the same replica may have claimed the chat again, and that lease belongs to the run that
// waits for this one to end.
func (r *run) took(t Transition, out Outcome, reason string) bool {
	r.mu.Lock()
	c, epoch := out.Chat, r.lease.Epoch
	if t == Backoff { // the one write that leaves its owner in another epoch
		epoch++
	}
	ours := c.Status == Running && c.Worker != nil && *c.Worker == r.reg.ID && c.Number == r.lease.Number && c.Epoch == epoch
	if ours {
		if c.Epoch != r.lease.Epoch {
			r.seq = 0
		}
		r.lease.Epoch, r.lease.Turn, r.lease.Step = c.Epoch, c.Turn, c.Step
		r.history = append(r.history, out.Messages...)
	}
	r.chat = c
	r.mu.Unlock()
	r.p.bus.Announce(out.Events(reason)...)
	return ours
}

// write carries out one of the run's writes on a context that no shutdown cancels, always with a deadline of its own (I6). An unknown outcome
// is tried again, since the lease makes a second landing harmless, until it is known, the registration is lost, or a shutdown's
// time for final writes is over.
func (r *run) write(t Transition, do func(context.Context) (Outcome, error)) (Outcome, error) {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		start := time.Now()
		out, err := r.try(do)
		r.p.observe(t, start, err)
		switch {
		case err == nil:
			r.p.config.Logger.Info("transition", "transition", t, "chat", r.lease.Chat, "epoch", r.lease.Epoch, "elapsed", time.Since(start))
			return out, nil
		case errors.Is(err, ErrFenced):
			r.p.config.Logger.Warn("refused: the chat has moved on", "transition", t, "chat", r.lease.Chat, "epoch", r.lease.Epoch, "worker", r.reg.ID)
			return out, err
		case errors.Is(err, ErrInterrupted), errors.Is(err, ErrBadData):
			return out, err
		}
		r.p.config.Logger.Warn("write not confirmed, trying again", "transition", t, "chat", r.lease.Chat, "epoch", r.lease.Epoch, "err", err)
		if !r.mayWrite(jitter(wait)) {
			return out, err
		}
	}
}

func (r *run) try(do func(context.Context) (Outcome, error)) (Outcome, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.reg.ctx), r.p.config.Timing.Finalize)
	defer cancel()
	defer context.AfterFunc(r.p.final, cancel)()
	return do(ctx)
}

// mayWrite waits before the next try of a write, and says whether there is one.
func (r *run) mayWrite(wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.reg.ctx.Done():
		return false
	case <-r.p.final.Done():
		return false
	}
}

func (r *run) observeWait() {
	h := r.p.config.Hooks.QueueWait
	turn := openTurn(r.chat, r.history)
	if h == nil || r.chat.ClaimedAt == nil || r.chat.Step > 0 || r.chat.Recoveries > 0 || len(turn) == 0 || turn[0].Role != User {
		return
	}
	h(r.chat.ClaimedAt.Sub(turn[0].CreatedAt))
}
