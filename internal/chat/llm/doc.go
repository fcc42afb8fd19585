// Package llm makes models out of providers: OpenAI and everything that speaks its chat completions, Anthropic, and a
// demonstration that needs neither a key nor a network.
//
// An adapter makes one call and never a second one (chat.Model): retries cost budget, wait, and void what watchers saw, so
// they are decided where that is known. What an adapter owes is a verdict. Every failure is a *chat.ModelError that
// says whether the same call may succeed later, and a cancelled context is context.Cause, never a failure: the two must
// not be taken for each other, because one is the provider's doing and the other ours.
//
// # What is trusted
//
// Nothing that a provider sends. Text is valid UTF-8 without NUL when it leaves here, because jsonb refuses both (runes
// that a provider split over two deltas are put together first). The input of a tool call is a JSON object that jsonb
// accepts, whatever the model wrote. One event, the input of all tool calls of an answer, and the body of an error are
// bounded, so that a hostile or broken provider costs a failed call and not the memory of everybody's. Redirects are refused:
// they would carry the key and the chat to wherever the provider says. Keys are cut out of every error, also out of
// those that quote them.
//
// # Who owns what
//
// Stream calls emit from its own goroutine and leaves none behind. The response's body is closed when it returns; a body
// that was read to its end gives its connection back. All limits in time are the caller's: it knows when the
// last delta came, and cancels with the cause that says so.
package llm
