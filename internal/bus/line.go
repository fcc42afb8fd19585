package bus

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// lineState says what the server knows of a line.
type lineState int

const (
	shut   lineState = iota // no pull is open
	asked                   // a pull that does not wait is open: the server answers at once
	opened                  // a pull that waits is open
)

// line fetches from one consumer. It has at most one pull open.
//
// jetstream's Fetch is not used: it makes a subscription and a goroutine for every call, and when it is cancelled it drops
// what is under way, which then comes again only after AckWait.
type line struct {
	name  string
	first bool // asks without waiting first, to know whether there is a backlog
	nc    *nats.Conn
	sub   *nats.Subscription
	api   string
	waits string // the end of a request that waits
	state lineState
	open  int       // messages that the pull may still bring
	empty bool      // the server said so in answer to the last pull
	due   time.Time // when an open pull is overdue, or a shut line may be opened again

	failures int // since the server last answered as it should
}

func (b *Bus) openLine(consumer string, first bool, in chan *nats.Msg) (*line, error) {
	sub, err := b.nc.ChanSubscribe(b.nc.NewInbox(), in)
	if err != nil {
		return nil, err
	}
	return &line{
		name: consumer, first: first, nc: b.nc, sub: sub,
		api:   "$JS.API.CONSUMER.MSG.NEXT." + ChatsStream + "." + consumer,
		waits: fmt.Sprintf(`,"expires":%d,"idle_heartbeat":%d}`, pullExpiry, pullBeat),
	}, nil
}

// pull opens a pull for up to batch messages if none is open.
func (l *line) pull(now time.Time, batch int) {
	if l.state != shut || now.Before(l.due) {
		return
	}
	l.state, l.due = opened, now.Add(pullBeat+pullGrace)
	end := l.waits
	if l.first && !l.empty {
		l.state, end = asked, `,"no_wait":true}`
	}
	l.open, l.empty = batch, false
	if err := l.nc.PublishRequest(l.api, l.sub.Subject, []byte(`{"batch":`+strconv.Itoa(batch)+end)); err != nil {
		l.due = now // the next look fails it
	}
}

// delivered notes a message. A pull that brought all it was asked for ends without a word.
func (l *line) delivered() {
	l.failures = 0
	if l.open--; l.open <= 0 {
		l.close()
	}
}

// status takes the server's word on the open pull. An error means that the pull did not end in the ordinary way.
func (l *line) status(m *nats.Msg) error {
	code := m.Header.Get("Status")
	switch code {
	case "404", "408": // nothing there, or the time is over
		l.failures, l.empty = 0, l.state == asked
		l.close()
		return nil
	case "100":
		l.due = time.Now().Add(pullBeat + pullGrace)
		return nil
	case "503":
		return nats.ErrNoResponders
	default:
		if text := m.Header.Get("Description"); text != "Consumer Deleted" {
			return fmt.Errorf("pull refused: %s %s", code, text)
		}
		return jetstream.ErrConsumerDeleted
	}
}

func (l *line) close() {
	l.state, l.open, l.due = shut, 0, time.Time{}
}

// backoff doubles from retryFirst to retryLongest, with a jitter of a half so that replicas do not come back in step.
func backoff(failures int) time.Duration {
	d := min(retryLongest, retryFirst<<min(failures-1, 10))
	return d/2 + rand.N(d/2)
}
