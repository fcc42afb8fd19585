package bus

import (
	"github.com/nats-io/nats.go"

	"processor/internal/chat"
)

// Tap hands on the events of one chat as they are on the wire, in the subscription's own goroutine, which they wait for. It is for who looks at
// few of them, and cannot afford to decode all. When it returns, what this connection sends later comes after the subscription; of others the
// server may deliver before it. Events are missing after a reconnect, and nobody says so.
func (b *Bus) Tap(id chat.ID, take func(event []byte)) (stop func(), err error) {
	if err := chat.CheckID("chat", string(id)); err != nil {
		return nil, err
	}
	sub, err := b.nc.Subscribe(eventSubject+string(id), func(m *nats.Msg) { take(m.Data) })
	if err != nil {
		return nil, b.failed("subscribe to "+eventSubject+string(id), err)
	}
	return func() { _ = sub.Unsubscribe() }, nil // a closed connection has none
}
