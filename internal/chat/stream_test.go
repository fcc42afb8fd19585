package chat

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// listener keeps what a stream publishes.
type listener struct {
	mu     sync.Mutex
	events []Event
	saved  []Partial
}

func (l *listener) Announce(events ...Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, events...)
}

func (l *listener) SavePartial(p Partial) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.saved = append(l.saved, p)
}

func (l *listener) texts() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := []string{}
	for _, e := range l.events {
		out = append(out, e.Delta.Text)
	}
	return out
}

// pass lets the bubble's clock go on.
func pass(d time.Duration) { <-time.After(d) }

func say(s *stream, words ...string) {
	for _, w := range words {
		s.write(Delta{Kind: TextDelta, Text: w})
	}
}

func TestAQuietStreamPublishesAtOnceAndABusyOneCoalesces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &listener{}
		s := newStream(l, DefaultTiming(), Event{Epoch: 3}, 7)
		say(s, "a", "b", "c")
		if diff := cmp.Diff([]string{"a"}, l.texts()); diff != "" {
			t.Fatalf("before the interval: %s", diff)
		}
		pass(DefaultTiming().Coalesce)
		synctest.Wait()
		if diff := cmp.Diff([]string{"a", "bc"}, l.texts()); diff != "" {
			t.Fatalf("after the interval: %s", diff)
		}
		pass(time.Second)
		say(s, "d")
		if diff := cmp.Diff([]string{"a", "bc", "d"}, l.texts()); diff != "" {
			t.Fatalf("quiet again: %s", diff)
		}
		if last := l.events[2]; last.Seq != 10 || last.Epoch != 3 {
			t.Errorf("the third delta after 7 has seq %d in epoch %d", last.Seq, last.Epoch)
		}
		s.end()
	})
}

func TestAStreamKeepsWhatItPublishedAsPartsAndChunks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &listener{}
		s := newStream(l, DefaultTiming(), Event{}, 0)
		s.write(Delta{Kind: ReasoningDelta, Text: "hm"})
		s.write(Delta{Kind: ReasoningDelta, Text: "m"})
		say(s, "so", " it", " is")
		said := s.end()
		want := Partial{Seq: 3, Chunks: []int32{2, 1, 8}, Parts: []Part{{Type: ReasoningPart, Text: "hmm"}, {Type: TextPart, Text: "so it is"}}}
		if diff := cmp.Diff(want, said); diff != "" {
			t.Fatal(diff)
		}
		var deltas []Delta
		for _, e := range l.events {
			deltas = append(deltas, *e.Delta)
		}
		if diff := cmp.Diff(deltas, Deltas(said.Parts, said.Chunks)); diff != "" {
			t.Errorf("a replay gives other deltas: %s", diff)
		}
		say(s, "late")
		if len(l.events) != 3 {
			t.Error("an ended stream published")
		}
	})
}

func TestAStepEndsAtItsSizeLimitBetweenCharacters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStream(&listener{}, DefaultTiming(), Event{}, 0)
		if !s.write(Delta{Kind: TextDelta, Text: strings.Repeat("x", MaxStepBytes-1)}) {
			t.Fatal("refused below the limit")
		}
		if s.write(Delta{Kind: TextDelta, Text: "äö"}) {
			t.Fatal("took more than the limit")
		}
		if got := len(s.end().Parts[0].Text); got != MaxStepBytes-1 {
			t.Fatalf("kept %d bytes, a character was split", got)
		}
	})
}

func TestPartialsAreSavedNoMoreOftenThanTheInterval(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &listener{}
		s := newStream(l, DefaultTiming(), Event{}, 0)
		for range 100 {
			say(s, "word ")
			pass(100 * time.Millisecond)
		}
		s.end()
		if got := len(l.saved); got < 4 || got > 5 {
			t.Fatalf("saved %d partials in 10 s", got)
		}
	})
}

func TestSlotsWaitUntilOneIsFree(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewSlots(3)
		if n, err := s.Reserve(t.Context(), 10); n != 3 || err != nil {
			t.Fatalf("reserved %d, %v", n, err)
		}
		got := make(chan int)
		go func() {
			n, _ := s.Reserve(t.Context(), 10)
			got <- n
		}()
		synctest.Wait()
		if s.Try() {
			t.Fatal("took a slot that is not there")
		}
		s.Release(2)
		if n := <-got; n != 2 {
			t.Fatalf("the waiter got %d", n)
		}
	})
}

