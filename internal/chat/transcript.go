package chat

// Transcript is what one watcher knows of a chat. It turns snapshots and live events, which may be lost, repeated, late or out of
// order, into a stream of events that is in order, without gaps or repeats, and ends with what Postgres holds (I10).
//
// It is not safe for concurrent use.
type Transcript struct {
	chat   Chat
	known  bool
	gone   bool
	lastID int64
	// cut is the version of the last removal that was taken from an event.
	cut int64
	// place is how many messages of the transition after chat.Version were taken.
	place int
	// failed is the error message that ended the open turn, which a Retry removes.
	failed *Message

	// answered is the last committed assistant message.
	answered Message

	// epoch and seq say how far the owner's stream was followed; shown are the chunks of the open step that were emitted.
	epoch int64
	seq   int64
	shown int
	// blind means that deltas were lost and could not be had from the owner: the rest of this attempt is not shown live, the committed
	// message brings it.
	blind bool
}

// TranscriptAfter knows nothing of a chat but that its reader has the messages up to an id.
func TranscriptAfter(id int64) *Transcript { return &Transcript{lastID: id} }

// Chat is the row as far as it is known.
func (t *Transcript) Chat() Chat { return t.chat }

// After is the id after which a snapshot has to bring messages.
func (t *Transcript) After() int64 { return t.lastID }

// Apply takes one live event and returns what is new in it. A true says that something is missing: read a snapshot.
func (t *Transcript) Apply(e Event) ([]Event, bool) {
	switch {
	case !t.known || t.replaced(Chat{Number: e.Number}):
		return nil, true
	case e.Number < t.chat.Number || t.gone:
		return nil, false
	}
	switch e.Type {
	case DeltaEvent:
		return t.delta(e)
	case MessageEvent:
		return t.message(e)
	case RemovedEvent:
		return t.removed(e)
	case StatusEvent:
		return t.status(e)
	case RetryEvent:
		return t.retry(e)
	case DeletedEvent:
		t.gone = true
		return []Event{e}, false
	default:
		return nil, false
	}
}

func (t *Transcript) delta(e Event) ([]Event, bool) {
	if e.Epoch < t.epoch || (e.Epoch == t.epoch && e.Seq <= t.seq) {
		return nil, false
	}
	out := t.raise(e)
	if e.Seq == 1 {
		t.blind = false // nothing of this epoch can be missing
	}
	if e.Turn > t.chat.Turn || (e.Turn == t.chat.Turn && e.Step > t.chat.Step) {
		return out, true // a commit before it was lost, and who is blind is so until then
	}
	if e.Seq != t.seq+1 {
		if t.blind {
			t.seq = e.Seq
			return out, false
		}
		return out, true
	}
	t.seq = e.Seq
	if t.blind || t.stale(e.Turn, e.Step) {
		return out, false
	}
	t.shown++
	return append(out, e), false
}

// stale reports whether the committed messages already have that step.
func (t *Transcript) stale(turn, step int) bool {
	before := func(turn2, step2 int) bool { return turn < turn2 || (turn == turn2 && step < step2) }
	return before(t.chat.Turn, t.chat.Step) || before(t.answered.Turn, t.answered.Step)
}

// raise follows the owner into a higher epoch: what was shown of an uncommitted step is void, and watchers are told.
func (t *Transcript) raise(e Event) []Event {
	if e.Epoch <= t.epoch {
		return nil
	}
	had := t.shown > 0
	t.epoch, t.seq, t.shown, t.blind = e.Epoch, 0, 0, false
	if !had {
		return nil
	}
	void := e
	void.Type, void.Delta, void.Message, void.Retry, void.Seq = VoidEvent, nil, nil, nil, 0
	return []Event{void}
}

func (t *Transcript) retry(e Event) ([]Event, bool) {
	if e.Epoch <= t.epoch {
		return nil, false
	}
	return append(t.raise(e), e), false
}

// message takes a message of the next transition. One of a later transition, or one that is not the next of its transition, means that events
// were lost; those of earlier ones are known.
func (t *Transcript) message(e Event) ([]Event, bool) {
	switch {
	case e.MessageID <= t.lastID || e.Version <= t.chat.Version:
		return nil, false
	case t.uncut(e):
		return nil, true
	case e.Version != t.chat.Version+1 || e.Place != t.place+1 || e.Message == nil:
		return nil, true
	}
	t.place++
	return t.take(e), false
}

// take adds a committed message.
func (t *Transcript) take(e Event) []Event {
	m := e.Message
	var out []Event
	if t.failed != nil && t.failed.Turn == m.Turn {
		out = append(out, t.remove(e, *t.failed.ID))
	}
	t.lastID = *m.ID
	if m.Role == Assistant {
		out = append(out, t.raise(Event{Epoch: e.Epoch, Number: e.Number, Chat: e.Chat, Turn: e.Turn, Step: e.Step, Version: e.Version, At: e.At})...)
		t.shown, t.blind, t.answered = 0, false, *m
	}
	if m.Finish == Failed {
		t.failed = m
	} else if m.Role == User {
		t.failed = nil
	}
	return append(out, e)
}

func (t *Transcript) removed(e Event) ([]Event, bool) {
	from := e.RemovedFrom
	if from == 0 {
		from = e.MessageID // of the release before, which removed one at a time
	}
	switch {
	case e.Version <= t.chat.Version || e.Version == t.cut:
		return nil, false
	case e.Version != t.chat.Version+1:
		return nil, true
	}
	t.cut = e.Version
	if from > t.lastID {
		return nil, false
	}
	return []Event{t.remove(e, from)}, false
}

