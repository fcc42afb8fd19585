package main

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"processor/internal/chat"
)

// said is an answer's way onto standard output.
type said struct {
	t      *testing.T
	out    strings.Builder
	print  printer
	starts int
}

func newSaid(t *testing.T) *said {
	t.Helper()
	s := &said{t: t}
	s.print = printer{w: &s.out, restarted: func() { s.starts++ }}
	return s
}

func (s *said) deltas(texts ...string) {
	s.t.Helper()
	for _, text := range texts {
		if err := s.print.delta(text); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *said) commit(text string, finish chat.Finish) {
	s.t.Helper()
	if err := s.print.commit(text, finish); err != nil {
		s.t.Fatal(err)
	}
}

func (s *said) expect(want string) {
	s.t.Helper()
	if got := s.out.String(); got != want {
		s.t.Errorf("printed %q, want %q", got, want)
	}
}

func TestAnAnswerIsPrintedAsItComes(t *testing.T) {
	t.Parallel()
	s := newSaid(t)
	s.deltas("one ", "two")
	s.expect("one two")
	s.commit("one two", chat.Stop)
	s.expect("one two\n")
}

func TestWhatASecondAttemptRepeatsIsNotPrintedTwice(t *testing.T) {
	t.Parallel()
	s := newSaid(t)
	s.deltas("one ", "two ")
	s.print.void()
	s.deltas("o", "ne t")
	s.expect("one two ")
	s.deltas("wo three")
	s.expect("one two three")
	s.print.void()
	s.print.void()
	s.deltas("one two three four")
	s.commit("one two three four", chat.Stop)
	s.expect("one two three four\n")
}

func TestAnAnswerThatTurnsOutOtherwiseStartsAgainOnANewLine(t *testing.T) {
	t.Parallel()
	s := newSaid(t)
	s.deltas("one two")
	s.print.void()
	s.deltas("one ", "three")
	s.expect("one two\none three")
	s.deltas(" four")
	s.commit("one three four", chat.Stop)
	s.expect("one two\none three four\n")
	if s.starts != 1 {
		t.Errorf("told of %d restarts, want 1", s.starts)
	}
}

func TestTheCommitBringsWhatWasMissed(t *testing.T) {
	t.Parallel()
	s := newSaid(t)
	s.deltas("one")
	s.commit("one two three", chat.Stop)
	s.expect("one two three\n")
}

func TestAnAnswerThatBecameShorterIsPrintedAgain(t *testing.T) {
	t.Parallel()
	s := newSaid(t)
	s.deltas("one two three")
	s.print.void()
	s.commit("one two", chat.Stop)
	s.expect("one two three\none two\n")
}

func TestATurnThatWasCutOffIsNotRepeated(t *testing.T) {
	t.Parallel()
	s := newSaid(t)
	s.deltas("one two three")
	s.commit("one two", chat.Interrupted)
	s.expect("one two three\n")
}

func TestStepsStandOnLinesOfTheirOwn(t *testing.T) {
	t.Parallel()
	s := newSaid(t)
	s.deltas("let me look")
	s.commit("let me look", "")
	s.commit("", "")
	s.deltas("it is ", "blue\n")
	s.commit("it is blue\n", chat.Stop)
	s.expect("let me look\nit is blue\n")
}

func TestHoldPrintsOnlyWhatIsCommitted(t *testing.T) {
	t.Parallel()
	s := newSaid(t)
	s.print.hold = true
	s.deltas("one", "two")
	s.print.void()
	s.deltas("three")
	s.expect("")
	s.commit("three", chat.Stop)
	s.expect("three\n")
}

func TestHoweverOftenAnAttemptIsVoidTheCommittedAnswerIsPrintedOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		answer := rapid.StringMatching(`[a-zäß ]{1,20}`).Draw(rt, "answer")
		var out strings.Builder
		p := printer{w: &out}
		for range rapid.IntRange(0, 4).Draw(rt, "void attempts") {
			say(rt, &p, answer)
			p.void()
		}
		say(rt, &p, answer)
		if err := p.commit(answer, chat.Stop); err != nil {
			rt.Fatal(err)
		}
		if out.String() != answer+"\n" {
			rt.Fatalf("printed %q, want %q", out.String(), answer+"\n")
		}
	})
}

// say streams a beginning of the answer in pieces.
func say(rt *rapid.T, p *printer, answer string) {
	for _, r := range answer {
		if rapid.IntRange(0, 9).Draw(rt, "go on") == 0 {
			return
		}
		if err := p.delta(string(r)); err != nil {
			rt.Fatal(err)
		}
	}
}
