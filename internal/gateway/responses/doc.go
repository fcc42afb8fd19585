// Package responses speaks the OpenAI Responses and Conversations APIs: a chat is a conversation, a turn is a response.
//
// Ids are fixed when a message is accepted: conv_<chat> and resp_<chat>_<turn>. A request either opens the turn after the one that it names or a turn of
// a new chat, so its turn is known at once; one that would have to wait for another is refused (409 conversation_locked).
//
// # Numbers
//
// A response's events are a function of the turn's committed messages (I10), so any replica gives the same number to the same event at any time.
// sequence_number is attempt × 1,000,000 + 4 × place + what is open, where the attempt and the events come from chat.TurnLog, and the place counts the
// events of this protocol. What is open after the event (nothing, a reasoning item, a message, a message after a reasoning item) tells from
// a cursor alone which item has to be closed when the cursor lies in an attempt that was voided and of which nothing is kept.
//
// A step that is generated again closes the abandoned item (output_item.done, status incomplete) and goes on at another output_index. The abandoned
// item is in no final output. ADR 0020 says what each client sees.
//
// A disconnect never cancels; only POST /v1/responses/{id}/cancel does. The exception is a response that is not stored (store: false): nothing finds it
// by its id, so its chat is deleted when its request ends, however it ends.
package responses
