package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Streams, consumers and subjects of DESIGN section 4. People type them: renaming one is a breaking change.
const (
	ChatsStream    = "CHATS"
	PartialsStream = "CHAT_PARTIALS"
	FreshConsumer  = "processors"
	ResumeConsumer = "processors-resume"

	dispatchSubject = "chats.dispatch."
	resumeSubject   = "chats.resume."
	partialSubject  = "chats.partial."
	eventSubject    = "chats.events."
	controlSubject  = "chats.control."
)

// topology numbers what plan describes. Whoever changes plan raises it, so that of two builds that run side by side only
// the newer one changes what is there.
const (
	topology    = 1
	topologyKey = "processor-topology"
)

const (
	ensureTimeout = 5 * time.Second
	// settle is how long a stream that was there stays missing before it is made again: the server answers before it has removed
	// the old one's files, and a new one made meanwhile loses its folder or inherits the old consumers' positions (nats-server
	// 2.15.2).
	settle = 300 * time.Millisecond
)

// streamPlan is one stream as this build wants it, with its consumers.
type streamPlan struct {
	stream    jetstream.StreamConfig
	consumers []jetstream.ConsumerConfig
}

func (b *Bus) plan() []streamPlan {
	mark := map[string]string{topologyKey: strconv.Itoa(topology)}
	consumer := func(name, filter string) jetstream.ConsumerConfig {
		return jetstream.ConsumerConfig{
			Durable: name, FilterSubject: filter, Metadata: mark,
			AckPolicy: jetstream.AckExplicitPolicy, AckWait: b.config.AckWait,
			// A message past MaxDeliver would stay in the stream, unseen for ever; one past MaxAckPending stalls the consumer
			// without an error.
			MaxDeliver: -1, MaxAckPending: -1,
			MaxWaiting: 2048,
		}
	}
	return []streamPlan{
		{
			stream: jetstream.StreamConfig{
				Name: ChatsStream, Description: "chats that wait for a replica", Metadata: mark,
				Subjects: []string{dispatchSubject + "*", resumeSubject + "*"}, Retention: jetstream.WorkQueuePolicy,
				Storage: jetstream.FileStorage, Replicas: b.config.Replicas, AllowDirect: true,
				// One message a chat: publishing again replaces the old one and is delivered at once.
				MaxMsgsPerSubject: 1, Discard: jetstream.DiscardOld, MaxMsgs: -1, MaxBytes: -1,
			},
			consumers: []jetstream.ConsumerConfig{consumer(ResumeConsumer, resumeSubject+"*"), consumer(FreshConsumer, dispatchSubject+"*")},
		},
		{
			stream: jetstream.StreamConfig{
				Name: PartialsStream, Description: "what owners have streamed so far", Metadata: mark,
				Subjects: []string{partialSubject + "*"}, Retention: jetstream.LimitsPolicy,
				Storage: jetstream.FileStorage, Replicas: b.config.Replicas, AllowDirect: true,
				MaxMsgsPerSubject: 1, Discard: jetstream.DiscardOld, MaxMsgs: -1, MaxBytes: b.config.PartialsMaxBytes, MaxAge: time.Hour,
			},
		},
	}
}

// Ensure makes the streams and consumers that are missing, and changes those that an older or equal build has made otherwise.
// What a newer build has made is left alone. Any number of replicas may call it at once.
func (b *Bus) Ensure(ctx context.Context) error { return b.repair(ctx, time.Now()) }

// repair is Ensure for somebody who saw something missing at a time: of all who saw the same, the first one does the work.
func (b *Bus) repair(ctx context.Context, seen time.Time) error {
	b.ensuring.Lock()
	defer b.ensuring.Unlock()
	if b.ensured.After(seen) {
		return nil
	}
	ctx, cancel := b.within(ctx, ensureTimeout)
	defer cancel()
	start := time.Now()
	for _, p := range b.plan() {
		if err := b.ensureStream(ctx, p.stream); err != nil {
			return b.failed("make stream "+p.stream.Name, err)
		}
		for _, c := range p.consumers {
			if err := b.ensureConsumer(ctx, p.stream.Name, c); err != nil {
				return b.failed("make consumer "+c.Durable, err)
			}
		}
	}
	b.ensured = start
	return nil
}

func (b *Bus) ensureStream(ctx context.Context, want jetstream.StreamConfig) error {
	s, err := b.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s, err = b.makeStream(ctx, want)
	}
	if err != nil {
		return err
	}
	got := s.CachedInfo().Config
	return b.change(want.Name, got.Metadata, streamDiff(want, got), func() error {
		_, err := b.js.UpdateStream(ctx, want)
		return err
	})
}

