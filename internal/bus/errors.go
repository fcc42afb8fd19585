package bus

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Errors of this package.
var (
	// ErrDisconnected: the connection is down, so nothing was asked.
	ErrDisconnected = errors.New("NATS is not connected")
	// ErrUnknown: NATS gave no answer that can be relied on. Nothing may be concluded from it.
	ErrUnknown = errors.New("no certain answer from NATS")
	// ErrNoReplica: nobody serves the API.
	ErrNoReplica = errors.New("no replica answers")

	// Why a feed ended.
	errSlow        = errors.New("reader too slow")
	errReconnected = errors.New("connection was lost")
	errStopped     = errors.New("stopped by its reader")

	errSilent   = errors.New("no answer to a pull")
	errTooLarge = errors.New("larger than a message may be")
)

// Counts are totals since the start, for metrics.
type Counts struct {
	// Bad are dispatches whose subject names no chat; they were removed.
	Bad uint64
	// Handed back are deliveries for which no slot was free in time.
	HandedBack uint64
	// Looks are how often pending chats were looked for because no dispatch was heard.
	Looks uint64
	// Lost are events and partials that were not published: the connection was down, or refused them.
	Lost uint64
	// Slow are feeds dropped because their reader fell behind.
	Slow uint64
	// Repairs are streams and consumers made again because they were gone.
	Repairs uint64
}

type counters struct {
	bad, handedBack, looks, lost, slow, repairs atomic.Uint64
}

// Counts reads the totals.
func (b *Bus) Counts() Counts {
	c := &b.counts
	return Counts{Bad: c.bad.Load(), HandedBack: c.handedBack.Load(), Looks: c.looks.Load(), Lost: c.lost.Load(), Slow: c.slow.Load(), Repairs: c.repairs.Load()}
}

// gone reports whether err says, or may mean, that a stream or a consumer does not exist.
func gone(err error) bool {
	return errors.Is(err, errSilent) || errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound) ||
		errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders)
}

// failed says what failed, without secrets.
func (b *Bus) failed(what string, err error) error {
	return fmt.Errorf("%s: %w", what, scrub(b.config.URL, err))
}

// Redact removes user, password and token from a list of NATS addresses.
func Redact(urls string) string {
	var out []string
	for one := range strings.SplitSeq(urls, ",") {
		scheme, rest, ok := strings.Cut(strings.TrimSpace(one), "://")
		if !ok {
			scheme, rest = "nats", scheme
		}
		if i := strings.LastIndex(rest, "@"); i >= 0 {
			rest = rest[i+1:]
		}
		out = append(out, scheme+"://"+rest)
	}
	return strings.Join(out, ",")
}

// scrub replaces the secrets of the addresses in the text of err. The chain of errors is kept when there is nothing to hide.
func scrub(urls string, err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for one := range strings.SplitSeq(urls, ",") {
		for _, secret := range secrets(strings.TrimSpace(one)) {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	if text == err.Error() {
		return err
	}
	return errors.New(text)
}

// secrets lists the ways in which the user's part of an address may appear in an error, the longest first.
func secrets(address string) []string {
	if _, rest, ok := strings.Cut(address, "://"); ok {
		address = rest
	}
	i := strings.LastIndex(address, "@")
	if i <= 0 {
		return nil
	}
	all := []string{address[:i]}
	if user, password, ok := strings.Cut(address[:i], ":"); ok && password != "" {
		all = append(all, password)
		if plain, err := url.PathUnescape(password); err == nil && plain != "" {
			all = append(all, plain)
		}
	} else if plain, err := url.PathUnescape(user); err == nil && plain != "" {
		all = append(all, plain)
	}
	return all
}
