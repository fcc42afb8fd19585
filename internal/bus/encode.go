package bus

import (
	"fmt"

	"processor/internal/chat"
)

// buffer is used again: at 10,000 streaming chats its allocations would be seen.
type buffer struct{ bytes []byte }

// keepBuffer is the capacity up to which a buffer is used again; larger ones go to the garbage collector.
const keepBuffer = 64 << 10

// publish encodes v and publishes it without waiting.
func (b *Bus) publish(subject string, v any, limit int) error {
	buf := b.buffers.Get().(*buffer)
	defer func() {
		if cap(buf.bytes) <= keepBuffer {
			b.buffers.Put(buf)
		}
	}()
	data, err := chat.AppendJSON(buf.bytes[:0], v)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	buf.bytes = data
	if len(data) > limit {
		return errTooLarge
	}
	return b.nc.Publish(subject, data)
}
