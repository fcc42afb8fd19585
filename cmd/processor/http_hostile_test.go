package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"processor/internal/chat"
)

// raw opens a connection of one's own to a replica.
func (w *web) raw(request string) net.Conn {
	w.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.base, "http://"))
	w.must(err)
	w.t.Cleanup(func() { conn.Close() })
	w.must(conn.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(conn, request)
	w.must(err)
	return conn
}

// TestSlowAndOversizedRequestsAreEndedWhileOthersAreServed holds many connections open with half a request each.
func TestSlowAndOversizedRequestsAreEndedWhileOthersAreServed(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	w := d.over(d.startHTTP("a").http)
	d.create("c")
	var half []net.Conn
	for range 200 {
		half = append(half, w.raw("POST /v1/chats/c/messages HTTP/1.1\r\nHost: x\r\nX-Slow: "))
	}
	for _, conn := range half[:100] {
		_, err := io.WriteString(conn, "a")
		d.must(err)
	}
	began := time.Now()
	answerOf[chat.ChatReply](w, 200, "GET", "/v1/chats/c", "")
	if took := time.Since(began); took > headerTimeout {
		t.Errorf("beside half requests, a whole one took %s", took)
	}
	for _, conn := range half {
		if rest, err := io.ReadAll(conn); err != nil || len(rest) > 0 && !strings.HasPrefix(string(rest), "HTTP/1.1 408") {
			t.Fatalf("half a request ended with %q, %v", rest, err)
		}
	}

	big := w.do("POST", "/v1/chats/c/messages", `{"text":"`+strings.Repeat("x", 5<<20)+`"}`)
	if e := big.refusal(); big.status != 413 || e.Code != chat.TooLarge {
		t.Errorf("a body of 5 MiB: %d %+v", big.status, e)
	}
	for request, want := range map[string]string{
		"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + strings.Repeat("x", 128<<10) + "\r\n\r\n":                   "431",
		"POST /v1/chats HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n{}": "413",
		"GET /v1/chats HTTP/1.1\r\n\r\n":       "400", // no host
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc": "400", // TLS
		"GET /v1/chats HTTP/9.9\r\n\r\n":       "505",
	} {
		conn := w.raw(request)
		line, err := bufio.NewReader(conn).ReadString('\n')
		if !strings.Contains(line, " "+want+" ") && !strings.HasPrefix(want, "431") {
			t.Errorf("%.60q is answered with %q, %v", request, line, err)
		}
		conn.Close()
	}
	if n := len(d.history("c")); n != 0 {
		t.Errorf("%d messages were accepted", n)
	}
}

// TestBodiesThatDoNotArriveTakeNobodysPlace: more requests wait for their bodies than are served at once, and others are served.
func TestBodiesThatDoNotArriveTakeNobodysPlace(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	w := d.over(d.startHTTP("a").http)
	d.create("c")
	const body = `{"text":"#tokens=2"}`
	var waiting []net.Conn
	for range 600 {
		waiting = append(waiting, w.raw(fmt.Sprintf("POST /v1/chats/c/messages HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", len(body))),
			w.raw(fmt.Sprintf("PATCH /v1/chats/c HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", len(body))))
	}
	for i, conn := range waiting { // it is said when the body is waited for
		if line, err := bufio.NewReader(conn).ReadString('\n'); !strings.Contains(line, "100 Continue") {
			t.Fatalf("request %d is answered with %q, %v", i, line, err)
		}
	}
	answerOf[chat.ChatReply](w, 200, "GET", "/v1/chats/c", "")
	_, err := io.WriteString(waiting[0], body)
	d.must(err)
	d.answered("c")
}

// TestAWatcherThatNeverReadsHarmsNobody streams megabytes to one client that reads nothing and to one that reads.
func TestAWatcherThatNeverReadsHarmsNobody(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	a := d.startHTTP("a")
	w := d.over(a.http)
	d.create("c")
	for range 20 {
		conn := w.raw("")
		d.must(conn.(*net.TCPConn).SetReadBuffer(4 << 10))
		_, err := io.WriteString(conn, "GET /v1/chats/c/events HTTP/1.1\r\nHost: x\r\n\r\n")
		d.must(err)
	}
	reader := w.stream("/v1/chats/c/events", "")
	text := strings.Repeat("0123456789abcde ", 15<<10) // 240 KiB, which come as deltas and then as a message, twice
	for turn := range 4 {
		d.say("c", text)
		reader.until("the answer", framed("status", `"status":"waiting"`, fmt.Sprintf(`"turn":%d`, turn+1)))
	}
	d.await("who does not read is dropped", func() bool {
		return a.metric(`processor_http_streams_ended_total{end="slow"}`) == 20
	})
	if got := a.metric("processor_http_streams"); got != 1 {
		t.Errorf("%v streams are open", got)
	}
	d.rising(reader.seen)
	d.sameHistory("c", settledIn(reader.seen))
}

