package llm

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

const (
	dialTimeout = 10 * time.Second
	idleTimeout = 90 * time.Second
	// pingAfter finds an HTTP/2 connection that a firewall dropped without a word. All streams share it, so without a
	// ping every new call would go into the same hole.
	pingAfter = 15 * time.Second

	maxIdlePerHost = 4096
	maxHeader      = 256 << 10
	// The buffers of a connection: one for each stream over HTTP/1.1. Requests are larger than the one and written past it, tokens smaller than the other.
	writeBuffer  = 1 << 10
	readBuffer   = 2 << 10
	maxErrorBody = 64 << 10
	// maxEvent bounds one event of a stream. The decoders of both SDKs allow a line of 32 MiB, and any number of lines.
	maxEvent = 1 << 20

	drainTime  = 50 * time.Millisecond
	drainBytes = 4 << 10
)

var errEventTooLong = fmt.Errorf("an event of the stream is longer than %d bytes", maxEvent)

// newClient makes the client for all providers. It has no time limit of its own: answers take minutes, and the limits on
// the first token and between tokens are the caller's.
func newClient(transport http.RoundTripper) *http.Client {
	if transport == nil {
		transport = newTransport()
	}
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// newTransport keeps as many idle connections as there were streams, because net/http's two per host would make a
// handshake of nearly every call. Compression is off: it holds tokens back.
func newTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: pingAfter}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSHandshakeTimeout:    dialTimeout,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingAfter},
		MaxIdleConnsPerHost:    maxIdlePerHost,
		IdleConnTimeout:        idleTimeout,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader,
		WriteBufferSize:        writeBuffer,
		ReadBufferSize:         readBuffer,
	}
}

// exchange is the middleware of both SDKs. It turns answers that are not a stream into a *failure before the SDK sees them,
// because the SDKs read error bodies of any length and lose the status of a body that is not JSON.
func exchange(req *http.Request, next func(*http.Request) (*http.Response, error)) (*http.Response, error) {
	res, err := next(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode/100 != 2 {
		defer res.Body.Close()
		// A body that breaks off says less, but the status still decides.
		body, _ := io.ReadAll(io.LimitReader(res.Body, maxErrorBody))
		return nil, newFailure(res.StatusCode, res.Header, body)
	}
	if err := unstreamed(res); err != nil {
		return nil, err
	}
	res.Body = &eventBody{rc: res.Body}
	return res, nil
}

// noStream is an answer of another kind with the status of success, such as a page of whoever really lives at the base URL.
type noStream string

func (kind noStream) Error() string {
	return "the answer is " + string(kind) + " and not a stream of events"
}

// unstreamed looks at what is not called a stream. Some gateways tell errors as JSON with the status of success: what they say, and whether it may be
// tried again, would be lost. It may be a stream nevertheless.
func unstreamed(res *http.Response) error {
	kind, _, _ := strings.Cut(strings.ToLower(res.Header.Get("Content-Type")), ";")
	if kind == "text/event-stream" {
		return nil
	}
	body := bufio.NewReaderSize(res.Body, firstLine)
	first, err := body.Peek(1)
	if err != nil || first[0] != '{' && first[0] != '<' {
		res.Body = struct {
			io.Reader
			io.Closer
		}{body, res.Body}
		return nil
	}
	defer res.Body.Close()
	raw, _ := io.ReadAll(io.LimitReader(body, maxErrorBody))
	if f := newFailure(0, res.Header, raw); first[0] == '{' && f.message != "" {
		f.answered = true
		return f
	}
	return noStream(kind)
}

// eventBody bounds the events of a stream, and gives its connection back.
type eventBody struct {
	rc io.ReadCloser
	// event and line count the bytes since the last blank line and the last line break.
	event, line int
	last        byte
	over        bool
}

func (b *eventBody) Read(p []byte) (int, error) {
	n, err := b.rc.Read(p)
	b.measure(p[:n])
	if b.event > maxEvent {
		b.over = true
		return 0, errEventTooLong
	}
	b.over = err != nil
	return n, err
}

func (b *eventBody) measure(p []byte) {
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			b.event += len(p)
			b.line += len(p)
			b.last = p[len(p)-1]
			return
		}
		if i > 0 {
			b.last = p[i-1]
		}
		b.event += i + 1
		if n := b.line + i; n == 0 || n == 1 && b.last == '\r' {
			b.event = 0
		}
		b.line = 0
		p = p[i+1:]
	}
}

// Close reads what little may be left behind the last event, because net/http throws the connection away when a body
// was not read to its end, and the SDK stops at [DONE]. A provider that keeps talking is cut off.
func (b *eventBody) Close() error {
	if !b.over {
		b.over = true
		cut := time.AfterFunc(drainTime, func() { _ = b.rc.Close() })
		_, _ = io.CopyN(io.Discard, b.rc, drainBytes)
		cut.Stop()
	}
	return b.rc.Close()
}
