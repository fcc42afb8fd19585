package wire

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"processor/internal/chat"
)

const patience = 20 * time.Second

// serve serves one handler and returns the server's address.
func serve(t *testing.T, h http.Handler) (host string) {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// dial sends a request as it is written and returns the connection.
func dial(t *testing.T, host, request string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	return conn
}

// answer reads the response on a connection.
func answer(t *testing.T, conn net.Conn) (int, http.Header, string) {
	t.Helper()
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatalf("%v after %q", err, body)
	}
	return r.StatusCode, r.Header, string(body)
}

const get = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

func TestErrorsTellWhatToDoAndNothingElse(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err    error
		status int
		retry  string
		body   string
	}{
		{chat.Errorf(chat.Malformed, "", "odd"), 400, "", `{"error":{"code":"malformed","message":"odd"}}`},
		{fmt.Errorf("read: %w", chat.ErrNotFound("a")), 404, "", `{"error":{"code":"not_found","message":"there is no chat \"a\"","field":"chat"}}`},
		{chat.Errorf(chat.Conflict, "id", "taken"), 409, "", `{"error":{"code":"conflict","message":"taken","field":"id"}}`},
		{chat.Errorf(chat.TooLarge, "text", "long"), 413, "", `{"error":{"code":"too_large","message":"long","field":"text"}}`},
		{chat.Errorf(chat.Invalid, "text", "bad"), 422, "", `{"error":{"code":"invalid","message":"bad","field":"text"}}`},
		{chat.Errorf(chat.Full, "queue", "full"), 429, "1", `{"error":{"code":"full","message":"full","field":"queue"}}`},
		{chat.Errorf(chat.Unavailable, "", "busy"), 503, "1", `{"error":{"code":"unavailable","message":"busy"}}`},
		{errors.New("dial tcp 10.0.0.1: select * from secrets"), 503, "1", `{"error":{"code":"unavailable","message":"the request failed here, try again"}}`},
	} {
		var log bytes.Buffer
		k := New(Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		w := httptest.NewRecorder()
		k.Handle(func(http.ResponseWriter, *http.Request) error { return test.err }).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if w.Code != test.status || w.Header().Get("Retry-After") != test.retry || w.Body.String() != test.body {
			t.Errorf("%v: %d %q %s", test.err, w.Code, w.Header().Get("Retry-After"), w.Body)
		}
		var e *chat.Error
		if logged := strings.Contains(log.String(), "select * from secrets"); logged == errors.As(test.err, &e) {
			t.Errorf("%v: the log is %q", test.err, log.String())
		}
	}
}

func TestBodiesAreBoundedInSizeAndTime(t *testing.T) {
	t.Parallel()
	reads := func(k *Kit) http.Handler {
		return k.Handle(func(w http.ResponseWriter, r *http.Request) error {
			var v struct {
				A int `json:"a"`
			}
			if err := k.Read(w, r, &v); err != nil {
				return err
			}
			return k.Write(w, 200, v)
		})
	}
	patient, impatient := serve(t, reads(New(Config{}))), serve(t, reads(New(Config{BodyTimeout: 100 * time.Millisecond})))
	post := func(length int, body string) string {
		return fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", length, body)
	}
	for _, test := range []struct {
		name    string
		host    string
		request string
		status  int
		body    string
	}{
		{"any content type", patient, post(7, `{"a":3}`), 200, `{"a":3}`},
		{"no body", patient, post(0, ""), 200, `{"a":0}`},
		{"unknown field", patient, post(7, `{"b":3}`), 400, `unknown field`},
		{"two values", patient, post(4, `{}{}`), 400, `something after`},
		{"never arrives", impatient, post(100, `{"a":`), 400, `did not arrive within 100ms`},
		{"too large", patient, post(MaxBody+1, strings.Repeat(" ", MaxBody+1)), 413, `more than 4194304 bytes`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			status, _, body := answer(t, dial(t, test.host, test.request))
			if status != test.status || !strings.Contains(body, test.body) {
				t.Errorf("%d %s", status, body)
			}
		})
	}
}