// TestHTTPAcceptsWhileNATSIsDown and answers when it is back; nothing that asks NATS holds a request up for long.
func TestHTTPAcceptsWhileNATSIsDown(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	w := d.over(d.startHTTP("a", "--redispatch-after", "500ms").http)
	d.send("busy", "#tokens=20 #hold=10")
	d.held("busy")
	stream := w.stream("/v1/chats/busy/events", "")
	stream.until("some of the answer", framed("delta", "w9"))
	d.nats.Stop()
	began := time.Now()
	answerOf[chat.CreateReply](w, 201, "POST", "/v1/chats", `{"id":"c","message":{"text":"#tokens=3"}}`)
	answerOf[chat.SendReply](w, 202, "POST", "/v1/chats/busy/messages", `{"text":"#tokens=3"}`)
	answerOf[chat.ChatReply](w, 200, "POST", "/v1/chats/c/interrupt", "")
	answerOf[chat.SendReply](w, 202, "POST", "/v1/chats/c/messages", `{"text":"#tokens=3"}`)
	answerOf[chat.ListReply](w, 200, "GET", "/v1/chats", "")
	answerOf[chat.MessagesReply](w, 200, "GET", "/v1/chats/busy/messages", "")
	answerOf[chat.CreateReply](w, 201, "POST", "/v1/chats", `{"id":"gone"}`)
	if got := w.do("DELETE", "/v1/chats/gone", ""); got.status != 200 {
		t.Errorf("delete: %d %s", got.status, got.body)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("8 requests took %s without NATS", took)
	} else {
		t.Logf("8 requests took %s without NATS", took)
	}
	d.provider.Gate("busy").Open()
	d.must(d.nats.Restart(d.ctx))
	d.answered("c")
	d.answered("busy")
	stream.until("the second answer", framed("status", `"status":"waiting"`, `"turn":2`))
	d.rising(stream.seen)
	d.sameHistory("busy", settledIn(stream.seen))
}

// secrets are what no answer may have: SQL, Go, addresses and paths of the inside.
var secrets = regexp.MustCompile(`(?i)sqlstate|select .* from|processor\.(chats|messages)|pgx|goroutine|\.go:\d|nats:|postgres:|127\.0\.0\.1:|/internal/|panic`)

// TestTenThousandRandomRequests are made with one tenant's token, beside a chat of another's.
func TestTenThousandRandomRequests(t *testing.T) {
	t.Parallel()
	a := deploy(t).raw()
	p := a.startHTTP("a", "--http-token", "t=ours,u=theirs", "--http-streams-per-client", "50")
	a.ctx = t.Context() // each request has a limit of its own, and all of them take as long as the machine is slow
	w := a.over(p.http)
	w.client.Timeout = patience
	w.api = nil // streams are left at once, and what the document says of errors is looked at elsewhere
	answerOf[chat.CreateReply](w.as("ours"), 201, "POST", "/v1/chats", `{"id":"safe","message":{"text":"#tokens=3"}}`)
	a.answered("safe")
	before := a.history("safe")
	const requests, clients = 10_000, 8
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	counts := make([]map[int]int, clients)
	var group sync.WaitGroup
	for i := range clients {
		group.Go(func() {
			f := fuzzer{web: w.as("theirs"), rand: rand.New(rand.NewPCG(seed, uint64(i))), counts: map[int]int{}, seeds: fuzzSeeds()}
			for n := range requests / clients {
				if n%20 == 0 {
					f.counts[f.do("POST", "/v1/chats", `{"id":"mine"}`).status]++ // the others may have deleted it
					f.counts[f.do("POST", "/v1/chats/mine/messages", `{"text":"#tokens=1"}`).status]++
				}
				f.try()
			}
			counts[i] = f.counts
		})
	}
	group.Wait()
	total := map[int]int{}
	for _, c := range counts {
		for status, n := range c {
			total[status] += n
		}
	}
	t.Logf("answers: %v", total)
	if total[200] == 0 || total[201] == 0 || total[202] == 0 || total[400] == 0 || total[401] == 0 || total[404] == 0 || total[422] == 0 {
		t.Errorf("the requests are not random enough: %v", total)
	}
	if diff := cmp.Diff(before, a.history("safe")); diff != "" {
		t.Errorf("another tenant's chat has changed: %s", diff)
	}
	if status, _ := p.get("/readyz"); status != 200 {
		t.Errorf("the replica is not ready: %d", status)
	}
	if log := p.log.String(); strings.Contains(log, "panicked") || strings.Contains(log, "theirs") {
		t.Error("a request panicked, or a token was logged")
	}
	a.say("safe", "#tokens=3")
	if n := len(a.answered("safe")); n != 4 {
		t.Errorf("the chat has %d messages", n)
	}
}

// fuzzer makes requests that are nearly right.
type fuzzer struct {
	*web
	rand   *rand.Rand
	counts map[int]int
	seeds  []string
}

func pick[T any](f *fuzzer, list ...T) T { return list[f.rand.IntN(len(list))] }

