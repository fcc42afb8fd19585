package chat

import (
	"context"
	"errors"
)

// add makes a run known. A run of the same chat that is still there has lost its lease, or the claim would have been refused; its
// last steps are waited for, so that one chat has one run here.
func (p *Processor) add(r *run) {
	for {
		p.mu.Lock()
		old := p.runs[r.lease.Chat]
		if old == nil {
			p.runs[r.lease.Chat] = r
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		old.abort(CauseLeaseLost)
		<-old.done
	}
}

func (p *Processor) remove(r *run) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r.cancel(nil)
	delete(p.runs, r.lease.Chat)
	close(r.done)
	if done := p.ended[r.reg.ID]; done != nil && p.count(r.reg.ID) == 0 {
		close(done)
		delete(p.ended, r.reg.ID)
	}
}

func (p *Processor) count(id WorkerID) (n int64) {
	for _, r := range p.runs {
		if r.reg.ID == id {
			n++
		}
	}
	return n
}

// Ended is closed when the registration has no run any more.
func (p *Processor) Ended(id WorkerID) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	done := make(chan struct{})
	if p.count(id) == 0 {
		close(done)
		return done
	}
	p.ended[id] = done
	return done
}

// Running counts the runs of a registration, and sums their number times epoch like a beat does in the database.
func (p *Processor) Running(id WorkerID) (count, sum int64) {
	for _, l := range p.leases(id) {
		count++
		sum += int64(l.Number) * l.Epoch
	}
	return count, sum
}

func (p *Processor) leases(id WorkerID) map[Number]Lease {
	p.mu.Lock()
	defer p.mu.Unlock()
	leases := make(map[Number]Lease, len(p.runs))
	for _, r := range p.runs {
		if r.reg.ID != id {
			continue
		}
		r.mu.Lock()
		leases[r.lease.Number] = r.lease
		r.mu.Unlock()
	}
	return leases
}

// Repair compares what a registration should run with what it runs; should is nil when the beat's fingerprints agreed. Only a difference
// that two beats in a row show at the same epoch is repaired, for between two beats chats come and go. The repair is always to let
// go: a chat that nobody runs here is yielded, a run that the database does not know is dropped. Never a second run in one epoch.
func (p *Processor) Repair(ctx context.Context, reg *Registration, should []Owned) {
	differs := map[Number]Owned{}
	if should != nil {
		differs = p.difference(reg.ID, should)
	}
	p.mu.Lock()
	before := p.differs
	p.differs = differs
	p.mu.Unlock()
	for number, o := range differs {
		if was, ok := before[number]; !ok || was.Epoch != o.Epoch {
			continue
		}
		if o.Chat == "" {
			p.drop(number, o.Epoch)
		} else {
			p.letGo(ctx, reg, o)
		}
	}
}

// difference lists the chats that are only here (no id) or only there.
func (p *Processor) difference(id WorkerID, should []Owned) map[Number]Owned {
	here := p.leases(id)
	differs := map[Number]Owned{}
	for _, o := range should {
		if l, ok := here[o.Number]; ok && l.Epoch == o.Epoch {
			delete(here, o.Number)
			continue
		}
		delete(here, o.Number)
		if !p.isClaiming(o.Chat) {
			differs[o.Number] = o
		}
	}
	for number, l := range here {
		differs[number] = Owned{Number: number, Epoch: l.Epoch}
	}
	return differs
}

func (p *Processor) isClaiming(id ID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.claiming[id] > 0
}

func (p *Processor) letGo(ctx context.Context, reg *Registration, o Owned) {
	p.config.Logger.Warn("yielding a chat that nobody runs here", "chat", o.Chat, "epoch", o.Epoch, "worker", reg.ID)
	out, err := p.store.Yield(ctx, Lease{Chat: o.Chat, Number: o.Number, Worker: reg.ID, Epoch: o.Epoch, Turn: o.Turn, Step: o.Step})
	if err != nil {
		if !errors.Is(err, ErrFenced) {
			p.config.Logger.Warn("not yielded, the next beat tries again", "chat", o.Chat, "err", err)
		}
		return
	}
	if h := p.config.Hooks.Yielded; h != nil {
		h(nil)
	}
	p.bus.Announce(out.Events("yielded")...)
	p.bus.Ring(o.Chat, true)
}

func (p *Processor) drop(number Number, epoch int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.runs {
		r.mu.Lock()
		match := r.lease.Number == number && r.lease.Epoch == epoch
		r.mu.Unlock()
		if match {
			r.abort(CauseLeaseLost)
		}
	}
}

// LookAt stops a turn that was asked to stop, if it still runs here.
func (p *Processor) LookAt(o Owned) {
	if r := p.find(o.Chat); r != nil && o.Interrupted {
		r.interrupt(o.Number, o.Turn)
	}
}

// Look reads the row of a chat that runs here, and cancels the run with what it finds. It is how an interrupt, a truncation and a delete reach
// the owner at once; the beat finds them later too.
func (p *Processor) Look(ctx context.Context, id ID) {
	r := p.find(id)
	if r == nil {
		return
	}
	c, err := p.store.Get(ctx, id)
	var refusal *Error
	switch {
	case errors.As(err, &refusal) && refusal.Code == NotFound:
		r.abort(CauseDeleted)
	case err != nil:
		return
	case c.Number != r.number():
		r.abort(CauseDeleted)
	case c.InterruptRequested():
		r.interrupt(c.Number, c.Turn)
	default:
		r.evict(c)
	}
}

// evict ends a run whose chat was taken from it. A row of the same owner may be what a write of the run just left behind.
func (r *run) evict(c Chat) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ours := c.Worker != nil && *c.Worker == r.reg.ID; !ours && c.Epoch > r.lease.Epoch {
		r.cancel(CauseLeaseLost)
	}
}

// PartialOf is what a run here has streamed of its open step.
func (p *Processor) PartialOf(id ID) (Partial, bool) {
	r := p.find(id)
	if r == nil {
		return Partial{}, false
	}
	return r.partial(), true
}

func (p *Processor) find(id ID) *run {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.runs[id]
}

func (r *run) number() Number {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lease.Number
}

// interrupt cancels the turn, if it is still the one that was asked to stop.
func (r *run) interrupt(number Number, turn int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lease.Number == number && r.lease.Turn == turn {
		r.cancel(CauseInterrupted)
	}
}

// partial is what was streamed of the open step, empty before its first delta.
func (r *run) partial() Partial {
	r.mu.Lock()
	s, c := r.stream, r.chat
	seq := r.seq
	r.mu.Unlock()
	if s != nil {
		if p := s.snapshot(); p.Epoch == c.Epoch && p.Turn == c.Turn && p.Step == c.Step {
			return p
		}
	}
	return Partial{Chat: c.ID, Number: c.Number, Turn: c.Turn, Step: c.Step, Epoch: c.Epoch, Seq: seq, Parts: []Part{}, Chunks: []int32{}}
}
