package chattest

import (
	"time"

	"processor/internal/chat"
)

// Rules are the decisions of Memory that the invariants hang on, each by itself, so that a test can break one of them.
type Rules struct {
	// Guard says whether a lease still covers the row (I2).
	Guard func(c chat.Chat, l chat.Lease) bool
	// Claimable says whether a chat in a status may be claimed, Recoverable whether a sweep takes it from an owner that is lost (I7).
	Claimable   func(s chat.Status) bool
	Recoverable func(s chat.Status) bool
	// Entitled says whether a worker may claim.
	Entitled func(w WorkerRow) bool
	// Beats says whether a worker's heartbeat is renewed; lost is for ever.
	Beats func(w WorkerRow) bool
	// Wake notes when the dispatch of a chat that became pending is looked for (I3).
	Wake func(d *Dispatch, now time.Time, wait time.Duration)
	// HandOff takes a chat from an owner that gives it back (I8).
	HandOff func(c *chat.Chat)
	// TakeOver takes a chat from an owner that is lost, before it is judged by whose fault.
	TakeOver func(c *chat.Chat)
	// Claimed gives a chat that is claimed its new epoch (I2).
	Claimed func(c *chat.Chat)
	// Anew gives the turn that opens its budgets back, and forgets who asked the last one to stop.
	Anew func(c *chat.Chat)
	// Truncated gives a chat whose history was cut its new epoch (I2), and Cut says what goes when the history is cut at a message.
	Truncated func(c *chat.Chat)
	Cut       func(from int64, m chat.Message) bool
	// Inserted says whether a message that leaves the queue enters the history (I4).
	Inserted func(m chat.Message) bool
	// Accepted says whether two messages are one, sent twice (I4).
	Accepted func(clientID string, m chat.Message) bool
	// Charged says whether a recovery counts against the chat (I8).
	Charged func(cause chat.LostCause, draining bool) bool
	// Asked says whether the current turn was asked to stop.
	Asked func(c chat.Chat) bool
	// Poisoned names the error that parks a recovered chat, or nothing.
	Poisoned func(c chat.Chat) (code, message string)
}

// DefaultRules are the right ones.
func DefaultRules() Rules {
	return Rules{
		Guard: guard, Claimable: claimable, Recoverable: recoverable, Entitled: entitled, Beats: beats, Wake: wake,
		HandOff: nextEpoch, TakeOver: takeOver, Claimed: nextEpoch, Anew: anew, Truncated: nextEpoch, Cut: isCut, Inserted: inserted,
		Accepted: accepted, Charged: charged, Asked: chat.Chat.InterruptRequested, Poisoned: poisoned,
	}
}

func guard(c chat.Chat, l chat.Lease) bool {
	return c.Status == chat.Running && c.Number == l.Number && c.Epoch == l.Epoch && c.Worker != nil && *c.Worker == l.Worker &&
		c.Turn == l.Turn && c.Step == l.Step
}

func claimable(s chat.Status) bool { return chat.Claim.Check(s) == nil }

func recoverable(s chat.Status) bool { return chat.Recover.Check(s) == nil }

func entitled(w WorkerRow) bool { return w.LostAt == nil && !w.Draining }

func beats(w WorkerRow) bool { return w.LostAt == nil }

func wake(d *Dispatch, now time.Time, wait time.Duration) {
	at := now.Add(wait)
	*d = Dispatch{At: &at}
}

func nextEpoch(c *chat.Chat) { c.Epoch++ }

func takeOver(c *chat.Chat) {
	nextEpoch(c)
	c.Recoveries++
}

func anew(c *chat.Chat) {
	c.Attempts, c.RetryAt, c.Takeovers, c.Recoveries, c.InterruptTurn = 0, nil, 0, 0, 0
}

func isCut(from int64, m chat.Message) bool { return *m.ID >= from }

func inserted(chat.Message) bool { return true }

func accepted(clientID string, m chat.Message) bool { return m.ClientID == clientID }

func charged(cause chat.LostCause, draining bool) bool { return cause == chat.LostGone && !draining }

func poisoned(c chat.Chat) (code, message string) {
	switch {
	case c.Takeovers >= chat.ParkAt:
		return "poison", "the chat's owners died one after another"
	case c.Recoveries >= chat.MaxRecoveries:
		return "too_many_recoveries", "the turn was recovered too often"
	}
	return "", ""
}
