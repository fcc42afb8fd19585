package faultproxy

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// requestLimit bounds what a link remembers of a request that no reply has come to yet.
const requestLimit = 1 << 20

// link is one forwarded connection.
type link struct {
	proxy          *Proxy
	client, server net.Conn
	once           sync.Once
	gone           chan struct{} // closed by reset
	frozen         atomic.Bool

	mu      sync.Mutex
	request []byte // what the client sent since the server's last word
	sprung  *trap  // set: the reply to come is lost
	reply   []byte // of that reply
}

// pump moves bytes one way. look sees them first, and says whether they may pass.
func (l *link) pump(from, to net.Conn, look func([]byte) bool) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && (!look(buffer[:n]) || !l.wait()) {
			continue // lost, or the link is gone and the next read says so
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				l.reset()
				return
			}
		}
		if errors.Is(err, io.EOF) {
			l.finish(to)
			return
		}
		if err != nil {
			l.reset()
			return
		}
	}
}

// finish passes an orderly end on; the other direction may have more to say.
func (l *link) finish(to net.Conn) {
	if !l.wait() {
		return
	}
	if half, ok := to.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		return
	}
	l.reset()
}

// wait holds bytes back while the proxy stalls, and for its delay. It says false when the link is gone meanwhile.
func (l *link) wait() bool {
	if l.frozen.Load() {
		<-l.gone
		return false
	}
	select {
	case <-time.After(l.proxy.pace()):
	case <-l.gone:
		return false
	}
	select {
	case <-l.proxy.gate():
		return true
	case <-l.gone:
		return false
	}
}

func (l *link) onRequest(data []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.request)+len(data) <= requestLimit {
		l.request = append(l.request, data...)
	}
	if l.sprung != nil {
		return true
	}
	sprung := l.proxy.spring(l.request)
	if sprung == nil {
		return true
	}
	if sprung.answered == nil {
		l.lose(sprung)
		return false
	}
	l.sprung = sprung
	return true
}

func (l *link) onReply(data []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sprung == nil {
		l.request = l.request[:0]
		return true
	}
	l.reply = append(l.reply, data...)
	if l.sprung.answered(l.reply) {
		l.lose(l.sprung)
	}
	return false
}

func (l *link) lose(t *trap) {
	l.reset()
	close(t.fired)
}

// reset ends both connections the hard way: the other end reads "connection reset".
func (l *link) reset() {
	l.once.Do(func() {
		close(l.gone)
		reset(l.client)
		reset(l.server)
	})
}

func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // fails only for a connection that is closed already
	}
	conn.Close()
}
