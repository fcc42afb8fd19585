package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"processor/internal/chat"
)

// Frame is one server-sent event. Empty fields are left out.
type Frame struct {
	ID    string
	Event string
	Data  []byte
}

// End says why a stream ended.
type End string

// The ends of a stream.
const (
	// EndDone: its handler had nothing more to say.
	EndDone End = "done"
	// EndGone: the client left.
	EndGone End = "gone"
	// EndSlow: the client did not read.
	EndSlow End = "slow"
	// EndDrain: this process is about to end.
	EndDrain End = "drain"
)

// Ends lists them.
func Ends() []End { return []End{EndDone, EndGone, EndSlow, EndDrain} }

// Causes with which a stream's context ends, besides the request's.
var (
	errSlow  = errors.New("the client reads too slowly")
	errGone  = errors.New("the client is gone")
	errDrain = errors.New("this replica is going away")
)

// Stream is the server's side of one stream of server-sent events. Send may be called from any goroutine.
type Stream struct {
	kit     *Kit
	client  string
	ctx     context.Context
	cancel  context.CancelCauseFunc
	undrain func() bool

	mu      sync.Mutex
	w       http.ResponseWriter
	control *http.ResponseController
	buffer  bytes.Buffer
	ping    *time.Timer
	slow    bool // a write took too long; net/http has then ended the request's context already
	closed  bool
}

// Open begins a stream: whatever can fail with a status has to be done before. Headers of the protocol's own are set before as well. The handler
// writes with Send for as long as Context lives, and has to Close it before it returns; its own return then ends the response cleanly.
func (k *Kit) Open(w http.ResponseWriter, r *http.Request) (*Stream, error) {
	client := clientOf(r)
	if !k.enter(client) {
		return nil, chat.Errorf(chat.Full, "", "this client has %d open streams, which is the limit", k.config.StreamsPerClient)
	}
	s := &Stream{kit: k, client: client, w: w, control: http.NewResponseController(w)}
	s.ctx, s.cancel = context.WithCancelCause(r.Context())
	if err := s.dropBody(r); err != nil {
		k.leave(client)
		return nil, err
	}
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-cache")
	header.Set("X-Accel-Buffering", "no") // nginx would hold events back
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	if k.config.Opened != nil {
		k.config.Opened()
	}
	s.mu.Lock() // the first ping and the drain have to wait
	defer s.mu.Unlock()
	s.ping = time.AfterFunc(k.config.Ping, s.pingNow)
	s.undrain = context.AfterFunc(k.config.Drain, func() {
		time.AfterFunc(rand.N(k.config.DrainSpread), func() { s.cancel(errDrain) })
	})
	s.flush() // the client learns that it is connected
	if r.Method == http.MethodHead {
		s.cancel(context.Canceled) // it expects no body, and uses the connection for its next request
	}
	return s, nil
}

// dropBody reads what nobody wants: net/http sees that a client has gone only when there is no body left. A long one is left there, and its
// sender is missed when a ping can't be written.
func (s *Stream) dropBody(r *http.Request) error {
	_, err := io.CopyN(io.Discard, r.Body, 64<<10)
	if err != nil && !errors.Is(err, io.EOF) {
		return chat.Errorf(chat.Malformed, "", "the request's body did not arrive whole")
	}
	return s.control.SetReadDeadline(time.Time{})
}

// Context ends when there is nobody to send to any more, or when this process drains.
func (s *Stream) Context() context.Context { return s.ctx }

// Send writes the frames and flushes. Its error says that the stream is over, and is the context's cause.
func (s *Stream) Send(frames ...Frame) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(frames)
	return s.flush()
}

// Gather is Send for who has more frames at hand, and calls Flush when there are none. It flushes itself before much is gathered.
func (s *Stream) Gather(frames ...Frame) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.put(frames); s.buffer.Len() < maxGathered {
		return context.Cause(s.ctx)
	}
	return s.flush()
}

// Flush writes what was gathered.
func (s *Stream) Flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buffer.Len() == 0 {
		return context.Cause(s.ctx)
	}
	return s.flush()
}

// maxGathered is from how many bytes on nothing is saved by writing them together with others.
const maxGathered = 8 << 10

func (s *Stream) put(frames []Frame) {
	for _, f := range frames {
		field(&s.buffer, "id", []byte(f.ID))
		field(&s.buffer, "event", []byte(f.Event))
		field(&s.buffer, "data", f.Data)
		s.buffer.WriteByte('\n')
	}
}

// Comment writes a line that clients ignore.
func (s *Stream) Comment(text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	field(&s.buffer, "", []byte(text))
	s.buffer.WriteByte('\n')
	return s.flush()
}

// Close ends the stream. Nothing is written any more when it has returned.
func (s *Stream) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	s.ping.Stop()
	s.undrain()
	end := s.end()
	s.cancel(context.Canceled)
	s.kit.leave(s.client)
	if s.kit.config.Closed != nil {
		s.kit.config.Closed(end)
	}
}

// end tells why the stream is over.
func (s *Stream) end() End {
	switch cause := context.Cause(s.ctx); {
	case s.slow:
		return EndSlow
	case cause == nil:
		return EndDone
	case errors.Is(cause, errDrain):
		return EndDrain
	default:
		return EndGone
	}
}

// pingNow needs no error: what it finds ends the context. Nor may it panic, for on a timer's goroutine that would end the process.
func (s *Stream) pingNow() {
	defer func() {
		if v := recover(); v != nil {
			s.kit.config.Logger.Error("ping panicked", "err", fmt.Sprint(v), "stack", string(debug.Stack()))
			s.cancel(errGone)
		}
	}()
	_ = s.Comment("ping")
}

// flush writes what the buffer holds, within WriteTimeout. The caller holds mu.
func (s *Stream) flush() error {
	defer s.empty()
	if s.closed || s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	err := s.control.SetWriteDeadline(time.Now().Add(s.kit.config.WriteTimeout))
	if err == nil {
		_, err = s.w.Write(s.buffer.Bytes()) //nolint:gosec // an event stream that may not be sniffed is never read as HTML
	}
	if err == nil {
		err = s.control.Flush()
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.slow = true
		s.cancel(errSlow)
	case err != nil:
		s.cancel(errGone)
	default:
		s.ping.Reset(s.kit.config.Ping)
		// In HTTP/2 a deadline that stays would end a stream that is quiet.
		if err := s.control.SetWriteDeadline(time.Time{}); err != nil {
			s.cancel(errGone)
		}
	}
	return context.Cause(s.ctx)
}

// empty keeps the buffer for the next frames, unless it has grown for a long replay: there are many streams.
func (s *Stream) empty() {
	if s.buffer.Cap() > 16<<10 {
		s.buffer = bytes.Buffer{}
	}
	s.buffer.Reset()
}

// field writes a line for each line of the value.
func field(to *bytes.Buffer, name string, value []byte) {
	if len(value) == 0 {
		return
	}
	for line := range bytes.SplitSeq(value, []byte("\n")) {
		to.WriteString(name)
		to.WriteString(": ")
		to.Write(line)
		to.WriteByte('\n')
	}
}

// enter takes a place for a stream of the client, if it has one left.
func (k *Kit) enter(client string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.clients[client] >= k.config.StreamsPerClient {
		return false
	}
	k.clients[client]++
	return true
}

func (k *Kit) leave(client string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.clients[client]--; k.clients[client] == 0 {
		delete(k.clients, client)
	}
}
