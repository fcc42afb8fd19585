package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"processor/internal/chat"
)

// StreamIdentity tells one stream from the next that is made under its name.
type StreamIdentity struct {
	Created time.Time
	// Empty says that the stream held no message when it was asked.
	Empty bool
}

// Stream reads which stream of dispatches there is, and makes it if there is none. Whoever sees another one than
// before, or an empty one, knows that dispatches may be gone.
func (b *Bus) Stream(ctx context.Context) (StreamIdentity, error) {
	ctx, cancel := b.within(ctx, requestTimeout)
	defer cancel()
	seen := time.Now()
	s, err := b.js.Stream(ctx, ChatsStream)
	if gone(err) {
		if err = b.repair(ctx, seen); err == nil {
			s, err = b.js.Stream(ctx, ChatsStream)
		}
	}
	if err != nil {
		return StreamIdentity{}, b.failed("look at stream "+ChatsStream, err)
	}
	info := s.CachedInfo()
	return StreamIdentity{Created: info.Created, Empty: info.State.Msgs == 0}, nil
}

// Missing sorts chats into those that have no dispatch in the stream and those that have one, delivered or not. One answer
// that is not certain makes an error of the whole: who does not know must not publish again.
//
// The leader of the stream is asked, not the nearest replica: a direct get may be answered by a follower that has not
// seen the last publish yet.
func (b *Bus) Missing(ctx context.Context, chats []chat.Stale) (missing, present []chat.Stale, err error) {
	held, err := each(ctx, chats, b.dispatched)
	if err != nil {
		return nil, nil, b.failed("look for dispatches", err)
	}
	for i, s := range chats {
		if held[i] {
			present = append(present, s)
		} else {
			missing = append(missing, s)
		}
	}
	return missing, present, nil
}

// inFlight is how many requests one call has open at once.
const inFlight = 64

// each calls ask for every item, at most inFlight at once, and returns the answers in the same order. The first error ends it.
func each[T, R any](ctx context.Context, items []T, ask func(context.Context, T) (R, error)) ([]R, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	answers, work := make([]R, len(items)), make(chan int)
	var wg sync.WaitGroup
	for range min(inFlight, len(items)) {
		wg.Go(func() {
			for i := range work {
				answer, err := ask(ctx, items[i])
				if answers[i] = answer; err != nil {
					cancel(err) // the others fail at once
				}
			}
		})
	}
	for i := range items {
		work <- i
	}
	close(work)
	wg.Wait()
	return answers, context.Cause(ctx)
}

// apiError is the error part of every reply of the JetStream API.
type apiError struct {
	Error *jetstream.APIError `json:"error"`
}

// noMessage is the error code of JetStream for "no message found".
const noMessage jetstream.ErrorCode = 10037

// dispatched looks under both subjects at once: a chat may have begun since it was dispatched.
func (b *Bus) dispatched(ctx context.Context, s chat.Stale) (bool, error) {
	ctx, cancel := b.within(ctx, requestTimeout)
	defer cancel()
	err := b.api(ctx, "STREAM.MSG.GET."+ChatsStream, map[string]string{"last_by_subj": "chats.*." + string(s.Chat)})
	var refusal *jetstream.APIError
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &refusal) && refusal.ErrorCode == noMessage:
		return false, nil
	default:
		return false, fmt.Errorf("%w about chat %s: %w", ErrUnknown, s.Chat, err)
	}
}

func (b *Bus) purge(ctx context.Context, stream, subject string) error {
	err := b.api(ctx, "STREAM.PURGE."+stream, map[string]string{"filter": subject})
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	return err
}

// api asks the JetStream API and returns its refusal as *jetstream.APIError.
func (b *Bus) api(ctx context.Context, name string, request any) error {
	data, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	m, err := b.nc.RequestWithContext(ctx, "$JS.API."+name, data)
	if err != nil {
		return err
	}
	var reply apiError
	if err := json.Unmarshal(m.Data, &reply); err != nil {
		return fmt.Errorf("decode the reply: %w", err)
	}
	if reply.Error != nil {
		return reply.Error
	}
	return nil
}
