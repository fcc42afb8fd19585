package chat

import (
	"context"
	"encoding/json"
	"time"
)

// Lease is what a run must still hold for a write to be accepted (I2). The store builds one guard clause from it.
type Lease struct {
	Chat   ID
	Number Number
	Worker WorkerID
	Epoch  int64
	Turn   int
	// Step is the number of steps committed so far in the turn; the next write commits step Step+1.
	Step int
}

// Outcome is what a committed transition left behind: the row, the messages that entered history, the ids that left it.
type Outcome struct {
	// Changed is false when the transition was accepted and changed nothing.
	Changed  bool
	Chat     Chat
	Messages []Message
	Removed  []int64
	// Kept is the message before the first removed one, zero for none.
	Kept int64
	// From is the status before.
	From Status
	// Evicted is the owner whose run the transition ended, if it is not the one that made it.
	Evicted *WorkerID
}

// Claimed is a chat with the history that its new owner decides from.
type Claimed struct {
	Chat Chat
	// History is the newest part of the transcript within the budget, oldest first.
	History []Message
}

// Budget caps the history that is loaded and sent: the oldest messages are left out.
type Budget struct {
	Messages int
	Bytes    int
}

// Runs is what a run needs of the store. Every method is one transaction and one round trip.
//
// A method whose reply was lost may be called again with the same arguments: the lease makes the second write a refusal,
// and the refusal reads whether the first had landed; then the outcome is the first one's.
// Errors: the sentinels of errors.go; anything else means that the outcome is unknown and the call may be repeated.
type Runs interface {
	// Claim makes worker the owner of a pending chat. Without suspects, a suspect chat is refused with ErrSuspect.
	Claim(ctx context.Context, id ID, worker WorkerID, suspects bool, b Budget) (Claimed, error)
	// Backoff voids the partial and stores when the model is called again. ErrInterrupted instead, if the turn was asked to stop.
	Backoff(ctx context.Context, l Lease, wait time.Duration, cause TurnError) (Outcome, error)
	// Commit writes the messages of one step and goes on.
	Commit(ctx context.Context, l Lease, messages []Message) (Outcome, error)
	// Finish writes the last messages of the turn (the last of them ends it) and opens the next turn from the queue, if there is one. A turn that was
	// asked to stop ends as interrupted, whatever the message says.
	Finish(ctx context.Context, l Lease, messages []Message) (Outcome, error)
	// Fail parks the chat with the last messages of the turn; the Error of the last one says why, and after how many
	// attempts (the row's, if it does not). ErrInterrupted instead, if the turn was asked to stop.
	Fail(ctx context.Context, l Lease, messages []Message) (Outcome, error)
	// Yield gives the chat back, uncharged.
	Yield(ctx context.Context, l Lease) (Outcome, error)
}

// NewChat is a chat to create, with its first message if Message is set.
type NewChat struct {
	ID       ID
	Tenant   string
	Title    string
	Model    string
	System   string
	Metadata json.RawMessage
	Message  *NewMessage
}

// Busy says what a send does when the chat is not idle.
type Busy string

// The choices of a sender.
const (
	BusyQueue     Busy = "queue"
	BusyInterrupt Busy = "interrupt"
	BusyReject    Busy = "reject"
)

// NewMessage is a user message to accept.
type NewMessage struct {
	Chat     ID
	Parts    []Part
	ClientID string
	// Generated says that the service made ClientID because the sender gave none.
	Generated bool
	// Model answers this turn instead of the chat's own, if set.
	Model  string
	Params json.RawMessage
	Busy   Busy
	// After, if set, is the last turn that the sender knows: the message is refused unless it opens the next one. It goes with no
	// interruption, and is no part of what the message says.
	After *int `json:"-"`
}

// Sent is an accepted message.
type Sent struct {
	Outcome
	// Message is in history, or queued while its ID is nil.
	Message Message
	Queued  bool
	// Duplicate means that the same client_id was accepted before; nothing changed.
	Duplicate bool
}

// Truncation cuts the history before a user message, which then opens a turn again, as it was or with other content.
type Truncation struct {
	Chat ID
	// Message is the user message. It keeps its client_id and gets a new id, so a truncation that is repeated finds nothing.
	Message int64
	// Parts, Model and Params replace the message's own where they are set.
	Parts  []Part
	Model  string
	Params json.RawMessage
	// Version refuses the truncation unless the row still has it; zero means any.
	Version int64
}

