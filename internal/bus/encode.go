package bus

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// buffer encodes like chat.Marshal, and is used again: at 10,000 streaming chats its allocations would be seen.
type buffer struct {
	bytes.Buffer
	enc *json.Encoder
}

func newBuffer() *buffer {
	b := &buffer{}
	b.enc = json.NewEncoder(&b.Buffer)
	b.enc.SetEscapeHTML(false)
	return b
}

// encode returns v as JSON; it is valid until the next call.
func (b *buffer) encode(v any) ([]byte, error) {
	b.Reset()
	if err := b.enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// keepBuffer is the capacity up to which a buffer is used again; larger ones go to the garbage collector.
const keepBuffer = 64 << 10

// publish encodes v and publishes it without waiting.
func (b *Bus) publish(subject string, v any, limit int) error {
	buf := b.buffers.Get().(*buffer)
	defer func() {
		if buf.Cap() <= keepBuffer {
			b.buffers.Put(buf)
		}
	}()
	data, err := buf.encode(v)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	if len(data) > limit {
		return errTooLarge
	}
	return b.nc.Publish(subject, data)
}
