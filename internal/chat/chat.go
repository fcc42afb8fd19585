package chat

import (
	"encoding/json"
	"time"
)

// ID names a chat. It is the caller's ([A-Za-z0-9_-]{1,64}) or a UUID v7 made here.
type ID string

// Number identifies a chat for ever. A chat deleted and made again under its ID has another number, so nothing that
// belonged to the first can reach the second.
type Number int64

// WorkerID names one registration of a replica. A replica that was declared lost registers again under a new one.
type WorkerID string

// Status says who has to act next on a chat.
type Status string

// The statuses. DESIGN: waiting is idle and has no queue, pending has work and no owner, running is owned, error is parked.
const (
	Waiting Status = "waiting"
	Pending Status = "pending"
	Running Status = "running"
	Parked  Status = "error"
)

// Statuses lists every status, in the order in which people read them.
func Statuses() []Status { return []Status{Waiting, Pending, Running, Parked} }

// Valid reports whether s is one of the four statuses.
func (s Status) Valid() bool { return s == Waiting || s == Pending || s == Running || s == Parked }

// Chat is the row that says who owns a chat and what it waits for. Its messages are kept apart.
type Chat struct {
	Number   Number          `json:"number"`
	ID       ID              `json:"id"`
	Tenant   string          `json:"tenant"`
	Title    string          `json:"title"`
	Model    string          `json:"model"`
	System   string          `json:"system"`
	Metadata json.RawMessage `json:"metadata"`
	Status   Status          `json:"status"`

	// Version rises by one in every transition. It orders status events, whoever publishes them.
	Version int64 `json:"version"`
	// Turn counts the user messages that entered the history; Step the committed steps of the current turn.
	Turn int `json:"turn"`
	Step int `json:"step"`
	// Epoch is the fencing token: it rises with every change of owner and with every voided attempt.
	Epoch int64 `json:"epoch"`
	// Void is the highest epoch whose partial was voided by a retry of the model call.
	Void      int64      `json:"void_epoch,omitempty"`
	Worker    *WorkerID  `json:"worker"`
	ClaimedAt *time.Time `json:"claimed_at"`

	// Attempts counts the failed model calls of the current step, RetryAt is when the next one may start.
	Attempts int        `json:"attempts"`
	RetryAt  *time.Time `json:"retry_at"`
	// Takeovers counts owners whose process died since the last committed step; Recoveries all recoveries of the turn.
	Takeovers  int `json:"takeovers"`
	Recoveries int `json:"recoveries"`

	// InterruptTurn is the turn that somebody asked to stop, zero for none.
	InterruptTurn int        `json:"interrupt_turn,omitempty"`
	Queued        int        `json:"queued"`
	LastError     *TurnError `json:"last_error"`
	CreatedAt     time.Time  `json:"created_at"`
	UpdatedAt     time.Time  `json:"updated_at"`
}

// InterruptRequested reports whether the current turn was asked to stop.
func (c Chat) InterruptRequested() bool { return c.InterruptTurn != 0 && c.InterruptTurn == c.Turn }

// Begun reports whether the row tells that the open turn was owned before. Chats whose turn was begun are dispatched ahead of others.
func (c Chat) Begun() bool { return c.Recoveries > 0 || c.Step > 0 || c.Attempts > 0 }

// TurnError is the cause that parked a chat, or that made a model call start again.
type TurnError struct {
	Code     string    `json:"code"`
	Message  string    `json:"message"`
	At       time.Time `json:"at,omitzero"`
	Attempts int       `json:"attempts,omitempty"`
}

// Worker is one registered replica as others see it. Ages are by the database's clock.
type Worker struct {
	ID           WorkerID     `json:"id"`
	Name         string       `json:"name"`
	Host         string       `json:"host"`
	PID          int          `json:"pid"`
	Build        string       `json:"build"`
	Slots        int          `json:"slots"`
	Running      int          `json:"running"`
	Draining     bool         `json:"draining"`
	Status       WorkerStatus `json:"status"`
	StartedAt    time.Time    `json:"started_at"`
	HeartbeatAt  time.Time    `json:"heartbeat_at"`
	HeartbeatAge int64        `json:"heartbeat_age_ms"`
}

// WorkerStatus is what a worker's heartbeat says of it.
type WorkerStatus string

// The worker statuses: suspect is an age above Timing.SuspectAfter, lost is for ever.
const (
	WorkerLive    WorkerStatus = "live"
	WorkerSuspect WorkerStatus = "suspect"
	WorkerLost    WorkerStatus = "lost"
)
