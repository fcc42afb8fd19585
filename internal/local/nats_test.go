package local_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"processor/internal/local"
)

func startNATS(t *testing.T, listen, store string) *local.NATS {
	t.Helper()
	n, err := local.StartNATS(t.Context(), local.NATSConfig{Listen: listen, StoreDir: store})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Stop)
	return n
}

func streams(t *testing.T, url string) jetstream.JetStream {
	t.Helper()
	conn, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func TestNATSRestartsWithItsStoreAndWipesIt(t *testing.T) {
	t.Parallel()
	n := startNATS(t, ":0", t.TempDir())
	url := n.URL()
	if !strings.HasPrefix(url, "nats://127.0.0.1:") {
		t.Errorf("listens on %s, want the loopback interface", url)
	}
	cfg := jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, MaxBytes: 1 << 30}
	if _, err := streams(t, url).CreateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if err := n.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n.URL() != url {
		t.Errorf("moved from %s to %s", url, n.URL())
	}
	if _, err := streams(t, url).Stream(t.Context(), "S"); err != nil {
		t.Errorf("stream after a restart: %v", err)
	}
	if err := n.Wipe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := streams(t, url).Stream(t.Context(), "S"); err == nil {
		t.Error("the stream survived a wipe")
	}
}

// startPrograms has every descriptor copied at every moment, until the test ends.
func startPrograms(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var starters sync.WaitGroup
	for range 4 {
		starters.Go(func() {
			for ctx.Err() == nil {
				if err := exec.Command("true").Run(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	t.Cleanup(func() { cancel(); starters.Wait() })
}

func TestAServerComesBackWhileProgramsStart(t *testing.T) {
	t.Parallel()
	n := startNATS(t, ":0", t.TempDir())
	startPrograms(t)
	for range 20 {
		if err := n.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestALockIsFreeAtOnceWhileProgramsStart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	startPrograms(t)
	for range 2000 {
		lock, err := local.TryLock(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := local.TryLock(path); err == nil {
			t.Fatal("it was taken twice")
		}
		if err := lock.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNATSIsAwayBetweenHaltAndStart(t *testing.T) {
	t.Parallel()
	n := startNATS(t, "127.0.0.1:-1", t.TempDir())
	n.Halt()
	n.Halt()
	if conn, err := nats.Connect(n.URL()); err == nil {
		conn.Close()
		t.Fatal("it answers while it is down")
	}
	for range 2 { // the second finds it up
		if err := n.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	streams(t, n.URL())
}

func TestNATSSaysWhatToDoAboutItsAddress(t *testing.T) {
	t.Parallel()
	taken := strings.TrimPrefix(startNATS(t, ":0", t.TempDir()).URL(), "nats://")
	for listen, want := range map[string]string{
		taken:             "--nats-listen",
		"4222":            "want host:port",
		"127.0.0.1:99999": "not a number below 65536",
		"192.0.2.1:0":     "cannot listen on 192.0.2.1",
	} {
		_, err := local.StartNATS(t.Context(), local.NATSConfig{Listen: listen, StoreDir: t.TempDir()})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q in it", listen, err, want)
		}
	}
}
