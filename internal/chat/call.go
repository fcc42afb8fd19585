package chat

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"time"
)

// callModel makes one model call and the write that follows from it. again says that the turn goes on; else on says whether the run does.
func (r *run) callModel() (on, again bool) {
	if err := r.ready(); err != nil {
		return r.ended(err, nil, Partial{})
	}
	turn := openTurn(r.chat, r.history)
	name, user := turnModel(r.chat, turn)
	model, providers, err := r.p.models.Resolve(name)
	if err != nil {
		return r.ended(err, nil, Partial{})
	}
	req := r.request(providers, user)
	answer, said, err := r.streamAnswer(model, req)
	return r.ended(err, &answer, said)
}

// ready waits until the back-off is over and this replica is entitled to start a call.
func (r *run) ready() error {
	if at := r.chat.RetryAt; at != nil {
		// Both times are the database's; what passed since the row was read is at most counted twice.
		if !pause(r.ctx, at.Sub(r.chat.UpdatedAt)) {
			return context.Cause(r.ctx)
		}
	}
	for !r.reg.Entitled(r.p.config.Timing) {
		if !pause(r.ctx, r.p.config.Timing.Heartbeat) {
			return context.Cause(r.ctx)
		}
	}
	if r.ctx.Err() != nil {
		return context.Cause(r.ctx)
	}
	return nil
}

func (r *run) request(model string, user Message) Request {
	req := Request{
		Model: model, System: r.chat.System, Messages: sendable(r.history), MaxTokens: r.p.config.MaxTokens,
		Call: Call{Chat: r.lease.Chat, Turn: r.lease.Turn, Step: r.lease.Step + 1, Epoch: r.lease.Epoch, Attempt: r.chat.Attempts + 1},
	}
	if len(user.Params) > 0 {
		// The service wrote them from the same type; what an older release can't read is the provider's default.
		_ = json.Unmarshal(user.Params, &req.Params)
	}
	if req.Params.MaxTokens > 0 {
		req.MaxTokens = req.Params.MaxTokens
	}
	switch extra := req.Params.Instructions; {
	case req.System == "":
		req.System = extra
	case extra != "":
		req.System += "\n\n" + extra
	}
	for _, t := range r.p.config.Tools {
		req.Tools = append(req.Tools, t.ToolSpec)
	}
	return req
}

// streamAnswer calls the model under the limits of silence, and publishes what it says.
func (r *run) streamAnswer(model Model, req Request) (Answer, Partial, error) {
	ctx, cancel := context.WithCancelCause(r.ctx)
	defer cancel(nil)
	t := r.p.config.Timing
	watchdog := time.AfterFunc(t.FirstToken, func() { cancel(CauseStalled) })
	defer watchdog.Stop()
	s := r.openStream()
	start := time.Now()
	var first time.Duration
	answer, err := model.Stream(ctx, req, func(d Delta) {
		watchdog.Reset(t.Token)
		if first == 0 {
			first = time.Since(start)
		}
		if !s.write(d) {
			cancel(CauseOversize)
		}
	})
	said := s.end()
	r.mu.Lock()
	r.seq = said.Seq
	r.mu.Unlock()
	if ctx.Err() != nil && err != nil {
		err = context.Cause(ctx)
	}
	if h := r.p.config.Hooks.ModelCall; h != nil {
		var u Usage
		if answer.Usage != nil {
			u = *answer.Usage
		}
		h(outcomeOf(err), first, time.Since(start), u)
	}
	return answer, said, err
}

func (r *run) openStream() *stream {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.chat
	base := Event{Chat: c.ID, Number: c.Number, Turn: c.Turn, Version: c.Version, Epoch: c.Epoch, Step: c.Step}
	r.stream = newStream(r.p.bus, r.p.config.Timing, base, r.seq)
	return r.stream
}

