// Package gateway serves chats over HTTP: the native API, whose objects, limits and errors are those of the NATS API, and beside it the protocols of
// published clients, each in a package of its own below this one. One service is behind all of them.
//
//	gateway            server-wide rules (tokens, CORS, limits, metrics), the native API, its event stream, /openapi.json
//	gateway/wire       what every protocol needs: bodies, errors, server-sent events
//	gateway/…          the protocols; they import chat and wire, and never each other
//
// # What a stream promises
//
// GET /v1/chats/{id}/events is a view of the transcript (I10). Events that are part of it (message, delta, void) have an id, the cursor: number of the chat, turn,
// attempt, place. They are chat.TurnLog's, so the same cursor names the same event for ever, on any replica, with NATS wiped. Who comes back with one
// gets everything after it and nothing twice; steps that were committed meanwhile are replayed delta by delta. Who comes without gets the messages, and what
// the open step has said so far. Events about the row (status, retry, removed, deleted) have no id: each connection begins with the row as it is.
//
// A stream is a reader. Nobody waits for it: one that falls behind its shared subscription is given a new one, and catches up from the transcript; a client
// that does not read is dropped. A disconnect never cancels a turn.
//
// # Who owns which goroutine
//
// A request has its own. A chat that is watched has one more, in the hub, for as long as anybody here watches it, and so have the events of all
// chats, and a snapshot for as long as somebody waits for it. Timers ping quiet streams. A panic on one that is no request's ends the watches that it
// served, which begin again, and not the process.
package gateway