// TestLongBodiesThatArriveTogetherAreBounded: one of 256 KiB fits while no other does, and short ones always do.
func TestLongBodiesThatArriveTogetherAreBounded(t *testing.T) {
	t.Parallel()
	k := New(Config{BodyMemory: 384 << 10})
	host := serve(t, k.Handle(func(w http.ResponseWriter, r *http.Request) error {
		raw, err := k.Body(w, r, MaxBody)
		if err != nil {
			return err
		}
		return k.Write(w, 200, len(raw))
	}))
	const long = 256<<10 - 1
	head := func(length int) string {
		return fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", length)
	}
	slow := dial(t, host, head(long)+strings.Repeat(" ", long-1))
	for deadline := time.Now().Add(patience); ; {
		part := dial(t, host, strings.Replace(head(long), "Connection: close\r\n", "", 1)+strings.Repeat(" ", 200<<10)) // so that all of it is read
		if err := part.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		status, _, body := answer(t, part)
		if status == 503 && strings.Contains(body, "at once, try again") {
			break
		}
		if status != 400 || time.Now().After(deadline) {
			t.Fatalf("beside a long one: %d %s", status, body)
		}
	}
	if status, _, body := answer(t, dial(t, host, head(3)+"abc")); status != 200 {
		t.Errorf("a short one beside it: %d %s", status, body)
	}
	if _, err := io.WriteString(slow, " "); err != nil {
		t.Fatal(err)
	}
	if status, _, body := answer(t, slow); status != 200 || body != fmt.Sprint(long) {
		t.Errorf("the long one: %d %s", status, body)
	}
	if status, _, body := answer(t, dial(t, host, head(long)+strings.Repeat(" ", long))); status != 200 {
		t.Errorf("a long one after it: %d %s", status, body)
	}
}

func TestAStreamIsFramedAndPinged(t *testing.T) {
	t.Parallel()
	k := New(Config{Ping: 20 * time.Millisecond})
	more := make(chan struct{})
	host := serve(t, k.Handle(func(w http.ResponseWriter, r *http.Request) error {
		s, err := k.Open(w, r)
		if err != nil {
			return err
		}
		defer s.Close()
		if err := s.Send(Frame{ID: "1", Event: "a", Data: []byte(`{"x":1}`)}, Frame{Data: []byte("two\nlines")}); err != nil {
			return err
		}
		<-more
		return s.Send(Frame{Data: []byte("[DONE]")})
	}))
	conn := dial(t, host, get)
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	want := http.Header{
		"Content-Type": {"text/event-stream"}, "Cache-Control": {"no-cache"}, "X-Accel-Buffering": {"no"}, "X-Content-Type-Options": {"nosniff"},
		"Date": r.Header["Date"],
	}
	if diff := cmp.Diff(want, r.Header); diff != "" {
		t.Error(diff)
	}
	lines := bufio.NewScanner(r.Body)
	next := func() string {
		if !lines.Scan() {
			t.Fatalf("the stream ended early: %v", lines.Err())
		}
		return lines.Text()
	}
	got := next()
	for got == ": ping" { // the handler may need longer for its first frame than a stream may be silent
		next()
		got = next()
	}
	for _, want := range []string{"id: 1", "event: a", `data: {"x":1}`, "", "data: two", "data: lines", "", ": ping", "", ": ping", ""} {
		if got != want {
			t.Fatalf("read %q instead of %q", got, want)
		}
		got = next()
	}
	close(more)
	last := ""
	for lines.Scan() {
		if lines.Text() != "" {
			last = lines.Text()
		}
	}
	if last != "data: [DONE]" || lines.Err() != nil {
		t.Errorf("ended with %q, %v", last, lines.Err())
	}
}

// flood streams until the stream is over.
func flood(k *Kit) http.Handler {
	return k.Handle(func(w http.ResponseWriter, r *http.Request) error {
		s, err := k.Open(w, r)
		if err != nil {
			return err
		}
		defer s.Close()
		for data := bytes.Repeat([]byte("x"), 64<<10); s.Send(Frame{Data: data}) == nil; {
		}
		return nil
	})
}

// rotten is a response of which only the beginning can be written.
type rotten struct {
	http.ResponseWriter
	writes int
}

func (r *rotten) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *rotten) Write(p []byte) (int, error) {
	if r.writes++; r.writes > 1 {
		panic("rotten")
	}
	return r.ResponseWriter.Write(p)
}

