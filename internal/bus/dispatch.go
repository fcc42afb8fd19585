package bus

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"processor/internal/chat"
)

func subjectOf(id chat.ID, begun bool) string {
	if begun {
		return resumeSubject + string(id)
	}
	return dispatchSubject + string(id)
}

// Dispatch puts "look at this chat" into the stream and returns when the stream has it, at most 2 s later. A stream that is
// missing is made again first. After an error the message may or may not be there.
//
// There is never a Nats-Msg-Id: within the duplicate window the stream would swallow a second dispatch of a chat.
func (b *Bus) Dispatch(ctx context.Context, id chat.ID, begun bool) error {
	ctx, cancel := b.within(ctx, requestTimeout)
	defer cancel()
	seen := time.Now()
	err := b.dispatch(ctx, id, begun)
	if gone(err) {
		if err = b.repair(ctx, seen); err == nil {
			err = b.dispatch(ctx, id, begun)
		}
	}
	if err != nil {
		return b.failed("dispatch chat "+string(id), err)
	}
	return nil
}

func (b *Bus) dispatch(ctx context.Context, id chat.ID, begun bool) error {
	_, err := b.js.Publish(ctx, subjectOf(id, begun), nil, jetstream.WithRetryAttempts(0))
	return err
}

// Ring is Dispatch without an answer. While the connection is down a bounded number of rings is kept for its return; the
// sweeper repairs what is lost.
func (b *Bus) Ring(id chat.ID, begun bool) {
	if err := b.nc.Publish(subjectOf(id, begun), nil); err != nil {
		b.counts.lost.Add(1)
		b.logger.Debug("ring lost", "chat", id, "err", err)
	}
}

// Purge removes what the streams hold of a deleted chat. A stream that is not there holds nothing.
func (b *Bus) Purge(ctx context.Context, id chat.ID) error {
	ctx, cancel := b.within(ctx, requestTimeout)
	defer cancel()
	var errs []error
	for _, p := range []struct{ stream, subject string }{
		{ChatsStream, dispatchSubject}, {ChatsStream, resumeSubject}, {PartialsStream, partialSubject},
	} {
		if err := b.purge(ctx, p.stream, p.subject+string(id)); err != nil {
			errs = append(errs, b.failed("purge "+p.subject+string(id), err))
		}
	}
	return errors.Join(errs...)
}
