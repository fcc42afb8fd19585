package bus

import (
	"context"
	"encoding/json"
	"fmt"

	"processor/internal/chat"
)

// SavePartial publishes an owner's cumulative partial to the stream that keeps the last one of each chat. It does not wait
// for the stream. A partial that is larger than a message may be is not saved: the one before stays, which is an
// earlier moment of the same text, or of an epoch that nobody takes it for.
func (b *Bus) SavePartial(p chat.Partial) {
	err := ErrDisconnected
	if b.nc.IsConnected() {
		err = b.publish(partialSubject+string(p.Chat), &p, b.maxPayload())
	}
	if err != nil {
		b.counts.lost.Add(1)
		b.logger.Debug("partial not saved", "chat", p.Chat, "err", err)
	}
}

// maxPayload is what the server takes, less some room for headers.
func (b *Bus) maxPayload() int { return int(b.nc.MaxPayload()) - 4<<10 }

// LastPartial reads the last partial that was saved; a false means that there is none. It may be old: the caller asks
// chat.Partial.Of.
func (b *Bus) LastPartial(ctx context.Context, id chat.ID) (chat.Partial, bool, error) {
	var p chat.Partial
	ctx, cancel := b.within(ctx, requestTimeout)
	defer cancel()
	m, err := b.nc.RequestWithContext(ctx, "$JS.API.DIRECT.GET."+PartialsStream+"."+partialSubject+string(id), nil)
	if err != nil {
		return p, false, b.failed("read the last partial", err)
	}
	switch status := m.Header.Get("Status"); status {
	case "":
	case "404":
		return p, false, nil
	default:
		return p, false, fmt.Errorf("read the last partial: %w: status %s", ErrUnknown, status)
	}
	if err := json.Unmarshal(m.Data, &p); err != nil {
		return p, false, fmt.Errorf("decode the last partial: %w", err)
	}
	return p, true, nil
}