// makeStream makes a stream that numbers its messages from the clock: above those of every stream that was there before, so that a
// position that outlived the old one, in the server or in a consumer, is never ahead of the new one.
func (b *Bus) makeStream(ctx context.Context, want jetstream.StreamConfig) (jetstream.Stream, error) {
	if !b.ensured.IsZero() {
		if err := settled(ctx); err != nil {
			return nil, err
		}
	}
	const attempts = 3
	for attempt := 1; ; attempt++ {
		want.FirstSeq = uint64(time.Now().UnixMicro())
		s, err := b.js.CreateStream(ctx, want)
		var refusal *jetstream.APIError
		switch {
		case err == nil:
			b.made(want.Name)
			return s, nil
		case errors.Is(err, jetstream.ErrStreamNameAlreadyInUse): // another replica was faster
			return b.js.Stream(ctx, want.Name)
		case attempt == attempts || !errors.As(err, &refusal) || refusal.ErrorCode != storeFailed:
			return nil, err
		}
		if err := settled(ctx); err != nil {
			return nil, err
		}
	}
}

// storeFailed is the server's "error creating store for stream": the disk, or the files of the one before, which it is still removing.
const storeFailed jetstream.ErrorCode = 10049

// settled waits until the server will have removed the files of a stream that was deleted just now.
func settled(ctx context.Context) error {
	select {
	case <-time.After(settle):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (b *Bus) ensureConsumer(ctx context.Context, stream string, want jetstream.ConsumerConfig) error {
	c, err := b.js.Consumer(ctx, stream, want.Durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		c, err = b.js.CreateConsumer(ctx, stream, want)
		if err == nil {
			b.made(want.Durable)
		}
		if errors.Is(err, jetstream.ErrConsumerExists) {
			c, err = b.js.Consumer(ctx, stream, want.Durable)
		}
	}
	if err != nil {
		return err
	}
	got := c.CachedInfo().Config
	return b.change(want.Durable, got.Metadata, consumerDiff(want, got), func() error {
		_, err := b.js.UpdateConsumer(ctx, stream, want)
		return err
	})
}

func (b *Bus) made(name string) {
	b.counts.repairs.Add(1)
	b.logger.Info("made on nats", "name", name)
}

// change applies an update unless a newer build owns what is there. A refused update is no reason to stand still: the old
// settings may well do, and doctor names them.
func (b *Bus) change(name string, mark map[string]string, diffs []string, update func() error) error {
	theirs := marked(mark)
	if theirs > topology || len(diffs) == 0 && theirs == topology {
		return nil
	}
	if err := update(); err != nil {
		if gone(err) {
			return err
		}
		b.logger.Error("settings on nats can't be changed", "name", name, "settings", strings.Join(diffs, "; "), "err", err)
		return nil
	}
	b.logger.Info("settings on nats changed", "name", name, "settings", strings.Join(diffs, "; "))
	return nil
}

func marked(metadata map[string]string) int {
	n, err := strconv.Atoi(metadata[topologyKey])
	if err != nil {
		return 0
	}
	return n
}

// diffs collects the settings that are not as wanted.
type diffs []string

func (d *diffs) add(name string, want, got any) {
	if w, g := fmt.Sprint(want), fmt.Sprint(got); w != g {
		*d = append(*d, fmt.Sprintf("%s is %s, want %s", name, g, w))
	}
}

func streamDiff(want, got jetstream.StreamConfig) []string {
	var d diffs
	d.add("subjects", sorted(want.Subjects), sorted(got.Subjects))
	d.add("retention", want.Retention, got.Retention)
	d.add("storage", want.Storage, got.Storage)
	d.add("replicas", want.Replicas, max(got.Replicas, 1))
	d.add("max messages per subject", want.MaxMsgsPerSubject, got.MaxMsgsPerSubject)
	d.add("discard", want.Discard, got.Discard)
	d.add("max messages", want.MaxMsgs, got.MaxMsgs)
	d.add("max bytes", want.MaxBytes, got.MaxBytes)
	d.add("max age", want.MaxAge, got.MaxAge)
	d.add("direct get", want.AllowDirect, got.AllowDirect)
	d.add("no ack", want.NoAck, got.NoAck)
	return d
}

func consumerDiff(want, got jetstream.ConsumerConfig) []string {
	var d diffs
	d.add("filter", want.FilterSubject, got.FilterSubject)
	d.add("ack policy", want.AckPolicy, got.AckPolicy)
	d.add("ack wait", want.AckWait, got.AckWait)
	d.add("max deliver", want.MaxDeliver, got.MaxDeliver)
	d.add("max ack pending", want.MaxAckPending, got.MaxAckPending)
	d.add("max waiting", want.MaxWaiting, got.MaxWaiting)
	d.add("inactive threshold", want.InactiveThreshold, got.InactiveThreshold)
	d.add("max batch", want.MaxRequestBatch, got.MaxRequestBatch)
	return d
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }
