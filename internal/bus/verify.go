package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"processor/internal/chat"
)

// Problem is something that an operator should know, and what to do about it.
type Problem struct {
	What string
	Do   string
}

// verifyTimeout bounds each question of Verify: a missing permission shows as silence.
const verifyTimeout = time.Second

// leastPayload is the largest message that this program needs to send.
const leastPayload = 1 << 20

// Verify looks whether NATS is as this build needs it, and changes nothing. worker is an id that nobody has.
func (b *Bus) Verify(ctx context.Context, worker chat.WorkerID) []Problem {
	if !b.Connected() {
		return []Problem{{"NATS at " + b.URL() + " is not connected", "check --nats-url and that the server runs"}}
	}
	var found []Problem
	if n := b.nc.MaxPayload(); n < leastPayload {
		found = append(found, Problem{fmt.Sprintf("NATS takes messages up to %d bytes only", n), "set max_payload to 1MB or more"})
	}
	if err := b.canAnnounce(ctx, chat.ID(worker)); err != nil {
		found = append(found, Problem{"events can't be published and read: " + err.Error(), "permit " + eventSubject + "> for this user"})
	}
	if o := b.Probe(ctx, worker); o != NoResponders {
		found = append(found, Problem{"workers can't be probed: " + o.String(), "permit " + controlSubject + "> and _INBOX.> for this user"})
	}
	for _, p := range b.plan() {
		found = append(found, b.verifyStream(ctx, p)...)
	}
	return found
}

func (b *Bus) canAnnounce(ctx context.Context, id chat.ID) error {
	sub, err := b.nc.SubscribeSync(eventSubject + string(id))
	if err != nil {
		return err
	}
	ctx, cancel := b.within(ctx, verifyTimeout)
	defer cancel()
	b.Announce(chat.Event{Type: chat.StatusEvent, Chat: id})
	_, err = sub.NextMsgWithContext(ctx)
	return errors.Join(err, sub.Unsubscribe())
}

func (b *Bus) verifyStream(ctx context.Context, p streamPlan) []Problem {
	ctx, cancel := b.within(ctx, 2*verifyTimeout)
	defer cancel()
	s, err := b.js.Stream(ctx, p.stream.Name)
	if err != nil {
		return []Problem{b.unseen("stream "+p.stream.Name, err)}
	}
	got := s.CachedInfo().Config
	found := differ("stream "+p.stream.Name, got.Metadata, streamDiff(p.stream, got))
	for _, want := range p.consumers {
		c, err := s.Consumer(ctx, want.Durable)
		if err != nil {
			found = append(found, b.unseen("consumer "+want.Durable, err))
			continue
		}
		info := c.CachedInfo()
		found = append(found, differ("consumer "+want.Durable, info.Config.Metadata, consumerDiff(want, info.Config))...)
		found = append(found, verifyPosition(ctx, s, info)...)
	}
	return found
}

// verifyPosition finds a consumer that has outlived its stream and waits for numbers that the new one is far from. The stream is looked at
// after the consumer, so that a healthy one is never behind.
func verifyPosition(ctx context.Context, s jetstream.Stream, c *jetstream.ConsumerInfo) []Problem {
	info, err := s.Info(ctx)
	if err != nil || c.Delivered.Stream <= info.State.LastSeq {
		return nil // a stream that can't be read was named already
	}
	return []Problem{{
		fmt.Sprintf("consumer %s is at %d, ahead of its stream at %d: it delivers nothing", c.Name, c.Delivered.Stream, info.State.LastSeq),
		"delete the stream " + info.Config.Name + ": it is made again, and nothing is lost",
	}}
}

func (b *Bus) unseen(what string, err error) Problem {
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrConsumerNotFound):
		return Problem{what + " does not exist", "start a replica: it makes what is missing"}
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return Problem{what + " can't be read: no JetStream", "start nats-server with JetStream, and enable it for this account"}
	default:
		return Problem{what + " can't be read: " + scrub(b.config.URL, err).Error(), "permit $JS.API.> for this user"}
	}
}

// differ makes a problem of every setting that is not as wanted. A newer build may have its reasons.
func differ(what string, mark map[string]string, diffs []string) []Problem {
	if marked(mark) > topology {
		return nil
	}
	var found []Problem
	for _, d := range diffs {
		found = append(found, Problem{what + ": " + d, "restart one replica: it sets what can be changed; delete the " + what + " otherwise, nothing is lost"})
	}
	return found
}
