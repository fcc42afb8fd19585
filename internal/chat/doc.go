// Package chat is the domain of processor: what a chat is, which moves it can make, and how a replica runs it. It imports neither NATS nor
// Postgres; adapters import it, never each other.
//
// # What is authoritative
//
// Postgres is the truth and NATS is a doorbell (I1). A dispatch says "look at chat X" and nothing else, so it may be lost, repeated, late or
// out of order. What to do next is decided from committed messages only (I5).
//
// # Ownership
//
// A claim raises the chat's epoch and makes a registered worker its owner; the dispatch is acked when the claim is committed. From then on the
// row is the only lease. There is one clock, Postgres's now() (I9), and one guard: every write of a run names number, epoch, worker, turn and
// step, and the database refuses it unless all of them still match (I2). A write whose reply was lost is sent again; the guard makes the second
// landing a refusal, and the refusal says whether the first had landed.
//
//	Send ─► pending ─Claim─► running ─Finish─► waiting
//	           ▲                │ ├──Commit, Backoff──┐
//	           │                │ ◄───────────────────┘
//	           ├──Yield/Recover─┤
//	           └──Retry── error ◄─Fail
//
// The table in transition.go is the law. SQL takes its allowed statuses from it, and docs/states.md its diagram.
//
// # A replica
//
//   - Heartbeat registers a worker and beats, one row update for all its chats. A failed beat proves nothing; being declared lost is for ever.
//   - Processor claims, runs and writes. Its runs live under the registration's context, which ends with CauseLeaseLost, and under the
//     processor's own, which ends with CauseShutdown. Each turn has a context of its own, so that an interrupt can't hit the next one.
//   - Service carries out what callers ask for: commit first, then publish.
//
// Goroutines: the bus makes one per delivery, which is the run; the heartbeat and the sweeper have one each. A run's stream has a timer, not a
// goroutine. Everything that a call started has ended when the call returns.
//
// # Causes
//
// context.Canceled alone never decides anything: one switch (run.ended) maps what ended a model call to the transition that follows.
//
//	nil → Finish, or Commit when tools were called      CauseInterrupted → Finish as interrupted
//	a retryable ModelError, CauseStalled → Backoff      CauseShutdown → Yield
//	a final ModelError → Fail                           CauseLeaseLost, CauseDeleted → nothing
//
// # Writes that nothing cancels
//
// The write that ends or releases a run uses a context without the shutdown's cancellation and with a deadline of its own (I6). While Postgres is
// away the write is repeated; it ends when the outcome is known, the registration is lost, or a shutdown's time for final writes is over. Then the
// sweeper's last act releases what is left, and if even that fails another replica recovers it (I3).
//
// # Watchers
//
// Live events are lossy. A Transcript turns them and snapshots of the row into a stream that is in order, without gap or repeat, and ends with
// what Postgres holds (I10): deltas are numbered within their epoch, status events carry the row's version, messages their place in their
// transition. Whatever doesn't add up leads to another snapshot.
package chat