// uncut reports whether the event's transition removed messages and that event did not come. Nothing later would show it: the ids that remain
// may be those that are known.
func (t *Transcript) uncut(e Event) bool { return e.RemovedFrom != 0 && t.cut != e.Version }

// remove forgets the messages from an id on, and tells of it.
func (t *Transcript) remove(e Event, from int64) Event {
	gone := e
	gone.Type, gone.Message, gone.Status, gone.Worker, gone.Reason = RemovedEvent, nil, "", nil, ""
	gone.MessageID, gone.RemovedFrom, gone.Place = t.lastID, from, 0
	t.lastID = from - 1
	if t.failed != nil && *t.failed.ID >= from {
		t.failed = nil
	}
	return gone
}

// status takes a row's change. One that is not the next, or that speaks of a message that did not come, means that events were lost.
func (t *Transcript) status(e Event) ([]Event, bool) {
	if e.Version <= t.chat.Version {
		return nil, false
	}
	if e.Version != t.chat.Version+1 || e.MessageID > t.lastID || t.uncut(e) {
		return nil, true
	}
	out := t.raise(e)
	if t.retried(e.Turn, e.Status) {
		out = append(out, t.remove(e, *t.failed.ID))
	}
	t.place = 0
	t.chat.Version, t.chat.Status, t.chat.Worker = e.Version, e.Status, e.Worker
	t.chat.Turn, t.chat.Step, t.chat.Epoch = e.Turn, e.Step, e.Epoch
	return append(out, e), false
}

// replaced reports whether the row is of another chat, made under the same id after this one was deleted.
func (t *Transcript) replaced(c Chat) bool { return t.chat.Number != 0 && c.Number > t.chat.Number }

// retried reports whether a row in that turn and status shows that the error message was removed.
func (t *Transcript) retried(turn int, s Status) bool {
	return t.failed != nil && t.failed.Turn == turn && s != Parked
}

// Reset takes a snapshot that has everything after After, and returns what is new in it.
func (t *Transcript) Reset(s Snapshot) []Event {
	c := s.Chat
	if t.known && (c.Number < t.chat.Number || (c.Number == t.chat.Number && c.Version < t.chat.Version)) {
		return nil // an older read that was overtaken by events
	}
	if t.replaced(c) {
		out := t.deleted()
		*t = Transcript{}
		return append(out, t.Reset(s)...)
	}
	t.chat.Number = c.Number
	var out []Event
	base := Event{Chat: c.ID, Number: c.Number, Turn: c.Turn, Version: c.Version, Epoch: c.Epoch, Step: c.Step, At: c.UpdatedAt}
	if s.Kept != nil && *s.Kept < t.lastID {
		out = append(out, t.remove(base, *s.Kept+1))
	}
	for i := range s.Messages {
		m := &s.Messages[i]
		if m.ID == nil || *m.ID <= t.lastID {
			continue
		}
		e := base
		e.Type, e.Message, e.MessageID, e.Turn, e.Step, e.Epoch = MessageEvent, m, *m.ID, m.Turn, m.Step, m.Epoch
		out = append(out, t.take(e)...)
	}
	if t.retried(c.Turn, c.Status) {
		out = append(out, t.remove(base, *t.failed.ID))
	}
	if s.Next != 0 {
		return out // more pages follow; the row is taken with the last one
	}
	out = append(out, t.raise(base)...)
	if !t.known || c.Version != t.chat.Version {
		e := base
		e.Type, e.Status, e.Worker, e.Seq = StatusEvent, c.Status, c.Worker, 0
		out = append(out, e)
	}
	t.chat, t.known, t.place = c, true, 0
	return append(out, t.catchUp(s)...)
}

// deleted tells of the end of the chat, once.
func (t *Transcript) deleted() []Event {
	if t.gone {
		return nil
	}
	t.gone = true
	c := t.chat
	return []Event{{Type: DeletedEvent, Chat: c.ID, Number: c.Number, Turn: c.Turn, Version: c.Version + 1, Epoch: c.Epoch}}
}

// catchUp shows what the owner had streamed of the open step and this watcher has not seen.
func (t *Transcript) catchUp(s Snapshot) []Event {
	p := s.Partial
	if p == nil || !p.Of(s.Chat) || p.Epoch < t.epoch {
		t.blind = s.Chat.Status == Running
		return nil
	}
	var out []Event
	base := Event{Type: DeltaEvent, Chat: p.Chat, Number: p.Number, Turn: p.Turn, Version: s.Chat.Version, Epoch: p.Epoch, Step: p.Step}
	for i, d := range Deltas(p.Parts, p.Chunks) {
		if i < t.shown {
			continue
		}
		e := base
		e.Delta, e.Seq = &d, p.Seq-int64(len(p.Chunks)-1-i)
		out = append(out, e)
	}
	t.shown, t.seq, t.blind = max(t.shown, len(p.Chunks)), max(t.seq, p.Seq), false
	return out
}

// Deltas cuts parts into the deltas that they were published as. Bytes that chunks do not cover come as one more.
func Deltas(parts []Part, chunks []int32) []Delta {
	out := make([]Delta, 0, len(chunks))
	next := 0
	for _, p := range parts {
		if p.Type != TextPart && p.Type != ReasoningPart {
			continue
		}
		for text := p.Text; text != ""; next++ {
			n := len(text)
			if next < len(chunks) {
				n = min(n, int(chunks[next]))
			}
			out = append(out, Delta{Kind: DeltaKind(p.Type), Text: text[:n]})
			text = text[n:]
		}
	}
	return out
}
