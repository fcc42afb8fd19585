// Package explore walks through every state that a small world can reach, breadth first: one chat, two messages, two workers, the sweeper and
// a bus that loses, repeats and forgets. Its moves drive the real table of transitions and the in-memory store (chattest.Memory), and each
// state is checked against I2 to I8, and for a way to rest once the faults stop.
//
// Time is no part of a state: ages are moves. The bounds are those of World, above all how many troubles one path may have; what needs more
// of them at once is left to the fault suite and to the random games of chattest.
package explore
