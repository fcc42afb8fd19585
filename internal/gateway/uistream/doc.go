// Package uistream speaks the UI message stream of the AI SDK, so that useChat, DefaultChatTransport and WorkflowChatTransport work unmodified.
//
//	POST /api/chat                 sends, edits or regenerates, and streams the answer
//	GET  /api/chat/{run}/stream    streams again: the open turn of a chat, or what ?startIndex=N lacks of a run
//	POST /api/chat/{chat}/stop     interrupts; a disconnect never does
//
// # What is whose
//
// A chat is a conversation, its id the client's. The id of a user's message is its client_id, an answer's is msg_<chat>_<turn>. The history is ours: of
// the messages that a client sends only the last one counts, which has to be the user's. It is sent, unless it is known already; then it is
// edited (messageId names it and its text differs) or answered again (the trigger is regenerate-message). What comes before it, the client's answers
// included, is not looked at.
//
// # The projection
//
// The chunks of a turn are a function of its events (chat.TurnLog), so of its messages (I10): start, start-step, the deltas in parts, finish-step, and
// what the outcome adds, at last finish and [DONE], whatever the outcome. A chunk's index is its place in that list. A turn is one step of the
// stream however many steps it had, because a client can only take back what came after the last start-step: when an attempt is void, the client is told
// reset-step and then all that was committed once more. So a final message never has a text twice.
//
// # Resuming by index
//
// The list has what was committed, so an index is exact only if nothing that the client was shown was void. Messages and row tell whether that is
// certain (relay.exact). If so, the client gets the list from its index on. If not, it gets reset-step and the whole list: right in any case, and
// the price is that the answer is shown anew. ADR 0019 has more.
package uistream
