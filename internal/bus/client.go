package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"processor/internal/chat"
)

// JSON makes an endpoint of a function: it decodes the request strictly.
func JSON[In, Out any](f func(context.Context, In) (Out, error)) Endpoint {
	return func(ctx context.Context, data []byte) (any, error) {
		var in In
		if err := chat.Unmarshal(data, &in); err != nil {
			return nil, err
		}
		return f(ctx, in)
	}
}

// Call asks the API. The subject is chats.create and so on; in and out are the request and the reply. A refusal comes back as
// the *chat.Error that the replica made; ErrNoReplica means that nobody serves the API.
func (b *Bus) Call(ctx context.Context, subject string, in, out any) error {
	data, err := chat.Marshal(in)
	if err != nil {
		return fmt.Errorf("encode the request: %w", err)
	}
	ctx, cancel := b.within(ctx, requestDeadline+requestTimeout)
	defer cancel()
	m, err := b.nc.RequestWithContext(ctx, subject, data)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("%w at %s: is processor running?", ErrNoReplica, b.URL())
	case errors.Is(err, nats.ErrMaxPayload):
		return chat.Errorf(chat.TooLarge, "", "the request has %d bytes, NATS carries %d", len(data), b.nc.MaxPayload())
	case err != nil:
		return b.failed("call "+subject, err)
	}
	if m.Header.Get(micro.ErrorCodeHeader) != "" {
		return refusal(m)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(m.Data, out); err != nil {
		return fmt.Errorf("decode the reply of %s: %w", subject, err)
	}
	return nil
}

// refusal reads an error reply. One without a body that can be read still says what its headers say.
func refusal(m *nats.Msg) error {
	var body errorBody
	if err := json.Unmarshal(m.Data, &body); err == nil && body.Error != nil && body.Error.Code != "" {
		return body.Error
	}
	return fmt.Errorf("refused with %s: %s", m.Header.Get(micro.ErrorCodeHeader), m.Header.Get(micro.ErrorHeader))
}
