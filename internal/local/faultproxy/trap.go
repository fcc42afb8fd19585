package faultproxy

import (
	"bytes"
	"slices"
)

// trap loses one exchange: the first whose request matches.
type trap struct {
	matches  func(request []byte) bool
	answered func(reply []byte) bool // nil: the request itself is lost
	fired    chan struct{}
}

// CutReply loses the reply to the next request that matches: the request reaches the server, the proxy waits until the
// server has answered it, keeps the answer and resets the connection. The client cannot know that its request was done.
// The channel is closed when that has happened; requests after that one pass.
//
// matches gets what the client sent since the server last said something; answered gets the reply so far and says
// whether it is complete, PostgresDone for PostgreSQL; nil takes its first bytes for it.
//
// A driver that prepares statements sends their text once, and from then on only their names and arguments. So match an
// argument that only one request has, like a client_id.
func (p *Proxy) CutReply(matches, answered func([]byte) bool) (fired <-chan struct{}) {
	if answered == nil {
		answered = func([]byte) bool { return true }
	}
	return p.set(&trap{matches: matches, answered: answered, fired: make(chan struct{})})
}

// CutRequest resets the connection in place of forwarding the next request that matches: the server never sees it, at
// least not its end.
func (p *Proxy) CutRequest(matches func(request []byte) bool) (fired <-chan struct{}) {
	return p.set(&trap{matches: matches, fired: make(chan struct{})})
}

// Contains matches what contains text.
func Contains(text string) func([]byte) bool {
	return func(data []byte) bool { return bytes.Contains(data, []byte(text)) }
}

// PostgresDone says whether the reply ends with PostgreSQL's ReadyForQuery. Before that a transaction that commits at
// the end of a batch may not have: a long result is sent while it is made.
func PostgresDone(reply []byte) bool {
	const length = 6
	if len(reply) < length {
		return false
	}
	end := reply[len(reply)-length:]
	return bytes.HasPrefix(end, []byte{'Z', 0, 0, 0, 5}) && slices.Contains([]byte("ITE"), end[length-1])
}

func (p *Proxy) set(t *trap) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.traps = append(p.traps, t)
	return t.fired
}

// spring takes the first trap that the request matches.
func (p *Proxy) spring(request []byte) *trap {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, t := range p.traps {
		if t.matches(request) {
			p.traps = slices.Delete(p.traps, i, i+1)
			return t
		}
	}
	return nil
}
