package main

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"processor/internal/chat"
)

// Metrics are what a replica tells Prometheus. Label values come from closed sets, which all start at zero, and a chat's id is
// never one. The methods of metrics_hooks.go feed them.
type Metrics struct {
	transitions       *prometheus.CounterVec   // transition
	transitionErrors  *prometheus.CounterVec   // transition, kind
	transitionSeconds *prometheus.HistogramVec // transition
	fenced            *prometheus.CounterVec   // transition

	queueWait         prometheus.Histogram
	modelCalls        *prometheus.CounterVec // outcome
	modelCallSeconds  prometheus.Histogram
	firstTokenSeconds prometheus.Histogram
	tokens            *prometheus.CounterVec // kind
	yields            *prometheus.CounterVec // cause

	heartbeatSeconds  prometheus.Histogram
	heartbeatFailures prometheus.Counter
	leaseLosses       prometheus.Counter

	sweeps       *prometheus.CounterVec // result
	sweepSeconds prometheus.Histogram
	sweepSuccess prometheus.Gauge
	lostWorkers  *prometheus.CounterVec // cause
	takeovers    *prometheus.CounterVec // cause
	recovered    prometheus.Counter
	parked       prometheus.Counter
	probes       *prometheus.CounterVec // outcome
	redispatches prometheus.Counter
	violations   *prometheus.GaugeVec // kind

	requests       *prometheus.CounterVec   // endpoint, status
	requestSeconds *prometheus.HistogramVec // endpoint
}

// Sources are read when somebody scrapes.
type Sources struct {
	// Load is how many chats run, how many of them are suspects, and how many may run.
	Load func() (running, suspects, slots int)
	// Looks, EventsDropped, FeedsDropped and StreamsRepaired are totals of the bus; each may be nil.
	Looks           func() uint64
	EventsDropped   func() uint64
	FeedsDropped    func() uint64
	StreamsRepaired func() uint64
}

// NewMetrics registers everything with reg.
func NewMetrics(reg *prometheus.Registry, from Sources) *Metrics {
	r := recorder{reg}
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	from.register(r)
	return &Metrics{
		transitions:       r.counters("transitions_total", "Committed transitions of chats.", labels{"transition", transitions()}),
		transitionErrors:  r.counters("transition_errors_total", "Transitions that were refused, or failed.", labels{"transition", transitions()}, labels{"kind", errorKinds()}),
		transitionSeconds: r.histograms("transition_seconds", "Time that a transition took in the database.", fast(), labels{"transition", transitions()}),
		fenced:            r.counters("fenced_total", "Writes of a run refused because the chat had moved on.", labels{"transition", transitions()}),

		queueWait:         r.histogram("queue_wait_seconds", "Time from accepting a message to the claim that answers it.", slow()),
		modelCalls:        r.counters("model_calls_total", "Calls of models.", labels{"outcome", modelOutcomes()}),
		modelCallSeconds:  r.histogram("model_call_seconds", "Time that a call of a model took.", slow()),
		firstTokenSeconds: r.histogram("first_token_seconds", "Time to a model's first token.", slow()),
		tokens:            r.counters("tokens_total", "Tokens as the providers count them.", labels{"kind", []string{"input", "output"}}),
		yields:            r.counters("yields_total", "Chats given back unfinished.", labels{"cause", yieldCauses()}),

		heartbeatSeconds:  r.histogram("heartbeat_seconds", "Time that a heartbeat took.", fast()),
		heartbeatFailures: r.counter("heartbeat_failures_total", "Heartbeats that failed."),
		leaseLosses:       r.counter("lease_losses_total", "Times that this replica was declared lost."),

		sweeps:       r.counters("sweeps_total", "Sweeps that this replica tried.", labels{"result", []string{"done", "elsewhere", "failed"}}),
		sweepSeconds: r.histogram("sweep_seconds", "Time that a sweep took, when this replica held the lock.", fast()),
		sweepSuccess: r.gauge("sweep_last_success_timestamp_seconds", "When this replica last did a sweep, or saw that another one holds the lock."),
		lostWorkers:  r.counters("workers_lost_total", "Replicas that this one declared lost.", labels{"cause", []string{string(chat.LostGone), string(chat.LostAge)}}),
		takeovers:    r.counters("takeovers_total", "Chats taken from a lost owner.", labels{"cause", lostCauses()}),
		recovered:    r.counter("recovered_total", "Chats taken from a lost owner to be answered by another one."),
		parked:       r.counter("parked_total", "Chats taken from a lost owner and parked, because they cost too many."),
		probes:       r.counters("probes_total", "Probes of replicas.", labels{"outcome", []string{"no_responders", "answered", "unknown"}}),
		redispatches: r.counter("redispatches_total", "Dispatches published again because the stream had none."),
		violations:   r.gauges("violations", "Chats found against the promise that none is stuck, by the last sweep here.", labels{"kind", []string{"unowned", "undispatched"}}),

		requests:       r.counters("requests_total", "Requests to the API.", labels{"endpoint", append(Endpoints(), other)}, labels{"status", statuses()}),
		requestSeconds: r.histograms("request_seconds", "Time that a request to the API took.", fast(), labels{"endpoint", append(Endpoints(), other)}),
	}
}

func (s Sources) register(r recorder) {
	gauge := func(name, help string, read func(running, suspects, slots int) int) {
		r.reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, func() float64 {
			return float64(read(s.Load()))
		}))
	}
	gauge("runs_in_flight", "Chats that this replica runs.", func(running, _, _ int) int { return running })
	gauge("suspects_in_flight", "Of these, chats that killed their last owners.", func(_, suspects, _ int) int { return suspects })
	gauge("slots", "Chats that this replica may run at a time.", func(_, _, slots int) int { return slots })
	total := func(name, help string, read func() uint64) {
		if read == nil {
			read = func() uint64 { return 0 }
		}
		r.reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, func() float64 {
			return float64(read())
		}))
	}
	total("looks_total", "Looks for pending chats in Postgres because no dispatches were heard.", s.Looks)
	total("events_dropped_total", "Live events and partials that were not published.", s.EventsDropped)
	total("feeds_dropped_total", "Watchers that were dropped because they were too slow.", s.FeedsDropped)
	total("streams_repaired_total", "Streams and consumers made again because they were gone.", s.StreamsRepaired)
}

// Endpoints are the names that the API is served under, each at chats.<name>.
func Endpoints() []string {
	return []string{"create", "send", "get", "messages", "queue", "list", "interrupt", "retry", "truncate", "update", "delete", "workers", "snapshot"}
}

func transitions() []string {
	seen := map[chat.Transition]bool{}
	var names []string
	for _, rule := range chat.Rules() {
		if !seen[rule.Transition] {
			seen[rule.Transition] = true
			names = append(names, string(rule.Transition))
		}
	}
	return names
}

// other keeps a label's set closed when a newer package says a word that this one does not know.
const other = "other"

func errorKinds() []string { return []string{"refused", "failed"} }

func lostCauses() []string {
	return []string{string(chat.LostGone), string(chat.LostAge), string(chat.LostRow)}
}

func modelOutcomes() []string {
	return []string{
		"ok", "cancelled", chat.CodeRateLimited, chat.CodeUnavailable, chat.CodeConnection, chat.CodeStalled, chat.CodeBadResponse,
		chat.CodeAuth, chat.CodeQuota, chat.CodeBadRequest, chat.CodeUnknownModel, chat.CodeContextOverflow, other,
	}
}

func yieldCauses() []string { return []string{"shutdown", other} }

func statuses() []string {
	return []string{"200", "400", "404", "409", "413", "422", "429", "503", other}
}