// ended is the one switch from what ended a model call to the transition that follows.
func (r *run) ended(err error, a *Answer, said Partial) (on, again bool) {
	var failure *ModelError
	switch {
	case err == nil && len(a.Calls) > 0:
		return r.commit([]Message{r.message(said, "", a)})
	case err == nil:
		return r.finish(r.message(said, a.Finish, a)), false
	case errors.Is(err, CauseOversize):
		return r.finish(r.message(said, Length, nil)), false
	case errors.Is(err, CauseInterrupted) && len(said.Parts) == 0:
		return r.finishInterrupted(), false
	case errors.Is(err, CauseInterrupted):
		return r.finish(r.message(said, Interrupted, nil)), false
	case errors.Is(err, CauseShutdown):
		r.yield(said, err)
		return false, false
	case errors.Is(err, CauseLeaseLost), errors.Is(err, CauseDeleted):
		r.p.config.Logger.Warn("run dropped", "chat", r.lease.Chat, "epoch", r.lease.Epoch, "worker", r.reg.ID, "err", err)
		return false, false
	case errors.Is(err, CauseStalled):
		failure = &ModelError{Code: CodeStalled, Message: "the model was silent for too long", Retry: true}
	case !errors.As(err, &failure):
		failure = &ModelError{Code: CodeBadResponse, Message: err.Error()}
	}
	if !failure.Retry || r.chat.Attempts+1 >= r.p.config.Timing.ModelAttempts {
		return r.failWith(failure, said), false
	}
	return r.backoff(failure, said)
}

// commit writes one step and goes on with the turn.
func (r *run) commit(step []Message) (on, again bool) {
	out, err := r.write(Commit, func(ctx context.Context) (Outcome, error) { return r.p.store.Commit(ctx, r.lease, step) })
	if errors.Is(err, ErrBadData) {
		return r.fail(&ModelError{Code: CodeBadResponse, Message: "the answer can't be stored"}), false
	}
	return false, err == nil && r.took(Commit, out, "committed")
}

// backoff voids what was said, in a new epoch, and stores when the model is called again.
func (r *run) backoff(failure *ModelError, said Partial) (on, again bool) {
	wait := r.p.backoffWait(r.chat.Attempts, failure.After)
	cause := TurnError{Code: failure.Code, Message: failure.Message}
	out, err := r.write(Backoff, func(ctx context.Context) (Outcome, error) { return r.p.store.Backoff(ctx, r.lease, wait, cause) })
	switch {
	case errors.Is(err, ErrInterrupted):
		return r.finish(r.message(said, Interrupted, nil)), false
	case err != nil:
		return false, false
	}
	c := out.Chat
	note := &RetryNote{Attempt: c.Attempts, At: c.UpdatedAt.Add(wait), Error: failure.Code}
	r.p.bus.Announce(Event{Type: RetryEvent, Chat: c.ID, Number: c.Number, Tenant: c.Tenant, Turn: c.Turn, Version: c.Version, Epoch: c.Epoch, Step: c.Step, At: c.UpdatedAt, Retry: note})
	return false, r.took(Backoff, out, failure.Code)
}

// backoffWait doubles from BackoffMin to BackoffMax with the attempts made, jittered so that chats don't come back in step; what the
// provider asked for is honoured.
func (p *Processor) backoffWait(attempts int, least time.Duration) time.Duration {
	t := p.config.Timing
	wait := t.BackoffMin << min(attempts, 30)
	if wait <= 0 || wait > t.BackoffMax {
		wait = t.BackoffMax
	}
	return max(least, wait/2+rand.N(wait/2+1))
}

func outcomeOf(err error) string {
	var failure *ModelError
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &failure):
		return failure.Code
	case errors.Is(err, CauseStalled):
		return CodeStalled
	case errors.Is(err, CauseInterrupted), errors.Is(err, CauseShutdown), errors.Is(err, CauseLeaseLost), errors.Is(err, CauseDeleted), errors.Is(err, CauseOversize):
		return "cancelled"
	default:
		return CodeBadResponse
	}
}