func (f *fuzzer) try() {
	f.t.Helper()
	body := f.body()
	r, err := http.NewRequestWithContext(f.ctx, f.method(), f.base+f.path(), bytes.NewReader(body))
	if err != nil {
		return // an address that Go's own client refuses
	}
	r.Header.Set("Authorization", pick(f, "Bearer theirs", "Bearer theirs", "Bearer theirs", "Bearer theirs", "Bearer theirs", "Bearer theirs", "Bearer theirs", "Bearer theirs", "Bearer theirs", "bearer theirs", "Basic theirs", "Bearer ours2", "theirs", "", "Bearer "+strings.Repeat("x", 2000)))
	r.Header.Set("Content-Type", pick(f, "application/json", "text/plain", "application/x-www-form-urlencoded", "a/b; c=\xff", ""))
	if f.rand.IntN(10) == 0 {
		r.Header.Set(pick(f, "Last-Event-ID", "Origin", "Accept", "Range", "Content-Encoding", "X-HTTP-Method-Override"), sendable(f.word()))
	}
	response, err := f.client.Do(r)
	if err != nil {
		f.t.Errorf("%s %s was not answered: %v", r.Method, r.URL, err)
		return
	}
	defer response.Body.Close()
	f.counts[response.StatusCode]++
	if strings.HasPrefix(response.Header.Get("Content-Type"), "text/event-stream") {
		return
	}
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		f.t.Errorf("%s %s: %v", r.Method, r.URL, err)
	}
	f.look(r, response.StatusCode, raw, body)
}

// look checks one answer. What a client sent itself comes back to it, and is no secret.
func (f *fuzzer) look(r *http.Request, status int, raw, body []byte) {
	f.t.Helper()
	if status >= 500 {
		f.t.Errorf("%s %s %.200q: %d %.300s", r.Method, r.URL, body, status, raw)
	}
	own := strings.HasPrefix(r.URL.Path, "/openapi") || r.Method == http.MethodHead
	if !own && secrets.Match(raw) {
		f.t.Errorf("%s %s is answered with what is not a caller's: %.500s", r.Method, r.URL, raw)
	}
	if bytes.Contains(raw, []byte(`"safe"`)) && !strings.Contains(r.URL.String(), "safe") && !bytes.Contains(body, []byte("safe")) {
		f.t.Errorf("%s %s shows another tenant's chat: %.300s", r.Method, r.URL, raw)
	}
	if status >= 400 && status != 404 && status != 405 && r.Method != http.MethodHead && !json.Valid(raw) {
		f.t.Errorf("%s %s: %d %.200q", r.Method, r.URL, status, raw)
	}
}

func (f *fuzzer) method() string {
	return pick(f, "GET", "GET", "GET", "POST", "POST", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS", "BREW")
}

func (f *fuzzer) path() string {
	id := url.PathEscape(pick(f, "safe", "mine", "mine", "mine2", "nobody", "..", "a.b", "*", "", f.word()))
	path := pick(f, "/v1/chats", "/v1/chats/"+id, "/v1/chats/"+id+"/messages", "/v1/chats/"+id+"/messages", "/v1/chats/"+id+"/events", "/v1/chats/"+id+"/queue", "/v1/chats/"+id+"/interrupt",
		"/v1/chats/"+id+"/retry", "/v1/chats/"+id+"/truncate", "/v1/events", "/v1/workers", "/v1/"+url.PathEscape(f.word()), "//v1/chats/../chats", "/openapi.json", "/"+url.PathEscape(f.word()))
	if f.rand.IntN(3) == 0 {
		path += "?" + pick(f, "limit", "after", "status", "tenant", "cursor", "last_event_id", f.word()) + "=" + pick(f, "1", "-1", "0", "t", "u", "waiting", "1-1-1-1", "9999999999999999999", "%zz", url.QueryEscape(f.word()))
	}
	return path
}

func (f *fuzzer) body() []byte {
	text := pick(f, "#tokens=2", "hello", "", "\x00", "\xff\xfe", strings.Repeat("x", 300<<10), f.word())
	raw := []byte(pick(f, "", "{}", "null", "[]", "not JSON", `{"text":`+quoted(text)+`}`, `{"id":"mine","message":{"text":`+quoted(text)+`}}`, `{"id":"mine2","tenant":"t"}`,
		`{"id":"safe"}`, `{"message":1}`, `{"turn":1}`, `{"text":"a","busy":"interrupt","client_id":"x"}`, `{"text":"b","client_id":"x"}`, `{"metadata":{"a":[1,{"b":null}]}}`, `{"title":`+quoted(text)+`}`, pick(f, f.seeds...)))
	for range f.rand.IntN(3) {
		if len(raw) > 0 && f.rand.IntN(2) == 0 {
			raw[f.rand.IntN(len(raw))] = byte(f.rand.IntN(256))
		}
	}
	return raw
}

func (f *fuzzer) word() string {
	b := make([]byte, f.rand.IntN(80))
	for i := range b {
		b[i] = pick(f, byte('a'+f.rand.IntN(26)), byte(f.rand.IntN(256)), byte('\''), byte('%'), byte(0))
	}
	return string(b)
}

// sendable is what Go's client agrees to send as a header.
func sendable(word string) string {
	b := []byte(word)
	for i := range b {
		if b[i] < ' ' || b[i] == 0x7f {
			b[i] = '?'
		}
	}
	return string(b)
}

func quoted(text string) string {
	raw, _ := json.Marshal(text)
	return string(raw)
}
