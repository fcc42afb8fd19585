// Package chattest holds the store's contract: Memory, a store that is small enough to be read as the specification; Suite, which
// every store has to pass; Differential, which drives two stores with the same random moves; and the invariants of
// DESIGN section 1 as functions over rows, for tests, the state explorer and the fault suite alike.
//
// What each function checks:
//
//	I2  one owner: CheckInvariants (owner set exactly while running), CheckStep (a new message carries the row's epoch)
//	I3  none stuck: CheckInvariants (a pending chat's dispatch is looked for some time)
//	I4  one outcome: CheckInvariants (one final message in every turn that is over, none in an open one)
//	I5  from history: CheckInvariants (the row's step is what the messages say)
//	I7  idle chats: CheckStep (an idle chat changes only by a move of its own), CheckIdle (a sweep leaves it as it is)
//	I8  a deploy is no failure: CheckStep (takeovers rise only when a process died that was not draining)
//	I10 one transcript: CheckStep (history grows at its end only; a retry takes its own error away, a truncation whole turns)
//
// I1, I6 and I9 are not visible in rows; the tests of bus, sweeper and processor keep them.
package chattest
