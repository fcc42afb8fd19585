package main

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"processor/internal/chat"
	"processor/internal/sweeper"
)

func newTestMetrics() (*Metrics, *prometheus.Registry) {
	reg := prometheus.NewRegistry()
	return NewMetrics(reg, Sources{Load: func() (int, int, int) { return 3, 1, 10 }, EventsDropped: func() uint64 { return 7 }}), reg
}

func TestEveryMetricIsServedFromTheStart(t *testing.T) {
	t.Parallel()
	_, reg := newTestMetrics()
	expectLines(t, reg,
		`processor_transitions_total{transition="claim"} 0`,
		`processor_transition_errors_total{kind="refused",transition="finish"} 0`,
		`processor_transition_seconds_count{transition="send"} 0`,
		`processor_queue_wait_seconds_count 0`,
		`processor_runs_in_flight 3`,
		`processor_slots 10`,
		`processor_model_calls_total{outcome="rate_limited"} 0`,
		`processor_takeovers_total{cause="row"} 0`,
		`processor_probes_total{outcome="no_responders"} 0`,
		`processor_violations{kind="unowned"} 0`,
		`processor_events_dropped_total 7`,
		`processor_yields_total{cause="shutdown"} 0`,
		`processor_requests_total{endpoint="create",status="503"} 0`,
	)
}

func TestMetricsFollowGoodPractice(t *testing.T) {
	t.Parallel()
	_, reg := newTestMetrics()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestHooksCountWhatTheyAreTold(t *testing.T) {
	t.Parallel()
	m, reg := newTestMetrics()
	hooks := m.Processor()
	hooks.Transition(chat.Claim, time.Millisecond, nil)
	hooks.Transition(chat.Claim, time.Millisecond, chat.ErrNothingToDo)
	hooks.Transition(chat.Claim, time.Millisecond, errors.New("connection reset"))
	hooks.ModelCall("ok", time.Second, 2*time.Second, chat.Usage{InputTokens: 5, OutputTokens: 8})
	hooks.ModelCall("a word of tomorrow", 0, time.Second, chat.Usage{})
	hooks.Yielded(chat.CauseShutdown)
	m.Sweeper().Swept(chat.Report{Held: true, Unowned: 2, Recovered: []chat.Recovered{
		{Cause: chat.LostGone, Outcome: chat.Outcome{Chat: chat.Chat{Status: chat.Pending}}},
		{Cause: chat.LostAge, Outcome: chat.Outcome{Chat: chat.Chat{Status: chat.Parked}}},
	}}, time.Millisecond, nil)
	m.Sweeper().Probed(sweeper.NoResponders)
	m.Sweeper().Redispatched(4, 3)
	expectLines(t, reg,
		`processor_transitions_total{transition="claim"} 1`,
		`processor_transition_errors_total{kind="refused",transition="claim"} 1`,
		`processor_transition_errors_total{kind="failed",transition="claim"} 1`,
		`processor_model_calls_total{outcome="ok"} 1`,
		`processor_model_calls_total{outcome="other"} 1`,
		`processor_first_token_seconds_count 1`,
		`processor_tokens_total{kind="output"} 8`,
		`processor_yields_total{cause="shutdown"} 1`,
		`processor_recovered_total 1`,
		`processor_parked_total 1`,
		`processor_takeovers_total{cause="age"} 1`,
		`processor_violations{kind="unowned"} 2`,
		`processor_violations{kind="undispatched"} 1`,
		`processor_probes_total{outcome="no_responders"} 1`,
	)
}

func expectLines(t *testing.T, reg *prometheus.Registry, lines ...string) {
	t.Helper()
	_, text := get(t, opsHandler(NewReadiness(), reg), "/metrics")
	for _, line := range lines {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("metrics have no line %q", line)
		}
	}
}

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	body, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(body)
}
