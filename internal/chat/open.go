package chat

import (
	"context"
	"time"
)

// Opener accepts messages where their turns can begin at once.
type Opener interface {
	// Open is Commands.Send, without interrupting. start is to be called when watchers were told what was sent; it begins the turn if it is
	// run here, and does not wait for anything.
	Open(ctx context.Context, m NewMessage) (sent Sent, start func(), err error)
}

// Open stores a message and, while this replica has a free slot, claims the chat in the same transaction if the message opens its turn. So most
// turns need no dispatch: it is for chats that wait for a slot, and for those that were begun elsewhere.
func (p *Processor) Open(ctx context.Context, m NewMessage) (Sent, func(), error) {
	reg := p.registration()
	if reg == nil || !reg.Entitled(p.config.Timing) || !p.enter() {
		sent, _, err := p.store.OpenTurn(ctx, m, "", Budget{})
		return sent, func() {}, err
	}
	p.mark(m.Chat, 1)
	begun := time.Now()
	sent, history, err := p.store.OpenTurn(ctx, m, reg.ID, p.config.Budget)
	if c := sent.Chat; err != nil || !sent.Changed || c.Status != Running || sent.From != Waiting {
		p.mark(m.Chat, -1)
		p.leave()
		return sent, func() {}, err
	}
	p.observe(Claim, begun, nil)
	return sent, func() {
		go func() { // awaited by Run
			defer p.leave()
			p.execute(reg, Claimed{Chat: sent.Chat, History: history}, func() { p.mark(m.Chat, -1) })
		}()
	}, nil
}

// enter takes a slot for a turn that is begun without a dispatch, unless Run takes no more.
func (p *Processor) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.taking || !p.slots.Try() {
		return false
	}
	p.begun.Add(1)
	return true
}

func (p *Processor) leave() {
	p.slots.Release(1)
	p.begun.Done()
}

// take says whether Open may claim.
func (p *Processor) take(more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taking = more
}