func TestOnlyASweeperWithSteadyBeatsMayJudgeByAge(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		beats []time.Duration // before now
		may   bool
	}{
		"none":                    {nil, false},
		"only just started":       {ages(3*time.Second, 500*time.Millisecond), false},
		"steady":                  {ages(11*time.Second, 500*time.Millisecond), true},
		"a gap of three seconds":  {append(ages2(12*time.Second, 6*time.Second), ages(3*time.Second, 500*time.Millisecond)...), false},
		"the last one is too old": {ages2(14*time.Second, 3*time.Second), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := NewHeartbeat(nil, nil, HeartbeatConfig{Timing: DefaultTiming()})
				now := time.Now()
				reg := &Registration{born: now.Add(-time.Minute)}
				for _, age := range test.beats {
					h.good(reg, now.Add(-age))
				}
				if got := h.MayJudge(); got != test.may {
					t.Errorf("may judge: %t", got)
				}
			})
		})
	}
}

// ages lists the ages of beats every so often from an age to now; ages2 ends at another age.
func ages(from, every time.Duration) []time.Duration {
	var out []time.Duration
	for age := from; age >= 0; age -= every {
		out = append(out, age)
	}
	return out
}

func ages2(from, to time.Duration) []time.Duration {
	var out []time.Duration
	for age := from; age >= to; age -= 500 * time.Millisecond {
		out = append(out, age)
	}
	return out
}

func TestTimingRefusesValuesThatContradictEachOther(t *testing.T) {
	t.Parallel()
	if err := DefaultTiming().Validate(); err != nil {
		t.Fatal(err)
	}
	bad := DefaultTiming()
	bad.SuspectAfter, bad.LostAfter, bad.ModelAttempts, bad.AckWait = 600*time.Millisecond, time.Second, 0, 0
	err := bad.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, name := range []string{"suspect-after", "lost-after", "model-attempts", "ack-wait"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%q does not name %s", err, name)
		}
	}
}

func TestBackOffDoublesAndHonoursTheProvider(t *testing.T) {
	t.Parallel()
	p := NewProcessor(nil, nil, nil, ProcessorConfig{Timing: DefaultTiming()})
	for attempts, most := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second} {
		if wait := p.backoffWait(attempts, 0); wait < most/2 || wait > most {
			t.Errorf("after %d attempts it waits %s", attempts, wait)
		}
	}
	if wait := p.backoffWait(60, 0); wait > time.Minute || wait < 30*time.Second {
		t.Errorf("the longest wait is %s", wait)
	}
	if wait := p.backoffWait(0, 90*time.Second); wait != 90*time.Second {
		t.Errorf("told to wait 90 s it waits %s", wait)
	}
}

func TestTheNextMoveIsDecidedFromCommittedMessages(t *testing.T) {
	t.Parallel()
	user := Message{Role: User, Turn: 2}
	calls := Message{Role: Assistant, Turn: 2, Parts: []Part{{Type: ToolCallPart, CallID: "1", Name: "look"}}}
	result := Message{Role: Tool, Turn: 2, Parts: []Part{{Type: ToolResultPart, CallID: "1"}}}
	for name, test := range map[string]struct {
		chat Chat
		turn []Message
		want next
	}{
		"a question":                  {Chat{Turn: 2}, []Message{user}, nextCall},
		"a tool call":                 {Chat{Turn: 2, Step: 1}, []Message{user, calls}, nextTools},
		"an answered tool call":       {Chat{Turn: 2, Step: 2}, []Message{user, calls, result}, nextCall},
		"the last word":               {Chat{Turn: 2, Step: 1}, []Message{user, {Role: Assistant, Turn: 2}}, nextFinish},
		"asked to stop":               {Chat{Turn: 2, InterruptTurn: 2}, []Message{user, calls}, nextInterrupt},
		"an earlier turn was stopped": {Chat{Turn: 2, InterruptTurn: 1}, []Message{user}, nextCall},
		"too many steps":              {Chat{Turn: 2, Step: MaxSteps}, []Message{user}, nextTooLong},
	} {
		if got := decide(test.chat, test.turn); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
