package bus_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"processor/internal/bus"
)

func TestManyReplicasMakeTheStreamsAtOnce(t *testing.T) {
	t.Parallel()
	k := setup(t)
	for _, stream := range []string{bus.ChatsStream, bus.PartialsStream} {
		if err := k.js.DeleteStream(t.Context(), stream); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for i := range 8 {
		b := k.connect(t, bus.Config{PartialsMaxBytes: int64(1+i%2) << 20}) // even when they do not agree
		wg.Go(func() {
			if err := b.Ensure(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := k.bus.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if found := k.bus.Verify(t.Context(), "nobody"); len(found) != 0 {
		t.Errorf("problems: %v", found)
	}
}

// setStream changes the stream's settings behind the bus's back.
func (k *kit) setStream(t *testing.T, change func(*jetstream.StreamConfig)) {
	t.Helper()
	s, err := k.js.Stream(t.Context(), bus.ChatsStream)
	if err != nil {
		t.Fatal(err)
	}
	config := s.CachedInfo().Config
	change(&config)
	if _, err := k.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
}

func (k *kit) maxMsgs(t *testing.T) int64 {
	t.Helper()
	s, err := k.js.Stream(t.Context(), bus.ChatsStream)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().Config.MaxMsgs
}

func TestWhatANewerBuildMadeIsLeftAlone(t *testing.T) {
	t.Parallel()
	k := setup(t)
	k.setStream(t, func(c *jetstream.StreamConfig) { c.MaxMsgs = 12345; c.Metadata["processor-topology"] = "999" })
	if err := k.bus.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := k.maxMsgs(t); n != 12345 {
		t.Errorf("changed to %d", n)
	}
	if found := k.bus.Verify(t.Context(), "nobody"); len(found) != 0 {
		t.Errorf("problems: %v", found)
	}
}

func TestWhatAnOlderBuildMadeIsChanged(t *testing.T) {
	t.Parallel()
	k := setup(t)
	for _, mark := range []string{"0", "garbage", "1"} {
		k.setStream(t, func(c *jetstream.StreamConfig) { c.MaxMsgs = 12345; c.Metadata["processor-topology"] = mark })
		if err := k.bus.Ensure(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := k.maxMsgs(t); n != -1 {
			t.Errorf("mark %q: still %d", mark, n)
		}
	}
}

// A setting that can't be changed is named and lived with.
func TestWhatTheServerRefusesToChangeIsReported(t *testing.T) {
	t.Parallel()
	k := setup(t)
	var l logs
	b := k.connect(t, bus.Config{Replicas: 3, Logger: l.logger()}) // one server can't hold three replicas
	if err := b.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(l.String(), "replicas is 1, want 3") {
		t.Errorf("logged: %s", l.String())
	}
	dispatch(t, b, false, "chat")
	found := b.Verify(t.Context(), "nobody")
	if len(found) != 2 || !strings.Contains(found[0].What, "replicas is 1, want 3") {
		t.Errorf("found: %v", found)
	}
}

func TestVerifyNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	k := setup(t)
	if err := k.js.DeleteConsumer(t.Context(), bus.ChatsStream, bus.ResumeConsumer); err != nil {
		t.Fatal(err)
	}
	if err := k.js.DeleteStream(t.Context(), bus.PartialsStream); err != nil {
		t.Fatal(err)
	}
	c, err := k.js.Consumer(t.Context(), bus.ChatsStream, bus.FreshConsumer)
	if err != nil {
		t.Fatal(err)
	}
	config := c.CachedInfo().Config
	config.AckWait = time.Hour
	if _, err := k.js.UpdateConsumer(t.Context(), bus.ChatsStream, config); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, p := range k.bus.Verify(t.Context(), "nobody") {
		all = append(all, p.What)
		if p.Do == "" {
			t.Errorf("%s: nothing to do", p.What)
		}
	}
	want := []string{
		"consumer processors-resume does not exist",
		"consumer processors: ack wait is 1h0m0s, want 1m0s",
		"stream CHAT_PARTIALS does not exist",
	}
	if got := strings.Join(all, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("found:\n%s", got)
	}
	k.server.Halt()
	eventually(t, "disconnected", func() bool { return !k.bus.Connected() })
	if found := k.bus.Verify(t.Context(), "nobody"); len(found) != 1 || !strings.Contains(found[0].What, "not connected") {
		t.Errorf("without a server: %v", found)
	}
}

func TestAStreamMadeAgainIsAheadOfTheOldOne(t *testing.T) {
	t.Parallel()
	k := setup(t)
	last := uint64(0)
	for range 3 {
		if err := k.bus.Dispatch(t.Context(), "c", false); err != nil {
			t.Fatal(err)
		}
		s, err := k.js.Stream(t.Context(), bus.ChatsStream)
		if err != nil {
			t.Fatal(err)
		}
		if first := s.CachedInfo().State.FirstSeq; first <= last {
			t.Fatalf("the stream begins at %d, the one before had reached %d", first, last)
		}
		last = s.CachedInfo().State.LastSeq
		if err := k.js.DeleteStream(t.Context(), bus.ChatsStream); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAStreamThatAcknowledgesNothingIsMadeAgain(t *testing.T) {
	t.Parallel()
	k := setup(t)
	before, err := k.bus.Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// A stream without acks is what a caller sees of one that has lost its files.
	s, err := k.js.Stream(t.Context(), bus.ChatsStream)
	if err != nil {
		t.Fatal(err)
	}
	deaf := s.CachedInfo().Config
	deaf.NoAck = true
	if _, err := k.js.UpdateStream(t.Context(), deaf); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(2 * patience)
	for k.bus.Dispatch(t.Context(), "c", false) != nil {
		if time.Now().After(deadline) {
			t.Fatal("the stream was never made again")
		}
	}
	after, err := k.bus.Stream(t.Context())
	if err != nil || !after.Created.After(before.Created) {
		t.Fatalf("the stream of %s is still that of %s: %v", after.Created, before.Created, err)
	}
}
