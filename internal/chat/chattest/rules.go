package chattest

import (
	"time"

	"processor/internal/chat"
)

// Rules are the decisions of Memory that the invariants hang on, each by itself, so that a test can break one of them.
type Rules struct {
	// Guard says whether a lease still covers the row (I2).
	Guard func(c chat.Chat, l chat.Lease) bool
	// Entitled says whether a worker may claim.
	Entitled func(w WorkerRow) bool
	// Beats says whether a worker's heartbeat is renewed; lost is for ever.
	Beats func(w WorkerRow) bool
	// Wake notes when the dispatch of a chat that became pending is looked for (I3).
	Wake func(d *Dispatch, now time.Time, wait time.Duration)
	// HandOff takes a chat from an owner that gives it back (I8).
	HandOff func(c *chat.Chat)
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
		Guard: guard, Entitled: entitled, Beats: beats, Wake: wake, HandOff: handOff, Charged: charged,
		Asked: chat.Chat.InterruptRequested, Poisoned: poisoned,
	}
}

func guard(c chat.Chat, l chat.Lease) bool {
	return c.Status == chat.Running && c.Number == l.Number && c.Epoch == l.Epoch && c.Worker != nil && *c.Worker == l.Worker &&
		c.Turn == l.Turn && c.Step == l.Step
}

func entitled(w WorkerRow) bool { return w.LostAt == nil && !w.Draining }

func beats(w WorkerRow) bool { return w.LostAt == nil }

func wake(d *Dispatch, now time.Time, wait time.Duration) {
	at := now.Add(wait)
	*d = Dispatch{At: &at}
}

func handOff(c *chat.Chat) { c.Epoch++ }

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
