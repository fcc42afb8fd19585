// Package bus is how replicas wake and ask each other: NATS, JetStream, and the API as a NATS micro service.
//
// # A doorbell, not a store
//
// Postgres is the truth (I1). Whatever is on the bus may be lost, repeated, late or out of order, and all of JetStream may be
// wiped, at any moment. So a dispatch says "look at chat X" and nothing else; no method of this package decides what
// becomes of a chat; and what could not be published is dropped and counted, because somebody with a clock repairs it:
//
//	lost                              repaired by
//	Ring, Dispatch                    the sweeper: pending, due, and not in the stream (Missing)
//	Ack                               redelivery after AckWait, which finds nothing to do
//	Look                              the owner's next heartbeat
//	event, partial                    the watcher's next comparison with the row
//	stream, consumer, all of them     whoever finds them gone: Ensure, then the sweeper
//	the server, for a while           whoever hears nothing: it looks for pending chats itself
//
// An answer that is not certain is an error, never a guess. Missing reports chats only if the leader of the stream answered for every
// one of them, or a backlog that is healthy would be published again. Probe says NoResponders only if the server says
// so; a time-out, a lost connection and a missing permission are all Unknown, or a slow network would look like
// the death of its replicas (I3).
//
// # At most one dispatch of a chat
//
// The stream CHATS is a work queue with one message a subject and DiscardOld. A second dispatch replaces the first
// and is delivered at once, though the first may still be unacknowledged; the late ack of the first one does nothing.
// There is never a Nats-Msg-Id: the duplicate window would swallow the second one. There is no MaxDeliver: a message past it
// stays in a work queue for ever, and nobody sees it.
//
// # Fetching
//
// Deliver has one goroutine that owns everything, one for each handler, and short ones for what takes time; it returns when all have ended. It keeps one pull open
// at each consumer:
//
//	resume   no_wait ──404──▶ waits 2 s ──408──▶ no_wait …      (a full batch: no_wait again)
//	fresh                     waits 2 s, and is opened only while the server holds a waiting pull of resume
//
// So chats that had begun go first, and it takes one round trip in two seconds to know that there is none. Both
// pulls are for the same free slots. If an idle line had slots of its own, a replica with one slot left would be
// deaf to the other line for two seconds. The price is that a message may come for which there is no slot any more; it
// waits 5 ms for one and is handed back, to a replica that has. A pull is never larger than 32 and never longer than 2 s:
// a larger one takes a whole backlog to one replica, a longer one is how a frozen process swallows dispatches.
//
// jetstream's Consume and Messages end for good with their stream, and Fetch costs a subscription and a goroutine a
// call and loses what is under way when it is cancelled. So the pulls are made here, on two inboxes that
// live as long as Deliver. When ctx ends the inboxes are drained: what the server had sent by then is handed back
// at once and does not wait for AckWait.
//
// What goes wrong is the same to a line, whether stream, consumer or server is gone: the pull is refused, or the server's
// heartbeats for it stay away for 1.5 s. The line is shut, Ensure is called, and it is opened again, from the second
// failure on with a pause that doubles to one second. A reconnect opens both lines anew, for the server has forgotten their pulls.
// If nothing at all is heard for 1.5 s while slots are free, pending chats are looked for in Postgres until something is.
//
// # Topology
//
// Ensure makes what is missing and changes what is otherwise, unless the number in its metadata is above this build's: then a newer build
// owns it (during a rolling deploy old and new run side by side). A change that the server refuses is logged and lived with; doctor
// names it. Any number of replicas may call it at once.
//
// # The connection
//
// One for everything; it reconnects for ever and is closed only by Close, or when the server refuses the credentials: then Closed is
// closed and the replica exits. A write that the server does not take within a second breaks the connection: nobody
// waits longer than that for a frozen server. A request that is under way when it breaks ends at once. While it is down, rings go into the client's buffer of 8 MB and are
// sent on return; events are dropped at once, for nobody wants old ones, and they would push the rings out.
//
// # Events
//
// A feed never holds anyone up. Each has room for 1024 events; a reader further behind loses the feed and begins again. After a
// reconnect all feeds end, since events are missing; Subscribe returns only when the server has the subscription, so
// subscribing first and then reading the truth leaves no gap (I10). In a cluster of NATS servers the others learn of it a moment later;
// the watcher's comparison covers that moment.
//
// Nothing here is larger than the server's max_payload: an event leaves its message out and keeps the id, a partial is not sent, and a reply
// becomes an error that says so.
//
// # Requests
//
// Each request of the API runs in a goroutine with a deadline of 10 s, at most Limit at once; one that is too many is refused at
// once. A *chat.Error reaches the caller; any other error and any panic is logged here and reaches him as "try again".
// micro's own replies don't stand a second goroutine, so its counters of errors and times stay at zero; APIConfig.Observe has the true ones.
//
// Addresses may hold passwords. Everything that may repeat an address goes through scrub before it becomes an error or a log line.
package bus
