package llmtest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"processor/internal/chat"
	"processor/internal/chat/llm/llmtest"
	"processor/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func limit(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// serve makes a provider as a process of its own would, without a testing.T.
func serve(t *testing.T) (*llmtest.Provider, *httptest.Server) {
	t.Helper()
	p := llmtest.NewProvider()
	server := httptest.NewServer(p.Handler())
	t.Cleanup(func() { p.Close(); server.CloseClientConnections(); server.Close() })
	return p, server
}

// ask sends the text in OpenAI's format and returns status and body; a body that breaks off is returned as far as it came.
func ask(t *testing.T, server *httptest.Server, id, text string) (int, string) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"model": "m", "messages": []any{map[string]any{"role": "user", "content": text}}})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(limit(t), http.MethodPost, server.URL+"/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(chat.CallHeader, id)
	res, err := server.Client().Do(req)
	if err != nil {
		return 0, ""
	}
	defer res.Body.Close()
	said, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(said)
}

func TestFaultsStrikeAsOftenAsAsked(t *testing.T) {
	t.Parallel()
	p, server := serve(t)
	var statuses []int
	for _, id := range []string{"c1/1/0/1/1", "c1/1/0/2/2", "c1/1/0/3/3", "c2/1/0/1/1"} {
		status, _ := ask(t, server, id, "hello #status=503 #times=2")
		statuses = append(statuses, status)
	}
	if want := []int{503, 503, 200, 503}; !equal(statuses, want) {
		t.Errorf("statuses %v, want %v", statuses, want)
	}
	for i, c := range p.Calls() {
		if want := statuses[i] == 200; (c.Outcome == llmtest.Finished) != want {
			t.Errorf("call %d: outcome %s", i, c.Outcome)
		}
	}
}

func equal(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func TestAHeldStreamGoesOnWhenItsGateIsOpenedFromOutside(t *testing.T) {
	t.Parallel()
	p, server := serve(t)
	said := make(chan string, 1)
	go func() {
		_, body := ask(t, server, "c1/1/0/1/1", "#tokens=3 #hold=2")
		said <- body
	}()
	select {
	case c := <-p.Gate("c1").Arrived():
		if c.Chat() != "c1" || c.Turn() != "c1/1" || p.Open() != 1 {
			t.Errorf("held %+v, %d open", c, p.Open())
		}
	case <-limit(t).Done():
		t.Fatal("nobody came to the gate")
	}
	res, err := server.Client().Post(server.URL+"/gates/c1", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if body := <-said; !strings.Contains(body, `"w2 "`) || !strings.HasSuffix(body, "data: [DONE]\n\n") {
		t.Errorf("said %s", body)
	}
}

func TestTheLogOfCallsIsReadFromOutside(t *testing.T) {
	t.Parallel()
	p, server := serve(t)
	for _, text := range []string{"one", "two #cut=1"} {
		ask(t, server, "c1/1/0/1/1", text)
	}
	done := func(calls []llmtest.Call) bool { return len(calls) == 2 && calls[1].Outcome != "" }
	if err := p.Await(limit(t), done); err != nil {
		t.Fatal(err)
	}
	res, err := server.Client().Get(server.URL + "/calls")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var outcomes []llmtest.Outcome
	for dec := json.NewDecoder(res.Body); dec.More(); {
		var c llmtest.Call
		if err := dec.Decode(&c); err != nil {
			t.Fatal(err)
		}
		outcomes = append(outcomes, c.Outcome)
	}
	if len(outcomes) != 2 || outcomes[0] != llmtest.Finished || outcomes[1] != llmtest.Cut {
		t.Errorf("outcomes %v", outcomes)
	}
}

func TestOnlyTheLastCallsAreKept(t *testing.T) {
	t.Parallel()
	p, server := serve(t)
	p.Keep = 2
	for range 9 {
		ask(t, server, "c1/1/0/1/1", "x")
	}
	calls := p.Calls()
	if len(calls) > 4 || calls[len(calls)-1].N != 9 || p.Count() != 9 {
		t.Errorf("%d calls kept of %d", len(calls), p.Count())
	}
}

func TestAwaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	p, _ := serve(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Await(ctx, func([]llmtest.Call) bool { return false }); err == nil {
		t.Error("no error")
	}
}

func TestAToolIsCalledUntilItsResultIsThere(t *testing.T) {
	t.Parallel()
	_, server := serve(t)
	if _, said := ask(t, server, "c1/1/0/1/1", "#tool=clock"); !strings.Contains(said, `"name":"clock"`) || !strings.Contains(said, `"tool_calls"`) {
		t.Errorf("said %s", said)
	}
}