// Commands is what senders need of the store. Errors are *Error for refusals; anything else means that the outcome is unknown.
type Commands interface {
	Create(ctx context.Context, c NewChat) (Sent, error)
	// Send accepts a message. partial is what is kept of the open turn if the send interrupts a pending chat; may be nil.
	Send(ctx context.Context, m NewMessage, partial *Partial) (Sent, error)
	// Interrupt asks the turn to stop; turn zero means the current one, any other is only stopped if it is the current one.
	Interrupt(ctx context.Context, id ID, turn int, partial *Partial) (Outcome, error)
	Retry(ctx context.Context, id ID) (Outcome, error)
	// Truncate removes the end of the history and opens a turn; the last of the outcome's messages is the one that opened it.
	Truncate(ctx context.Context, t Truncation) (Outcome, error)
	// Delete removes the chat at once and returns the row as it was.
	Delete(ctx context.Context, id ID) (Chat, error)
}

// Opens accepts the message of a sender whose turn can begin here and now.
type Opens interface {
	// OpenTurn is Send, unless the message opens a turn of an idle chat and the worker may claim: then the worker is the chat's owner from
	// the same transaction on, the row is running, and the history is what Claim would load. It never interrupts.
	OpenTurn(ctx context.Context, m NewMessage, worker WorkerID, b Budget) (Sent, []Message, error)
}

// Filter selects and pages chats, newest first.
type Filter struct {
	Status Status
	Tenant string
	Limit  int
	// Before is the number of the last chat of the page before; zero for the first page.
	Before Number
}

// Queries is what readers need of the store.
type Queries interface {
	Get(ctx context.Context, id ID) (Chat, error)
	// Snapshot reads the row and up to limit messages after an id in one statement; fewer, if they are more than a reply may hold. Next says
	// whether there are more.
	Snapshot(ctx context.Context, id ID, after int64, limit int) (Snapshot, error)
	// Queue reads the row and what waits after a message, named by its client_id, in one statement: messages are read until their parts have so many bytes,
	// and at least one.
	Queue(ctx context.Context, id ID, after string, bytes int) (Queued, error)
	// Find finds a user message by its sender's id, in history or queue. Without one, there is no such message: NotFound, client_id.
	Find(ctx context.Context, id ID, clientID string) (Message, error)
	// List reads up to Limit chats; fewer, if they are more than a reply may hold.
	List(ctx context.Context, f Filter) ([]Chat, error)
	Workers(ctx context.Context) ([]Worker, error)
}

// Owned is one chat that the database says a worker runs.
type Owned struct {
	Chat   ID
	Number Number
	Epoch  int64
	Turn   int
	Step   int
	// Interrupted says that the current turn was asked to stop.
	Interrupted bool
}

// Beat is one heartbeat's answer.
type Beat struct {
	// Lost is for ever: the worker was declared lost, or its row is gone.
	Lost bool
	// Count and Sum fingerprint what the worker should run: how many chats, and the sum of their number times epoch, wrapping.
	Count int64
	Sum   int64
	// Interrupted lists the worker's chats whose turn was asked to stop.
	Interrupted []Owned
}

// Beats is what a worker's heartbeat needs of the store, on a connection of its own.
type Beats interface {
	Register(ctx context.Context, w Worker) error
	// Beat renews the heartbeat and reads what changed for the worker's own chats in the same round trip.
	Beat(ctx context.Context, id WorkerID, running int, draining bool) (Beat, error)
	// Owned lists what the worker should run.
	Owned(ctx context.Context, id WorkerID) ([]Owned, error)
	// Release yields everything that the worker still owns, in one statement.
	Release(ctx context.Context, id WorkerID) ([]Outcome, error)
	Unregister(ctx context.Context, id WorkerID) error
}

// Doorbell wakes replicas. What it says may be lost, repeated, late or out of order (I1).
type Doorbell interface {
	// Dispatch puts "look at this chat" on the bus and returns when the stream has it.
	Dispatch(ctx context.Context, id ID, begun bool) error
	// Ring is Dispatch without waiting: a publish that asks for no ack. It never blocks on a bus that is down; the sweeper
	// repairs what was lost.
	Ring(id ID, begun bool)
	// Look tells a worker to look at one of its chats now. Best effort: the beat repairs it.
	Look(worker WorkerID, id ID)
	// Purge removes what the streams hold of a deleted chat.
	Purge(ctx context.Context, id ID) error
}

// Announcer publishes what happens, best effort and without waiting.
type Announcer interface {
	Announce(events ...Event)
	SavePartial(p Partial)
}

// Partials finds what an owner has streamed so far.
type Partials interface {
	// AskPartial asks the owner; a false means that it did not answer or has none.
	AskPartial(ctx context.Context, worker WorkerID, id ID) (Partial, bool)
	// LastPartial reads the last one that was saved.
	LastPartial(ctx context.Context, id ID) (Partial, bool, error)
}
