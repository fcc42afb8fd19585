package chat

import (
	"sync"
	"time"
)

// stream publishes one step's deltas: at once when the chat was quiet, else gathered until coalesce has passed since the last one.
// It keeps what was published as parts and chunks, so that the committed message can be replayed delta by delta.
//
// The model's goroutine writes; the timer flushes; a watcher that joins reads the partial. After end nothing is published any more.
type stream struct {
	bus      Announcer
	coalesce time.Duration
	saveGap  time.Duration

	mu      sync.Mutex
	base    Event
	parts   []streamPart
	chunks  []int32
	size    int
	waiting []byte // written and not yet published, of kind waitingAs
	kind    DeltaKind
	timer   *time.Timer
	last    time.Time
	saved   time.Time
	ended   bool
}

// streamPart grows without copying what is there on every delta.
type streamPart struct {
	kind DeltaKind
	text []byte
}

// newStream starts after the delta seq of the epoch in base.
func newStream(bus Announcer, t Timing, base Event, seq int64) *stream {
	base.Type, base.Seq = DeltaEvent, seq
	return &stream{bus: bus, coalesce: t.Coalesce, saveGap: t.PartialEvery, base: base, saved: time.Now()}
}

// write adds a delta. It reports false when the step has reached MaxStepBytes of JSON; the rest is cut at a character's border.
func (s *stream) write(d Delta) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || d.Text == "" {
		return !s.ended
	}
	text, size, whole := cut(d.Text, MaxStepBytes-s.size)
	s.size += size
	if len(s.waiting) > 0 && s.kind != d.Kind {
		s.flush()
	}
	s.kind = d.Kind
	s.waiting = append(s.waiting, text...)
	if wait := s.coalesce - time.Since(s.last); wait <= 0 {
		s.flush()
	} else if s.timer == nil {
		s.timer = time.AfterFunc(wait, s.flushLater)
	}
	return whole
}

// cut shortens text to what takes n bytes as JSON, without splitting a character. It returns how many the kept text takes.
func cut(text string, n int) (kept string, size int, whole bool) {
	for i := range len(text) {
		cost := jsonCost(text, i)
		if size+cost <= n {
			size += cost
			continue
		}
		for i > 0 && text[i]&0xC0 == 0x80 {
			i--
		}
		return text[:i], size, false
	}
	return text, size, true
}

func (s *stream) flushLater() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.flush()
	}
}

// flush publishes what waits. The caller holds mu.
func (s *stream) flush() {
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	if len(s.waiting) == 0 {
		return
	}
	text := string(s.waiting)
	s.waiting = s.waiting[:0]
	if n := len(s.parts); n == 0 || s.parts[n-1].kind != s.kind {
		s.parts = append(s.parts, streamPart{kind: s.kind})
	}
	p := &s.parts[len(s.parts)-1]
	p.text = append(p.text, text...)
	s.chunks = append(s.chunks, int32(len(text)))
	s.base.Seq++
	s.last = time.Now()
	e := s.base
	e.At, e.Delta = s.last, &Delta{Kind: s.kind, Text: text}
	s.bus.Announce(e)
	if s.last.Sub(s.saved) >= s.saveGap {
		s.saved = s.last
		s.bus.SavePartial(s.partial())
	}
}

// end publishes what waits and stops. It returns what was said.
func (s *stream) end() Partial {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.flush()
		s.ended = true
	}
	return s.partial()
}

// snapshot is the partial so far: exactly what was published up to its Seq.
func (s *stream) snapshot() Partial {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.partial()
}

func (s *stream) partial() Partial {
	b := s.base
	p := Partial{Chat: b.Chat, Number: b.Number, Turn: b.Turn, Step: b.Step, Epoch: b.Epoch, Seq: b.Seq, Parts: make([]Part, len(s.parts))}
	for i, part := range s.parts {
		p.Parts[i] = Part{Type: PartType(part.kind), Text: string(part.text)}
	}
	p.Chunks = append(make([]int32, 0, len(s.chunks)), s.chunks...)
	return p
}