func TestAPingThatPanicsEndsItsStreamOnly(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	k := New(Config{Ping: 10 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	ended := make(chan error, 1)
	host := serve(t, k.Handle(func(w http.ResponseWriter, r *http.Request) error {
		s, err := k.Open(&rotten{ResponseWriter: w}, r)
		if err != nil {
			return err
		}
		defer s.Close()
		<-s.Context().Done()
		ended <- context.Cause(s.Context())
		return nil
	}))
	if status, _, body := answer(t, dial(t, host, get)); status != 200 || body != "" {
		t.Errorf("%d %q", status, body)
	}
	if err := <-ended; !errors.Is(err, errGone) || !strings.Contains(log.String(), "rotten") {
		t.Errorf("the stream ended with %v, the log is %s", err, log.String())
	}
}

func TestAReaderThatDoesNotReadIsDropped(t *testing.T) {
	t.Parallel()
	ends := make(chan End, 1)
	k := New(Config{WriteTimeout: 100 * time.Millisecond, Closed: func(e End) { ends <- e }})
	dial(t, serve(t, flood(k)), get)
	if got := receive(t, ends); got != EndSlow {
		t.Errorf("it ended as %q", got)
	}
}

func TestAReaderThatLeavesEndsItsStream(t *testing.T) {
	t.Parallel()
	ends := make(chan End, 1)
	k := New(Config{Closed: func(e End) { ends <- e }})
	conn := dial(t, serve(t, idle(k)), get)
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if got := receive(t, ends); got != EndGone {
		t.Errorf("it ended as %q", got)
	}
}

// idle holds a stream until it is over.
func idle(k *Kit) http.Handler {
	return k.Handle(func(w http.ResponseWriter, r *http.Request) error {
		s, err := k.Open(w, r)
		if err != nil {
			return err
		}
		defer s.Close()
		<-s.Context().Done()
		return nil
	})
}

func TestStreamsEndCleanlyOnDrain(t *testing.T) {
	t.Parallel()
	drain, begin := context.WithCancel(t.Context())
	ends := make(chan End, 2)
	k := New(Config{Drain: drain, DrainSpread: 50 * time.Millisecond, Closed: func(e End) { ends <- e }})
	host := serve(t, idle(k))
	before := dial(t, host, get)
	if _, err := before.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	begin()
	if rest, err := io.ReadAll(before); err != nil || !strings.HasSuffix(string(rest), "\r\n0\r\n\r\n") {
		t.Errorf("the stream ended with %v after %q", err, rest)
	}
	// EventSource never comes back after an error, so whoever is not sent elsewhere yet gets a stream, a short one.
	if status, _, _ := answer(t, dial(t, host, get)); status != 200 {
		t.Errorf("a stream during the drain is answered with %d", status)
	}
	for range 2 {
		if got := receive(t, ends); got != EndDrain {
			t.Errorf("it ended as %q", got)
		}
	}
}

func TestAClientHasSoManyStreams(t *testing.T) {
	t.Parallel()
	ends := make(chan End, 3)
	k := New(Config{StreamsPerClient: 2, Closed: func(e End) { ends <- e }})
	inner := idle(k)
	host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner.ServeHTTP(w, r.WithContext(WithToken(r.Context(), r.Header.Get("X-Token"))))
	}))
	open := func(token string) net.Conn {
		conn := dial(t, host, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Token: "+token+"\r\n\r\n")
		var status [12]byte
		if _, err := io.ReadFull(conn, status[:]); err != nil || string(status[:]) != "HTTP/1.1 200" {
			t.Fatalf("%s %v", status, err)
		}
		return conn
	}
	first := open("")
	open("")
	status, header, body := answer(t, dial(t, host, get))
	if status != 429 || header.Get("Retry-After") != "1" || !strings.Contains(body, "this client has 2 open streams") {
		t.Errorf("%d %s", status, body)
	}
	open("another")
	first.Close()
	receive(t, ends)
	open("")
}

func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatal("waited in vain")
		panic("unreachable")
	}
}

// TestAHeadOfAStreamEnds: the client takes the answer for whole, and sends its next request on the same connection.
func TestAHeadOfAStreamEnds(t *testing.T) {
	t.Parallel()
	k := New(Config{})
	conn := dial(t, serve(t, idle(k)), "HEAD / HTTP/1.1\r\nHost: x\r\n\r\nHEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	both, err := io.ReadAll(conn)
	if err != nil || strings.Count(string(both), "HTTP/1.1 200") != 2 {
		t.Errorf("%q %v", both, err)
	}
}
