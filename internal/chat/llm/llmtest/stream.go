package llmtest

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// Stream is one answer on its way.
type Stream struct {
	p    *Provider
	w    http.ResponseWriter
	rc   *http.ResponseController
	r    *http.Request
	call Call
	wire wire

	buf     []byte
	every   time.Duration
	timer   *time.Timer
	started bool
	ended   bool
	said    int
	tools   int
	// block is the Anthropic content block that is open, and blocks counts them.
	block  string
	blocks int
}

func newStream(p *Provider, w http.ResponseWriter, r *http.Request, c Call) *Stream {
	s := &Stream{p: p, w: w, rc: http.NewResponseController(w), r: r, call: c, wire: openAIWire{}}
	if c.Wire == Anthropic {
		s.wire = anthropicWire{}
	}
	return s
}

func (s *Stream) run(script []Step) Outcome {
	defer func() {
		if s.timer != nil {
			s.timer.Stop()
		}
	}()
	for _, step := range script {
		if err := step(s); err != nil {
			return s.outcome(err)
		}
	}
	if s.ended {
		return Finished
	}
	reason := "stop"
	if s.tools > 0 {
		reason = "tool_calls"
	}
	if err := s.finish(reason); err != nil {
		return s.outcome(err)
	}
	return Finished
}

func (s *Stream) outcome(err error) Outcome {
	switch {
	case errors.Is(err, errRefused):
		return Refused
	case errors.Is(err, errOver):
		return Cut
	default:
		return Left
	}
}

func (s *Stream) start() error {
	if s.started {
		return nil
	}
	s.started = true
	s.w.Header().Set("Content-Type", "text/event-stream")
	return s.write(s.wire.start(s))
}

// say sends one delta, after the pause that is set.
func (s *Stream) say(text string, encode func(*Stream, string) []byte) error {
	if err := s.start(); err != nil {
		return err
	}
	if err := s.sleep(s.every); err != nil {
		return err
	}
	s.said++
	return s.write(encode(s, text))
}

func (s *Stream) finish(reason string) error {
	if err := s.start(); err != nil {
		return err
	}
	s.ended = true
	return s.write(s.wire.finish(s, reason))
}

// write sends the bytes at once: a test that holds a stream counts on it.
func (s *Stream) write(b []byte) error {
	if !s.started {
		s.started = true
		s.w.Header().Set("Content-Type", "text/event-stream")
	}
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	return s.rc.Flush()
}

func (s *Stream) sleep(d time.Duration) error {
	if d <= 0 {
		return s.r.Context().Err()
	}
	if s.timer == nil {
		s.timer = time.NewTimer(d)
	} else {
		s.timer.Reset(d)
	}
	select {
	case <-s.timer.C:
		return nil
	case <-s.r.Context().Done():
		return context.Cause(s.r.Context())
	case <-s.p.stop:
		return errOver
	}
}

// until waits for the channel, nil for ever, or for the client to leave.
func (s *Stream) until(open <-chan struct{}) error {
	select {
	case <-open:
		return nil
	case <-s.r.Context().Done():
		return context.Cause(s.r.Context())
	case <-s.p.stop:
		return errOver
	}
}
