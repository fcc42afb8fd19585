package chat

// A turn's events are a function of its messages: text, chunks, step, epoch, and the epoch at which the turn opened (I10). So every event has a number that
// any replica gives it at any time, whether the event is seen live or replayed, and without a log that could be lost.

// Mark is an event's place in its turn: the attempt is the event's epoch less the one at which the turn opened, the place counts
// the attempt's events. An epoch that goes on from an earlier turn of its run begins at attempt 0 of the next.
type Mark struct {
	Attempt int64
	Place   int64
}

const (
	// AttemptPlaces is how many places an attempt has.
	AttemptPlaces = 1_000_000
	// VoidPlace is the place of the event that ends a voided attempt, whatever was seen of it.
	VoidPlace = AttemptPlaces - 1
	// deltaPlaces is where deltas end, hours into an attempt: the rest of a step's text comes with its message.
	deltaPlaces = AttemptPlaces - 10_000
)

// Number is the mark as one number that rises with it.
func (m Mark) Number() int64 { return m.Attempt*AttemptPlaces + m.Place }

// MarkOf is the mark of a number; a negative one is before everything.
func MarkOf(number int64) Mark {
	if number < 0 {
		return Mark{Attempt: 0, Place: -1}
	}
	return Mark{Attempt: number / AttemptPlaces, Place: number % AttemptPlaces}
}

// Before reports whether m comes before o.
func (m Mark) Before(o Mark) bool {
	return m.Attempt < o.Attempt || (m.Attempt == o.Attempt && m.Place < o.Place)
}

// TurnEventType is the kind of a turn's event.
type TurnEventType string

// The events of a turn. It is opened once and first; every message is preceded by its deltas.
const (
	TurnOpened TurnEventType = "opened" // Message is the user's
	TurnDelta  TurnEventType = "delta"
	TurnStep   TurnEventType = "step" // a committed message that does not end the turn
	TurnEnded  TurnEventType = "ended"
	// TurnVoided withdraws what came after Kept in its attempt. Only who has seen some of that gets it.
	TurnVoided TurnEventType = "voided"
	// TurnGone has no mark: the chat was deleted, or a truncation removed the turn.
	TurnGone TurnEventType = "gone"
)

// TurnEvent is one numbered event.
type TurnEvent struct {
	Type TurnEventType
	Mark
	// Step is the step that a delta or message belongs to.
	Step    int
	Delta   *Delta
	Message *Message
	// Kept is the last place that stays of a voided attempt, Seen the last one that the watcher knows.
	Kept int64
	Seen int64
}

// TurnLog numbers the events of one turn. It is fed with what Watcher.Watch emits, from before the turn's user message on, and
// returns what comes after its cursor. It is not safe for concurrent use.
type TurnLog struct {
	turn   int
	cursor Mark

	opened int64 // the epoch at which the turn opened
	first  int64 // the user's message
	begun  bool
	over   bool
	gone   bool
	// at is the last event's mark; kept is the last place of the attempt that is committed, seen the last one that the watcher knows.
	at   Mark
	kept int64
	seen int64
	// shown counts the deltas of the open step.
	shown int
	// final is the message that ended the turn, and before it the last place that stays if it is removed.
	final  int64
	before int64
}

// NewTurnLog makes the log of a turn after a mark, MarkOf(-1) for all of it.
func NewTurnLog(turn int, after Mark) *TurnLog { return &TurnLog{turn: turn, cursor: after} }

// Over reports whether the turn's last event was returned or lies before the cursor. A retry by the user may open it again.
func (l *TurnLog) Over() bool { return l.over }

