package explore

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"slices"

	"processor/internal/chat"
	"processor/internal/chat/chattest"
)

// key is two hashes of all that a state is.
type key [2]uint64

// key is equal for two states from which the same can happen. Epochs only rise, so they go by what they are compared with: the row's, those of
// leases, and others. Replicas are alike, so they go by what they do; a worker that is no replica any more is the one whose chat waits for a sweep.
func (s *state) key() key {
	c, order := s.row(), []int{0, 1}
	texts := [2][]byte{s.alone(0, c), s.alone(1, c)}
	if bytes.Compare(texts[0], texts[1]) > 0 {
		slices.Reverse(order)
	}
	epochs := []int64{c.Epoch}
	for _, i := range order {
		epochs = append(epochs, s.remembered(s.procs[i].run.lease, c), s.remembered(s.procs[i].waiting, c))
	}
	names := chattest.Names{
		Epoch: func(epoch int64) int64 {
			if epoch == 0 {
				return 0
			}
			return int64(slices.Index(epochs, epoch)) + 1 // 0 again when nobody compares with it any more
		},
		Worker: func(id chat.WorkerID) chat.WorkerID {
			for n, i := range order {
				if s.procs[i].id == id {
					return chat.WorkerID(rune('a' + n))
				}
			}
			return "gone"
		},
	}
	text := fmt.Appendf([]byte(s.db.KeyUnder(names)), "\n%d %t", s.bus, s.truncated)
	for _, i := range order {
		text = append(text, texts[i]...)
		text = fmt.Appendf(text, " %d %d", names.Epoch(s.procs[i].run.lease.Epoch), names.Epoch(s.procs[i].waiting.Epoch))
	}
	return key{maphash.Bytes(s.seeds[0], text), maphash.Bytes(s.seeds[1], text)}
}

// alone is what a process is without its name and without the other one.
func (s *state) alone(i int, c chat.Chat) []byte {
	p := s.procs[i]
	text := fmt.Appendf(nil, "|%t %t %d %s", p.draining, p.owns(c), p.held, p.run.unknown)
	for _, l := range []chat.Lease{p.run.lease, p.waiting} {
		switch {
		case l.Epoch == 0:
			text = append(text, " none"...)
		case s.remembered(l, c) == 0:
			text = append(text, " over"...)
		default:
			// A Backoff that landed is known by the row's being one epoch further.
			text = fmt.Appendf(text, " %d.%d %t %t", l.Turn, l.Step, l.Epoch == c.Epoch, l.Epoch+1 == c.Epoch)
		}
	}
	return text
}

// remembered is a lease's epoch if the store may do anything but refuse a write under it: it is the row's, or has left something that a
// repeated write is told of. Epochs that are over never come back.
func (s *state) remembered(l chat.Lease, c chat.Chat) int64 {
	if l.Epoch+1 >= c.Epoch || s.db.Wrote(l) {
		return l.Epoch
	}
	return 0
}
