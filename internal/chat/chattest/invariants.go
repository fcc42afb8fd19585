package chattest

import (
	"errors"
	"fmt"
	"slices"

	"processor/internal/chat"
)

// CheckInvariants says what in the rows breaks an invariant, naming it; nil when nothing does. It looks at one moment only.
func CheckInvariants(rows Rows) error {
	var f faults
	histories, queues := byChat(rows.Messages), byChat(rows.Queue)
	for _, c := range rows.Chats {
		history, queue := histories[c.Chat.Number], queues[c.Chat.Number]
		f.of = string(c.Chat.ID)
		f.owner(c.Chat)
		f.dispatch(c)
		f.budgets(c.Chat)
		f.queue(c.Chat, queue)
		f.transcript(c.Chat, history)
		f.clients(history, queue)
	}
	return errors.Join(f.all...)
}

// byChat sorts the messages of a whole database in one go.
func byChat(rows []MessageRow) map[chat.Number][]chat.Message {
	all := map[chat.Number][]chat.Message{}
	for _, m := range rows {
		all[m.Number] = append(all[m.Number], m.Message)
	}
	return all
}

// faults collects what is wrong with one chat after another.
type faults struct {
	of  string
	all []error
}

func (f *faults) unless(holds bool, format string, args ...any) {
	if !holds {
		f.all = append(f.all, fmt.Errorf("chat %s: "+format, append([]any{f.of}, args...)...))
	}
}

func (f *faults) owner(c chat.Chat) {
	running := c.Status == chat.Running
	f.unless(c.Status.Valid(), "status %q is none", c.Status)
	f.unless(running == (c.Worker != nil), "I2: %s with owner %v", c.Status, c.Worker)
	f.unless(running == (c.ClaimedAt != nil), "I2: %s, claimed at %v", c.Status, c.ClaimedAt)
	f.unless(!running || c.Epoch > 0, "I2: running in epoch 0")
	f.unless(c.Void < c.Epoch || c.Void == 0, "I2: epoch %d is void and still the row's", c.Void)
}

func (f *faults) dispatch(c ChatRow) {
	f.unless((c.Chat.Status == chat.Pending) == (c.Dispatch.At != nil), "I3: %s, dispatch looked for at %v", c.Chat.Status, c.Dispatch.At)
}

func (f *faults) budgets(c chat.Chat) {
	active := c.Status == chat.Pending || c.Status == chat.Running
	f.unless(c.Takeovers <= c.Recoveries, "I8: %d takeovers, %d recoveries", c.Takeovers, c.Recoveries)
	f.unless(c.Takeovers < chat.ParkAt && c.Recoveries < chat.MaxRecoveries || c.Status == chat.Parked || c.InterruptRequested(),
		"I8: %s after %d takeovers, %d recoveries", c.Status, c.Takeovers, c.Recoveries)
	f.unless(!active || (c.Attempts > 0) == (c.RetryAt != nil), "%d failed attempts, next at %v", c.Attempts, c.RetryAt)
	f.unless(active || c.RetryAt == nil, "%s, next attempt at %v", c.Status, c.RetryAt)
	f.unless(c.InterruptTurn == 0 || (active && c.InterruptTurn == c.Turn), "%s in turn %d, turn %d is to stop", c.Status, c.Turn, c.InterruptTurn)
	f.unless((c.Status == chat.Parked) == (c.LastError != nil), "%s with last error %v", c.Status, c.LastError)
}

func (f *faults) queue(c chat.Chat, queue []chat.Message) {
	f.unless(c.Queued == len(queue), "row says %d queued, there are %d", c.Queued, len(queue))
	f.unless(c.Queued <= chat.MaxQueue, "%d queued", c.Queued)
	f.unless(c.Status != chat.Waiting || c.Queued == 0, "I4: waiting with %d queued", c.Queued)
}

// transcript checks every turn: one user message opens it, steps follow, and one final message ends it if it is over.
func (f *faults) transcript(c chat.Chat, all []chat.Message) {
	turns := map[int][]chat.Message{}
	for i, m := range all {
		turns[m.Turn] = append(turns[m.Turn], m)
		f.unless(i == 0 || m.Turn >= all[i-1].Turn, "I10: turn %d after turn %d", m.Turn, all[max(0, i-1)].Turn)
		f.unless(i == 0 || m.Epoch >= all[i-1].Epoch, "I2: a message of epoch %d after one of epoch %d", m.Epoch, all[max(0, i-1)].Epoch)
		f.unless(m.Epoch <= c.Epoch, "I2: a message of epoch %d, the row's is %d", m.Epoch, c.Epoch)
	}
	// Turns that were truncated leave a gap; CheckStep sees that nothing else does.
	last := 0
	if len(all) > 0 {
		last = all[len(all)-1].Turn
	}
	f.unless(last == c.Turn, "I4: turn %d is the last in history, the row says %d", last, c.Turn)
	for turn, messages := range turns {
		f.turn(c, turn, messages)
	}
}

func (f *faults) turn(c chat.Chat, turn int, all []chat.Message) {
	finals, users, steps := 0, 0, 0
	results := 0 // 1 after results that may be a step of their own
	for i, m := range all {
		switch m.Role {
		case chat.User:
			users++
			f.unless(i == 0 && m.Step == 0, "I4: turn %d has a user message at place %d, step %d", turn, i, m.Step)
		case chat.Assistant:
			f.unless(m.Step == steps+1 || m.Step == steps+1+results, "I5: turn %d has step %d after step %d", turn, m.Step, steps)
			steps, results = m.Step, 0
		case chat.Tool:
			// Results are of the step that asked for them, of one of their own, or of the one that ended the turn.
			results = m.Step - steps
			f.unless(results == 0 || results == 1, "I5: turn %d has results of step %d after step %d", turn, m.Step, steps)
		}
		if m.Ends() {
			finals++
			f.unless(i == len(all)-1, "I4: turn %d goes on after its final message", turn)
		}
	}
	f.unless(users == 1, "I4: turn %d has %d user messages", turn, users)
	f.unless(finals == 0 || len(chat.Unanswered(all)) == 0, "turn %d is over and has tool calls without a result", turn)
	if turn == c.Turn && c.Step == steps+results { // otherwise they closed the calls of a turn that failed and is tried again, uncounted
		steps += results
	}
	f.ending(c, turn, finals, steps, all[len(all)-1])
}

// ending: a turn that is over has one outcome, an open one none; an error is not counted as a step.
func (f *faults) ending(c chat.Chat, turn, finals, steps int, last chat.Message) {
	over := turn < c.Turn || c.Status == chat.Waiting || c.Status == chat.Parked
	f.unless(over == (finals == 1) && finals < 2, "I4: turn %d of %d (%s) has %d final messages", turn, c.Turn, c.Status, finals)
	if turn != c.Turn {
		return
	}
	if c.Status == chat.Parked {
		steps--
	}
	f.unless(c.Step == steps, "I5: %d steps committed, the row says %d", steps, c.Step)
	f.unless((c.Status == chat.Parked) == (last.Finish == chat.Failed), "I4: %s after a message that ended as %q", c.Status, last.Finish)
}

func (f *faults) clients(history, queue []chat.Message) {
	var seen []string
	for _, m := range slices.Concat(history, queue) {
		f.unless(m.ClientID == "" || !slices.Contains(seen, m.ClientID), "I4: client_id %q twice", m.ClientID)
		seen = append(seen, m.ClientID)
	}
}