// Apply takes one event of a transcript and returns what it adds to the turn.
func (l *TurnLog) Apply(e Event) []TurnEvent {
	switch {
	case e.Type == DeletedEvent:
		l.over = true
		return []TurnEvent{{Type: TurnGone}}
	case l.truncated(e):
		l.over, l.gone = true, true
		return []TurnEvent{{Type: TurnGone}}
	case e.Turn != l.turn || l.gone:
		return nil
	case e.Type == MessageEvent && e.Message != nil && e.Message.Role == User:
		return l.open(e)
	case !l.begun:
		return nil
	case e.Type == RemovedEvent: // of the end of the turn
		l.reopen(e.MessageID)
		return nil
	case l.over:
		return nil
	case e.Type == DeltaEvent:
		return append(l.raise(e.Epoch), l.delta(e.Step+1, *e.Delta)...)
	case e.Type == MessageEvent && e.Message != nil:
		return append(l.raise(e.Message.Epoch), l.message(e.Message)...)
	default:
		return l.raise(e.Epoch)
	}
}

// truncated reports whether the event removes the turn.
func (l *TurnLog) truncated(e Event) bool {
	return e.Type == RemovedEvent && l.begun && !l.gone && l.first >= e.RemovedFrom && l.first <= e.MessageID
}

func (l *TurnLog) open(e Event) []TurnEvent {
	if l.begun {
		return nil
	}
	l.begun, l.first, l.opened, l.at = true, *e.Message.ID, e.Message.Epoch, Mark{Place: -1}
	l.seen = l.known(0)
	out := l.emit(TurnEvent{Type: TurnOpened, Message: e.Message})
	l.kept = l.at.Place
	return out
}

// raise follows the turn into a higher epoch, and ends the attempt before it for who has seen more of that than was kept.
func (l *TurnLog) raise(epoch int64) []TurnEvent {
	attempt := epoch - l.opened
	if attempt <= l.at.Attempt {
		return nil
	}
	var out []TurnEvent
	if l.seen > l.kept && l.seen < VoidPlace {
		out = append(out, l.void(l.at.Attempt, l.kept, l.seen))
	}
	if c := l.cursor; c.Attempt > l.at.Attempt && c.Attempt < attempt && c.Place < VoidPlace {
		out = append(out, l.void(c.Attempt, -1, c.Place)) // nothing of the cursor's attempt was kept
	}
	l.at, l.shown, l.kept = Mark{Attempt: attempt, Place: -1}, 0, -1
	l.seen = l.known(attempt)
	return out
}

func (l *TurnLog) void(attempt, kept, seen int64) TurnEvent {
	return TurnEvent{Type: TurnVoided, Mark: Mark{Attempt: attempt, Place: VoidPlace}, Kept: kept, Seen: seen}
}

// known is the last place of an attempt that the watcher knows by its cursor.
func (l *TurnLog) known(attempt int64) int64 {
	switch {
	case l.cursor.Attempt == attempt:
		return l.cursor.Place
	case l.cursor.Attempt > attempt:
		return VoidPlace
	}
	return -1
}

func (l *TurnLog) delta(step int, d Delta) []TurnEvent {
	l.shown++
	if l.at.Place >= deltaPlaces {
		return nil
	}
	return l.emit(TurnEvent{Type: TurnDelta, Step: step, Delta: &d})
}

// message brings what was not shown of its text, then itself.
func (l *TurnLog) message(m *Message) []TurnEvent {
	var out []TurnEvent
	if m.Role == Assistant {
		deltas := Deltas(m.Parts, m.Chunks)
		for _, d := range deltas[min(l.shown, len(deltas)):] {
			out = append(out, l.delta(m.Step, d)...)
		}
		l.shown = 0
	}
	e := TurnEvent{Type: TurnStep, Step: m.Step, Message: m}
	if m.Ends() {
		e.Type, l.over, l.final, l.before = TurnEnded, true, *m.ID, l.kept
	}
	out = append(out, l.emit(e)...)
	l.kept = l.at.Place
	return out
}

// reopen takes back the end of the turn: a user's retry removed the error message.
func (l *TurnLog) reopen(removed int64) {
	if l.over && removed == l.final {
		l.over, l.kept, l.shown = false, l.before, 0
	}
}

func (l *TurnLog) emit(e TurnEvent) []TurnEvent {
	l.at.Place++
	l.seen = max(l.seen, l.at.Place)
	if e.Mark = l.at; !l.cursor.Before(l.at) {
		return nil
	}
	return []TurnEvent{e}
}
