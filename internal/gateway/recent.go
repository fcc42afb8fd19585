package gateway

import (
	"strings"
	"sync/atomic"

	"processor/internal/chat"
	"processor/internal/gateway/wire"
)

// recent keeps the frames of the latest deltas, which are the same for everybody who watches a chat: the first to need one makes it, and the others
// need not. It is a place for each of some deltas, whoever's they are. What it holds of another delta, or not at all any more, is made again.
type recent struct {
	places [256]atomic.Pointer[shown]
}

// shown is all that a delta's frame depends on, and the frame.
type shown struct {
	deltaKey

	frame wire.Frame
}

type deltaKey struct {
	chat  chat.ID
	at    cursor
	step  int
	delta chat.Delta
}

// keptDelta is up to how many bytes of text a delta is kept, which bounds what all take.
const keptDelta = 4 << 10

func (r *recent) frame(key deltaKey, build func() wire.Frame) wire.Frame {
	if len(key.delta.Text) > keptDelta {
		return build()
	}
	place := &r.places[uint64(int64(key.at.number)*31+key.at.Place)%uint64(len(r.places))]
	if s := place.Load(); s != nil && s.deltaKey == key {
		return s.frame
	}
	key.delta.Text = strings.Clone(key.delta.Text) // which may be a part of a long one
	s := &shown{key, build()}
	place.Store(s)
	return s.frame
}
