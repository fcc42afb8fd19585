// Package sweeper finds chats whose replica died and gives them back, and finds chats that wait without a dispatch and rings for them.
// It keeps I3 (none stuck), and with the last release of a shutdown its part of I6.
//
// # Who judges
//
// Every replica runs one Sweeper. A pass is one transaction that first tries an advisory lock; whoever doesn't get it does nothing, so
// one replica sweeps at a time and nobody waits for a lock holder that froze: Postgres ends its session after the idle limit. The loop
// never ends on an error, because a recovery that ran once, at start, is how chats were lost in systems before this one.
//
// # What proves a death
//
// A heartbeat older than SuspectAfter makes a worker a suspect and proves nothing. A suspect is probed twice, ProbeGap apart, outside of any
// transaction. Only "no responders" both times proves that the process is gone: NATS knows at once when the last subscriber of a subject
// closed. An answer or a time-out proves nothing, since a frozen process holds its connection. The statement that declares the worker lost
// looks at the heartbeat again. By default that adds up to
//
//	1.25 s age + 0.2 s between the probes + the passes themselves
//
// after the last beat: a sweep that finds a heartbeat late comes again when it would make a suspect. The second path is age alone, LostAfter, for hosts that froze or fell off the network. It is only taken by a sweeper
// whose own beats went through all that time, and to whom the database's clock was not set forward in it: after an outage of Postgres, or such a
// step, the age of everybody is high.
//
// # What follows
//
// A recovered chat is pending in a higher epoch, so a paused owner that wakes is refused by the database and ignored by watchers (I2). Only a
// takeover from a process that is gone, and was not draining, is charged (I8); the third parks the chat.
// After the commit each chat is dispatched ahead of new ones. A dispatch that gets lost is found again as stale: first after RedispatchAfter, then
// doubling, and only if the stream says for certain that there is no message. An unknown answer publishes nothing.
package sweeper
