package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"processor/internal/chat"
)

// frame is one server-sent event as it came.
type frame struct{ id, event, data string }

func (f frame) String() string { return fmt.Sprintf("%s %s %s", f.id, f.event, f.data) }

// sse is an open stream.
type sse struct {
	w        *web
	response *http.Response
	lines    *bufio.Scanner
	seen     []frame
	end      context.CancelFunc
}

// stream opens one; cursor is the id of the last event seen, empty for none.
func (w *web) stream(path, cursor string) *sse {
	w.t.Helper()
	s, err := w.tryStream(path, cursor)
	w.must(err)
	return s
}

func (w *web) tryStream(path, cursor string) (*sse, error) {
	ctx, cancel := context.WithCancel(w.ctx)
	r := w.request("GET", path, "").WithContext(ctx)
	if cursor != "" {
		r.Header.Set("Last-Event-ID", cursor)
	}
	response, err := w.client.Do(r)
	if err == nil && response.StatusCode != http.StatusOK {
		response.Body.Close()
		err = fmt.Errorf("%s is answered with %s", path, response.Status)
	}
	if err != nil {
		cancel()
		return nil, err
	}
	s := &sse{w: w, response: response, lines: bufio.NewScanner(response.Body), end: cancel}
	s.lines.Buffer(nil, 2<<20)
	w.t.Cleanup(s.close)
	return s, nil
}

func (s *sse) close() { s.end(); s.response.Body.Close() }

// next waits for an event; io.EOF is the clean end of the stream.
func (s *sse) next() (frame, error) {
	var f frame
	for s.lines.Scan() {
		line := s.lines.Text()
		name, value, _ := strings.Cut(line, ": ")
		switch {
		case line == "" && f != frame{}:
			s.seen = append(s.seen, f)
			return f, nil
		case name == "id":
			f.id = value
		case name == "event":
			f.event = value
		case name == "data":
			f.data += value
		}
	}
	return f, cmp.Or(s.lines.Err(), io.EOF)
}

// until reads on until an event for which last holds, and returns everything that was read.
func (s *sse) until(what string, last func(frame) bool) []frame {
	s.w.t.Helper()
	for {
		f, err := s.next()
		if err != nil {
			s.w.t.Fatalf("the stream ended with %v before %s, after %v", err, what, s.seen)
		}
		if last(f) {
			return s.seen
		}
	}
}

// framed holds for an event whose data has the words.
func framed(event string, words ...string) func(frame) bool {
	return func(f frame) bool {
		return f.event == event && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(f.data, w) })
	}
}

// rest holds for the status of a chat that has nothing to do.
func rest(f frame) bool {
	return framed("status", `"status":"waiting"`)(f) || framed("status", `"status":"error"`)(f)
}

// place is a cursor as numbers, which compare in the order of the transcript.
func (f frame) place() []int64 {
	var all []int64
	for part := range strings.SplitSeq(f.id, "-") {
		n, _ := strconv.ParseInt(part, 10, 64)
		all = append(all, n)
	}
	return all
}

// withID are the events of the transcript, without those about the row.
func withID(all []frame) []frame {
	return slices.DeleteFunc(slices.Clone(all), func(f frame) bool { return f.id == "" })
}

// settledIn is what a client has in the end: what a void event withdraws is gone, and so are the void events.
func settledIn(all []frame) []string {
	var kept []frame
	for _, f := range withID(all) {
		if f.event != "void" {
			kept = append(kept, f)
			continue
		}
		var void struct{ From string }
		_ = json.Unmarshal([]byte(f.data), &void)
		from, to := frame{id: void.From}.place(), f.place()
		kept = slices.DeleteFunc(kept, func(k frame) bool {
			return slices.Compare(k.place(), from) >= 0 && slices.Compare(k.place(), to) < 0
		})
	}
	lines := make([]string, len(kept))
	for i, f := range kept {
		lines[i] = f.String()
	}
	return lines
}

// rising checks that no event comes twice or late.
func (d *deployment) rising(all []frame) {
	d.t.Helper()
	list := withID(all)
	for i := 1; i < len(list); i++ {
		if slices.Compare(list[i-1].place(), list[i].place()) >= 0 {
			d.t.Fatalf("%s comes after %s", list[i].id, list[i-1].id)
		}
	}
}

// relay is a gateway that owns no chats, in the test's own process.
func (d *deployment) relay(flags HTTPFlags) *web {
	d.t.Helper()
	flags.HTTPStreamsPerClient = cmp.Or(flags.HTTPStreamsPerClient, 1000)
	g, err := httpService{
		flags: flags, service: d.service(), bus: d.client, timing: chat.DefaultTiming(), drain: context.WithoutCancel(d.ctx),
		ready: NewReadiness(), registry: prometheus.NewRegistry(), logger: quiet(),
	}.handler()
	d.must(err)
	server := httptest.NewServer(g)
	d.t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	return d.over(strings.TrimPrefix(server.URL, "http://"))
}
