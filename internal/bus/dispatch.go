package bus

import (
	"context"
	"errors"
	"sync"
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
	if b.stuck.since(err) >= brokenAfter && b.Connected() {
		b.remake(ctx)
	}
	if err != nil {
		return b.failed("dispatch chat "+string(id), err)
	}
	return nil
}

// brokenAfter is how long every dispatch must have gone unanswered before the stream is taken for broken.
const brokenAfter = 10 * time.Second

// stuck tells since when the stream that is there acknowledges nothing.
type stuck struct {
	mu         sync.Mutex
	from, last time.Time // the first and the last of the time-outs in a row
}

// since takes the outcome of a dispatch, and is how long there have been none but time-outs. Hours may pass between two dispatches of a healthy
// deployment: time-outs that far apart say nothing of the time between.
func (s *stuck) since(err error) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	switch {
	case !errors.Is(err, context.DeadlineExceeded):
		s.from, s.last = time.Time{}, time.Time{}
		return 0
	case now.Sub(s.last) >= brokenAfter:
		s.from = now
	}
	s.last = now
	return now.Sub(s.from)
}

// remake deletes a stream that takes messages and acknowledges none, as one does that has lost its folder. Nothing is lost with it (I1):
// it is made again when it is next found missing, and the sweeper dispatches what waits.
func (b *Bus) remake(ctx context.Context) {
	ctx, cancel := b.within(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	b.logger.Error("the stream acknowledges nothing, making it again", "name", ChatsStream, "elapsed", brokenAfter)
	if err := b.js.DeleteStream(ctx, ChatsStream); err != nil && !gone(err) {
		b.logger.Error("the broken stream can't be deleted", "name", ChatsStream, "err", err)
		return
	}
	b.stuck.since(nil)
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
