package chat

// next is what a run does with an open turn, decided from committed messages only (I5).
type next int

const (
	nextCall next = iota // call the model
	nextTools
	nextFinish // the last word is the assistant's
	nextInterrupt
	nextTooLong // the turn has MaxSteps steps
)

// decide looks at the row and the committed messages of the open turn.
func decide(c Chat, turn []Message) next {
	switch {
	case c.InterruptRequested():
		return nextInterrupt
	case len(Unanswered(turn)) > 0:
		return nextTools
	case len(turn) > 0 && turn[len(turn)-1].Role == Assistant:
		return nextFinish
	case c.Step >= MaxSteps:
		return nextTooLong
	default:
		return nextCall
	}
}

// openTurn is the part of a history that belongs to the chat's current turn.
func openTurn(c Chat, history []Message) []Message {
	for i, m := range history {
		if m.Turn == c.Turn {
			return history[i:]
		}
	}
	return nil
}

// turnModel is the model that answers the open turn, and its parameters: the user message's own, else the chat's.
func turnModel(c Chat, turn []Message) (model string, m Message) {
	for _, m := range turn {
		if m.Role == User {
			if m.Model != "" {
				return m.Model, m
			}
			return c.Model, m
		}
	}
	return c.Model, Message{}
}

// sendable leaves out what no provider may see: error messages, and messages that say nothing.
func sendable(history []Message) []Message {
	out := make([]Message, 0, len(history))
	for _, m := range history {
		if m.Finish == Failed || (m.Role != Tool && m.Text() == "" && len(m.Calls()) == 0) {
			continue
		}
		out = append(out, m)
	}
	return out
}
