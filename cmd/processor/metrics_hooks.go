package main

import (
	"errors"
	"slices"
	"strconv"
	"time"

	"processor/internal/chat"
	"processor/internal/sweeper"
)

// Processor are the hooks of a run.
func (m *Metrics) Processor() chat.Hooks {
	return chat.Hooks{Transition: m.Transition, QueueWait: m.QueueWait, ModelCall: m.ModelCall, Yielded: m.Yielded, Fenced: m.Fenced}
}

// Sweeper are the hooks of the recovery.
func (m *Metrics) Sweeper() sweeper.Hooks {
	return sweeper.Hooks{Swept: m.Swept, Probed: m.Probed, Redispatched: m.Redispatched}
}

// Transition takes what became of one, of a run or of a command.
func (m *Metrics) Transition(t chat.Transition, elapsed time.Duration, err error) {
	m.transitionSeconds.WithLabelValues(string(t)).Observe(elapsed.Seconds())
	switch {
	case err == nil:
		m.transitions.WithLabelValues(string(t)).Inc()
	case isRefusal(err):
		m.transitionErrors.WithLabelValues(string(t), "refused").Inc()
	default:
		m.transitionErrors.WithLabelValues(string(t), "failed").Inc()
	}
}

// isRefusal tells what the rules refused from what broke.
func isRefusal(err error) bool {
	var refusal *chat.Error
	return errors.As(err, &refusal) || slices.ContainsFunc(
		[]error{chat.ErrNothingToDo, chat.ErrSuspect, chat.ErrNotEntitled, chat.ErrFenced, chat.ErrInterrupted},
		func(known error) bool { return errors.Is(err, known) })
}

// QueueWait takes how long a message waited for its claim.
func (m *Metrics) QueueWait(d time.Duration) { m.queueWait.Observe(d.Seconds()) }

// ModelCall takes a call's outcome.
func (m *Metrics) ModelCall(outcome string, first, elapsed time.Duration, u chat.Usage) {
	m.modelCalls.WithLabelValues(oneOf(modelOutcomes(), outcome)).Inc()
	m.modelCallSeconds.Observe(elapsed.Seconds())
	if first > 0 {
		m.firstTokenSeconds.Observe(first.Seconds())
	}
	m.tokens.WithLabelValues("input").Add(float64(max(u.InputTokens, 0)))
	m.tokens.WithLabelValues("output").Add(float64(max(u.OutputTokens, 0)))
}

// Yielded takes why a chat was given back.
func (m *Metrics) Yielded(cause error) {
	word := other
	if errors.Is(cause, chat.CauseShutdown) {
		word = "shutdown"
	}
	m.yields.WithLabelValues(word).Inc()
}

// Fenced takes a write that came too late.
func (m *Metrics) Fenced(t chat.Transition) { m.fenced.WithLabelValues(string(t)).Inc() }

// Beaten takes one heartbeat.
func (m *Metrics) Beaten(elapsed time.Duration, err error) {
	m.heartbeatSeconds.Observe(elapsed.Seconds())
	if err != nil {
		m.heartbeatFailures.Inc()
	}
}

// LeaseLost takes that this replica was declared lost.
func (m *Metrics) LeaseLost() { m.leaseLosses.Inc() }

// Swept takes one pass of a sweep.
func (m *Metrics) Swept(r chat.Report, elapsed time.Duration, err error) {
	if err != nil {
		m.sweeps.WithLabelValues("failed").Inc()
		return
	}
	m.sweepSuccess.SetToCurrentTime()
	m.violations.WithLabelValues("unowned").Set(float64(r.Unowned))
	if !r.Held {
		m.violations.WithLabelValues("undispatched").Set(0) // whoever sweeps says it
		m.sweeps.WithLabelValues("elsewhere").Inc()
		return
	}
	m.sweeps.WithLabelValues("done").Inc()
	m.sweepSeconds.Observe(elapsed.Seconds())
	for _, w := range r.Lost {
		m.lostWorkers.WithLabelValues(string(w.Cause)).Inc()
	}
	m.transitions.WithLabelValues(string(chat.Recover)).Add(float64(len(r.Recovered)))
	for _, c := range r.Recovered {
		m.takeovers.WithLabelValues(string(c.Cause)).Inc()
		if c.Chat.Status == chat.Parked {
			m.parked.Inc()
		} else {
			m.recovered.Inc()
		}
	}
}

// Probed takes what a probe of another replica found.
func (m *Metrics) Probed(a sweeper.Answer) {
	word := "unknown"
	switch a {
	case sweeper.Answered:
		word = "answered"
	case sweeper.NoResponders:
		word = "no_responders"
	case sweeper.Unknown:
	}
	m.probes.WithLabelValues(word).Inc()
}

// Redispatched takes how many chats waited without a dispatch, and how many of them got one.
func (m *Metrics) Redispatched(missing, published int) {
	m.violations.WithLabelValues("undispatched").Set(float64(missing - published))
	m.redispatches.Add(float64(published))
}

// Request takes one request of the API.
func (m *Metrics) Request(endpoint string, status int, elapsed time.Duration) {
	endpoint = oneOf(Endpoints(), endpoint)
	m.requests.WithLabelValues(endpoint, oneOf(statuses(), strconv.Itoa(status))).Inc()
	m.requestSeconds.WithLabelValues(endpoint).Observe(elapsed.Seconds())
}

func oneOf(set []string, word string) string {
	if slices.Contains(set, word) {
		return word
	}
	return other
}
