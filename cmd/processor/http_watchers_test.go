package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"processor/internal/chat"
)

// TestManyWatchersOfOneReplica measures what open streams cost the replica that relays them: memory for each of them while all is quiet, and the
// time from when an event was on NATS to when each watcher had it. In docs/operations.md is what this says:
//
//	WATCHERS=5000 go test -run TestManyWatchers -v -count=1 ./cmd/processor
func TestManyWatchersOfOneReplica(t *testing.T) {
	t.Parallel()
	watchers, err := strconv.Atoi(os.Getenv("WATCHERS"))
	if err != nil {
		watchers = 200
	}
	d := deploy(t)
	a := d.startHTTP("a", "--http-streams-per-client", "100000")
	for _, chats := range []int{watchers, 1} {
		m := audience{deployment: d, process: a, heard: map[string]time.Time{}}
		m.gather(watchers, chats)
		m.speak()
		m.report(watchers, chats)
		m.leave()
	}
}

// audience are many watchers of one replica.
type audience struct {
	*deployment
	process *process
	ids     []chat.ID
	members []net.Conn
	readers sync.WaitGroup
	before  float64
	each    float64 // bytes

	mu     sync.Mutex
	heard  map[string]time.Time // when NATS had what was said
	delays []time.Duration
	whole  int // watchers that heard the whole answer
}

const audienceWords = 40

// gather opens the streams and waits until all have begun.
func (m *audience) gather(watchers, chats int) {
	m.t.Helper()
	for i := range chats {
		m.ids = append(m.ids, chat.ID(fmt.Sprintf("%d-%d", chats, i)))
	}
	text := "#tokens=1"
	texts := map[chat.ID]string{}
	for _, id := range m.ids {
		texts[id] = text
	}
	m.sendAll(texts)
	m.finished()
	m.before = m.process.metric("process_resident_memory_bytes")
	begun := make(chan struct{}, watchers)
	for i := range watchers {
		conn, err := net.Dial("tcp", m.process.http)
		m.must(err)
		m.must(conn.SetDeadline(time.Now().Add(4 * patience)))
		_, err = io.WriteString(conn, fmt.Sprintf("GET /v1/chats/%s/events HTTP/1.1\r\nHost: x\r\n\r\n", m.ids[i%chats]))
		m.must(err)
		m.members = append(m.members, conn)
		m.readers.Go(func() { m.listen(conn, begun) })
	}
	for range watchers {
		select {
		case <-begun:
		case <-m.ctx.Done():
			m.t.Fatal("not all streams began")
		}
	}
	m.each = (m.process.metric("process_resident_memory_bytes") - m.before) / float64(watchers)
}

// listen notes when a watcher hears each word of the second turn.
func (m *audience) listen(conn net.Conn, begun chan<- struct{}) {
	lines := bufio.NewScanner(conn)
	for words := 0; lines.Scan(); {
		line := lines.Text()
		switch {
		case !strings.HasPrefix(line, "data: "):
		case strings.Contains(line, `"type":"delta"`) && strings.Contains(line, `"turn":2`):
			now := time.Now()
			words += strings.Count(line, "w")
			m.note(key(line), now)
		case strings.Contains(line, `"type":"status"`) && strings.Contains(line, `"status":"waiting"`) && strings.Contains(line, `"turn":1`):
			begun <- struct{}{}
		case strings.Contains(line, `"type":"message"`) && strings.Contains(line, counted(audienceWords)):
			m.mu.Lock()
			m.whole++
			m.mu.Unlock()
			return
		}
	}
}

// key is the chat and the text of a delta.
func key(line string) string {
	_, id, _ := strings.Cut(line, `"chat":"`)
	id, _, _ = strings.Cut(id, `"`)
	_, text, _ := strings.Cut(line, `"text":"`)
	text, _, _ = strings.Cut(text, `"`)
	return id + text
}

func (m *audience) note(key string, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if said, ok := m.heard[key]; ok {
		m.delays = append(m.delays, now.Sub(said))
	}
}

// speak has up to 20 of the chats stream, ten words a second each, and waits until everybody has heard the whole.
func (m *audience) speak() {
	m.t.Helper()
	speakers := m.ids[:min(20, len(m.ids))]
	var ears sync.WaitGroup
	for _, id := range speakers {
		events, stop, err := m.client.Subscribe(m.ctx, id)
		m.must(err)
		m.t.Cleanup(stop)
		ears.Go(func() {
			for e := range events {
				now := time.Now()
				if e.Type == chat.DeltaEvent {
					m.mu.Lock()
					m.heard[string(id)+e.Delta.Text] = now
					m.mu.Unlock()
				}
				if e.Type == chat.StatusEvent && e.Status == chat.Waiting {
					return
				}
			}
		})
	}
	for _, id := range speakers {
		m.say(id, fmt.Sprintf("#tokens=%d #delay=100ms", audienceWords))
	}
	ears.Wait()
	listeners := len(m.members) / len(m.ids) * len(speakers)
	m.await("everybody has heard everything", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.whole == listeners
	})
}

func (m *audience) report(watchers, chats int) {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	slices.Sort(m.delays)
	if len(m.delays) == 0 {
		m.t.Fatal("nothing was measured")
	}
	at := func(q float64) time.Duration {
		return m.delays[int(q*float64(len(m.delays)-1))].Round(10 * time.Microsecond)
	}
	m.t.Logf("%d watchers of %d chats: %.0f KiB each; %d deltas, added delay p50 %s p99 %s max %s", watchers, chats, m.each/1024, len(m.delays), at(0.5), at(0.99), at(1))
}

func (m *audience) leave() {
	for _, conn := range m.members {
		conn.Close()
	}
	m.readers.Wait()
}
