package main

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestReadinessIsSaidWithItsReason(t *testing.T) {
	t.Parallel()
	ready := NewReadiness()
	h := opsHandler(ready, prometheus.NewRegistry())
	expect := func(path string, code int, body string) {
		t.Helper()
		if gotCode, gotBody := get(t, h, path); gotCode != code || strings.TrimSpace(gotBody) != body {
			t.Errorf("%s: got %d %q, want %d %q", path, gotCode, gotBody, code, body)
		}
	}
	expect("/readyz", 503, "starting")
	expect("/healthz", 200, "ok")
	ready.Ready()
	expect("/readyz", 200, "ok")
	ready.NotReady("draining")
	expect("/readyz", 503, "draining")
	expect("/healthz", 200, "ok")
}

func TestServeHTTPLetsARequestFinishAndThenEndsItsContext(t *testing.T) {
	t.Parallel()
	ln, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	inside, ended := make(chan struct{}), make(chan struct{})
	served := make(chan error, 1)
	go func() {
		served <- serveHTTP(ctx, ln, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(inside)
			<-r.Context().Done()
			close(ended)
		}))
	}()
	go func() {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+ln.Addr().String(), nil)
		if err != nil {
			return
		}
		if resp, err := http.DefaultClient.Do(r); err == nil {
			resp.Body.Close()
		}
	}()
	<-inside
	stop()
	<-ended
	if err := <-served; err != nil {
		t.Fatalf("serveHTTP: %v", err)
	}
	d := &deployment{t: t}
	d.await("the port is closed", func() bool { // a program that another test starts has a copy of the listener for a moment
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
}

// TestHealthAsksNoProxy: one that the environment names would answer for a host that does not exist.
func TestHealthAsksNoProxy(t *testing.T) {
	t.Parallel()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w, nil) }))
	t.Cleanup(proxy.Close)
	p := startIn(t, t.TempDir(), []string{"HTTP_PROXY=" + proxy.URL, "NO_PROXY="}, "health", "--http", "nosuch.invalid:8080")
	if code := p.exit(); code != 1 || strings.Contains(p.out.String(), "ok") {
		t.Errorf("health exits with %d: %s %s", code, p.out, p.err)
	}
}

func TestATakenPortSaysWhatToDo(t *testing.T) {
	t.Parallel()
	ln, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if _, err = listen(ln.Addr().String()); err == nil || !strings.Contains(err.Error(), "--http") {
		t.Errorf("got %v, want an error that names --http", err)
	}
}
