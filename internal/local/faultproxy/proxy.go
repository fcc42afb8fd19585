// Package faultproxy puts a network that misbehaves on demand between a client and a server. It forwards TCP
// connections, and can reset them, refuse new ones, swallow everything, be slow, or lose exactly one request or reply:
// the reply to a commit that landed is the case that no other tool makes on purpose.
package faultproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"sync"
	"time"

	"processor/internal/local"
)

// Proxy forwards the connections that it accepts on a port of 127.0.0.1 to one server. Its methods may be called from
// any goroutine, at any time.
type Proxy struct {
	addr   string
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu       sync.Mutex
	target   string
	listener net.Listener // nil while refusing
	links    map[*link]struct{}
	open     chan struct{} // closed when bytes may flow; another one while stalled
	delay    time.Duration
	traps    []*trap
}

// Start listens on a free port and forwards to target, host:port. Without one, connections are reset until Forward names it. Close ends it.
func Start(target string) (*Proxy, error) {
	port, err := local.FreePort()
	if err != nil {
		return nil, err
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	p := &Proxy{target: target, addr: addr, links: map[*link]struct{}{}, open: make(chan struct{})}
	close(p.open)
	p.ctx, p.cancel = context.WithCancel(context.Background())
	if err := p.listen(); err != nil {
		p.cancel()
		return nil, err
	}
	return p, nil
}

// Close resets every connection, stops listening and waits until nothing of the proxy is left.
func (p *Proxy) Close() {
	p.cancel()
	p.mu.Lock()
	p.refuse()
	p.mu.Unlock()
	p.Cut()
	p.work.Wait()
}

// Addr is where the proxy listens, host:port. It never changes.
func (p *Proxy) Addr() string { return p.addr }

// URL is the server's URL with the proxy's address in place of the server's.
func (p *Proxy) URL(server string) (string, error) {
	parsed, err := url.Parse(server)
	if err != nil {
		return "", fmt.Errorf("parse the server's URL: %w", err)
	}
	parsed.Host = p.addr
	return parsed.String(), nil
}

// Forward makes new connections go to target. Those that exist stay where they are.
func (p *Proxy) Forward(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// Cut resets every connection there is. New ones are welcome.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.reset()
	}
}

// Refuse makes new connections fail at once, until Heal. Those that exist go on.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse()
}

// Stall swallows every byte both ways, until Heal: connections are accepted and stay open, and nothing answers.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.flowing() {
		p.open = make(chan struct{})
	}
}

// Freeze swallows every byte of the connections that there are, for good: they stay open, and nothing answers. New ones are welcome.
func (p *Proxy) Freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.frozen.Store(true)
	}
}

// Delay holds every piece of data, each way, for d, until Heal or another Delay.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Heal undoes Refuse, Stall, Delay and every trap that has not fired. What a stall held back is delivered now.
func (p *Proxy) Heal() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay, p.traps = 0, nil
	if !p.flowing() {
		close(p.open)
	}
	if p.listener != nil || p.ctx.Err() != nil {
		return nil
	}
	return p.listen()
}

func (p *Proxy) flowing() bool {
	select {
	case <-p.open:
		return true
	default:
		return false
	}
}

func (p *Proxy) refuse() {
	if p.listener != nil {
		_ = local.CloseListener(p.listener)
		p.listener = nil
	}
}

func (p *Proxy) listen() error {
	if err := local.AwaitFree(p.ctx, p.addr); err != nil {
		return fmt.Errorf("fault proxy: %w", err)
	}
	listener, err := net.Listen("tcp", p.addr)
	if err != nil {
		return fmt.Errorf("fault proxy: %w", err)
	}
	p.listener = listener
	p.work.Go(func() { p.accept(listener) })
	return nil
}

func (p *Proxy) accept(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		p.work.Go(func() { p.serve(client) })
	}
}

// serve forwards one connection until either side is done.
func (p *Proxy) serve(client net.Conn) {
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	var dialer net.Dialer
	server, err := dialer.DialContext(p.ctx, "tcp", target)
	if err != nil {
		reset(client) // as if the client had reached the server's machine itself
		return
	}
	l := &link{proxy: p, client: client, server: server, gone: make(chan struct{})}
	if !p.add(l) {
		l.reset()
		return
	}
	defer p.remove(l)
	var both sync.WaitGroup
	both.Go(func() { l.pump(client, server, l.onRequest) })
	both.Go(func() { l.pump(server, client, l.onReply) })
	both.Wait()
	client.Close()
	server.Close()
}

func (p *Proxy) add(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		return false
	}
	p.links[l] = struct{}{}
	return true
}

func (p *Proxy) remove(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// gate is closed when bytes may flow.
func (p *Proxy) gate() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open
}

func (p *Proxy) pace() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.delay
}
