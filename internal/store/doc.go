// Package store keeps chats, messages and workers in PostgreSQL, the truth (I1). It implements the five ports of package chat: Runs,
// Commands, Queries, Beats and Sweeps. The contract is chattest.Suite; chattest.Memory is the specification that it is compared with.
//
// # A transition is one transaction in one round trip
//
// The statements of a transition are sent together and the server takes them for one transaction: a pgx.Batch has one Sync at its end. So
// there is no moment in which this process owes the server a commit, and none in which a process that freezes leaves
// a transaction open, but for the sweep, whose lock idle_in_transaction_session_timeout frees.
//
// Lock first, then look. In READ COMMITTED a statement that waits for a row goes on with that row as it is now and with everything else
// as it was before the wait. A message that was queued meanwhile would be left in the queue of an idle chat; a client_id
// accepted meanwhile would be accepted again. So what reads messages or the queue starts with lockSQL, and the statements after it,
// which never wait, decide by what is. Decisions are in the where clauses: by the time that a result is read here everything is
// committed. A transition that reads nothing but the chat's row (Commit, Backoff, Fail, Yield) is one guarded update.
//
// The usual case comes first. A message to an idle chat, a claim, and the end of a turn after which the chat rests need to know nothing but the row: openSQL,
// claimSQL and restSQL are one update each, which locks by updating, and an insert. What they leave alone (a busy chat, a client_id
// accepted before, a queue, a turn that was asked to stop) is done by the statement that can do everything, in a second round trip and a
// transaction of its own; nothing was done in the first.
//
// A prepared statement keeps the plan that was made first, often on empty tables, on which all plans seem equally cheap. What is looked up is therefore
// written so that only one index will do (offset 0, limit 1, a status as a parameter); a test reads the plans.
//
// The update that follows a lock in the same statement is a trap of its own: the server builds the new row from the old version
// first, and judges it by the table's checks, before it looks at the version that was locked. Statements that lock and update at once
// (Release, Recover, Dispatched) therefore start from rows in which both versions pass.
//
// # What is kept
//
//   - I2: guard is the clause of every write of an owner: number, epoch, worker, turn, step, and the statuses that the table of transitions
//     allows. A write that it refuses looks whether it had landed before: the messages that a lease writes have its turn, step and epoch, and
//     no other lease has those. The answer cannot change between the two looks, because epochs and steps only rise.
//   - I3: pending has a dispatch_at and running has an owner, by constraint; partial indexes find the overdue and the unowned among
//     any number of idle chats.
//   - I4: a message is in the queue or in history, and moves by one statement that deletes here and inserts there. queued is changed by
//     the same statement. client_id is unique in each of the two tables by index, and over both by the row's lock.
//   - I7: Sweep's updates start from status running, Dispatched's from pending.
//   - I8: Yield and Release change neither takeovers nor attempts; Recover charges only a lost_cause of gone without draining.
//   - I9: every time is now(), the transaction's start, and so is everything that is compared with it.
//     That a message belongs to a chat is kept by the statements: each of them holds the chat's row. A trigger takes the messages of a deleted chat.
//   - I10: the order of a chat's messages is that of their ids: one sequence, drawn under the row's lock.
//
// # Order of locks
//
// A transaction on several chats (a group, Release) locks them in the order of their ids, before anything else. Recover, Dispatched, Anew
// and Prune skip what is locked. Rows of messages and the queue are only touched under their chat's lock, and nobody holds a chat's lock while
// waiting for a worker's row. So there is no circle; a deadlock or serialization failure that occurs all the same, and was thus
// undone, is repeated.
//
// # Groups
//
// Starting a statement of ten parts costs the server more than carrying it out for one chat. The three calls of every turn, Send,
// Claim and Finish, are therefore written for many chats at once: a call is a row of unnest. A call that finds nobody under way leaves at once,
// alone; while others are under way calls gather, and leave together. A group that the server undid is repeated call by call, so
// bad data harms nobody else. A group whose reply was lost is of unknown outcome for each of them.
//
// # Connections and time
//
// Work has a pool. Beats have a connection of their own, and sweeps another: the load of a replica must not make it look dead or
// keep it from recovering others; a second and a third one are for the time in which a broken one is given up. Every call ends after Timing.Statement, a beat after a quarter of Timing.LostAfter, whatever its context says. A
// connection that failed is replaced when it is next needed; nothing here repeats a call whose outcome is unknown.
//
// A session has a statement timeout, idle_in_transaction_session_timeout, TCP_USER_TIMEOUT at both ends of half of Timing.LostAfter (the locks
// of a host that vanished are gone before its chats are recovered), and planner settings that keep a plan made on empty tables from
// being one that reads them whole. A pooler in transaction mode accepts none of these; there the database's role has to have them.
//
// # Errors
//
// Refusals are the sentinels and *chat.Error of package chat. Data that the server can't store is chat.ErrBadData. Everything else means that the
// outcome is unknown. SQLSTATE is read by meaning, and nowhere else. No error contains the URL's password.
//
// # The schema
//
// Migrations are embedded and applied by Migrate under a session lock. A replica asks Check and refuses a schema that is behind, or whose table
// compatibility says that it no longer serves this version; a newer one that does is fine, so old and new replicas run side by side.
package store
