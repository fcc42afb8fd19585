package chat

import (
	"fmt"
	"slices"
)

// Transition is one of the moves that a chat can make. The table below is the law: SQL takes its allowed statuses from
// it, and the documents take their diagram from it.
type Transition string

// The transitions of DESIGN section 2.
const (
	Send      Transition = "send"
	Claim     Transition = "claim"
	Backoff   Transition = "backoff"
	Commit    Transition = "commit"
	End       Transition = "finish"
	Fail      Transition = "fail"
	Yield     Transition = "yield"
	Recover   Transition = "recover"
	Interrupt Transition = "interrupt"
	Retry     Transition = "retry"
	Truncate  Transition = "truncate"
	Append    Transition = "append"
	Update    Transition = "update"
	Delete    Transition = "delete"
)

// Gone is the status of a chat that does not exist.
const Gone Status = "gone"

// Rule is one row of the table: from one status, to the statuses that may follow.
type Rule struct {
	Transition Transition
	From       Status
	To         []Status
	// Owned rules are guarded by the owner's lease (I2).
	Owned bool
	Note  string
}

// Rules lists the table. What is not in it is refused.
func Rules() []Rule { return slices.Clone(table) }

var table = newTable() //nolint:gochecknoglobals // a constant, of a kind that Go has no constants of; it is asked in every transition

func newTable() []Rule {
	return []Rule{
		{Send, Waiting, []Status{Pending, Running}, false, "a new turn opens; where the replica has a free slot with itself as the owner, epoch+1"},
		{Send, Parked, []Status{Pending}, false, "the queue's head opens a turn, budgets start anew"},
		{Send, Pending, []Status{Pending}, false, "queued; an interrupting send ends the open turn first"},
		{Send, Running, []Status{Running}, false, "queued"},
		{Claim, Pending, []Status{Running}, false, "epoch+1, a live worker that is not draining"},
		{Backoff, Running, []Status{Running}, true, "epoch+1, attempts+1: the partial is void"},
		{Commit, Running, []Status{Running}, true, "one step"},
		{End, Running, []Status{Waiting, Running}, true, "the turn ends; the queue's head opens the next"},
		{Fail, Running, []Status{Parked}, true, "the queue is kept"},
		{Yield, Running, []Status{Pending}, true, "hand-off, epoch+1, uncharged"},
		{Recover, Running, []Status{Pending, Parked}, false, "the owner is lost, epoch+1"},
		{Interrupt, Pending, []Status{Waiting, Pending}, false, "the turn ends in an epoch of its own"},
		{Interrupt, Running, []Status{Running}, false, "the owner is told"},
		{Interrupt, Waiting, []Status{Waiting}, false, "changes nothing"},
		{Interrupt, Parked, []Status{Parked}, false, "changes nothing"},
		{Retry, Parked, []Status{Pending}, false, "the error message goes, budgets start anew"},
		{Retry, Waiting, []Status{Waiting}, false, "changes nothing"},
		{Retry, Pending, []Status{Pending}, false, "changes nothing"},
		{Retry, Running, []Status{Running}, false, "changes nothing"},
		{Truncate, Waiting, []Status{Pending}, false, "the end of the history goes, its first message opens a turn, epoch+1"},
		{Truncate, Pending, []Status{Pending}, false, "the same; the queue is kept"},
		{Truncate, Running, []Status{Pending}, false, "the same; the owner is fenced and told to look"},
		{Truncate, Parked, []Status{Pending}, false, "the same; the error is gone"},
		{Append, Waiting, []Status{Waiting}, false, "turns that are over, with their answers"},
		{Update, Waiting, []Status{Waiting}, false, "title and metadata; whoever owns the chat is not told"},
		{Update, Pending, []Status{Pending}, false, ""},
		{Update, Running, []Status{Running}, false, ""},
		{Update, Parked, []Status{Parked}, false, ""},
		{Delete, Waiting, []Status{Gone}, false, ""},
		{Delete, Pending, []Status{Gone}, false, ""},
		{Delete, Running, []Status{Gone}, false, "the owner finds no row and stops"},
		{Delete, Parked, []Status{Gone}, false, ""},
	}
}

// Transitions lists every transition in the table's order.
func Transitions() []Transition {
	var all []Transition
	for _, r := range table {
		if !slices.Contains(all, r.Transition) {
			all = append(all, r.Transition)
		}
	}
	return all
}

// From lists the statuses from which t is allowed, changing something or not.
func (t Transition) From() []Status {
	var from []Status
	for _, r := range table {
		if r.Transition == t {
			from = append(from, r.From)
		}
	}
	return from
}

// To lists the statuses that may follow t from a status; none means that t is refused there.
func (t Transition) To(from Status) []Status {
	for _, r := range table {
		if r.Transition == t && r.From == from {
			return r.To
		}
	}
	return nil
}

// Check refuses a move that is not in the table with an error that names both statuses and transition.
func (t Transition) Check(from Status) error {
	if t.To(from) == nil {
		return Errorf(Conflict, "status", "%s is not possible from %s", string(t), string(from))
	}
	return nil
}

// CheckTo panics when a store made a move that the table does not have: that is a bug in the store, never bad input.
func (t Transition) CheckTo(from, to Status) {
	if !slices.Contains(t.To(from), to) {
		panic(fmt.Sprintf("transition %s from %s to %s is not in the table", t, from, to))
	}
}
