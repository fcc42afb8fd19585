package llmtest

import "sync"

// Gate holds streams until it is opened. An open gate stays open.
type Gate struct {
	once    sync.Once
	open    chan struct{}
	arrived chan Call
}

// Gate returns the gate of that name, made when it is first asked for.
func (p *Provider) Gate(name string) *Gate {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.gates[name]
	if g == nil {
		g = &Gate{open: make(chan struct{}), arrived: make(chan Call, 1024)}
		p.gates[name] = g
	}
	return g
}

// Arrived yields each call that comes to the gate. Calls beyond 1,024 that nobody received are not told.
func (g *Gate) Arrived() <-chan Call { return g.arrived }

// Open lets all through, now and later.
func (g *Gate) Open() { g.once.Do(func() { close(g.open) }) }

func (g *Gate) arrive(c Call) {
	select {
	case g.arrived <- c:
	default:
	}
}
