package main

import (
	"github.com/prometheus/client_golang/prometheus"
)

// namespace is the prefix of every metric.
const namespace = "processor"

// recorder makes collectors in which every value of every label exists from the start: a rate over a series that
// appears with its first event misses that event.
type recorder struct {
	reg *prometheus.Registry
}

// labels is a label with all the values that it may have.
type labels struct {
	name   string
	values []string
}

// fast are buckets for what a database does; slow are for what a model does.
func fast() []float64 { return prometheus.ExponentialBuckets(0.001, 2, 14) }
func slow() []float64 { return prometheus.ExponentialBuckets(0.01, 2, 16) }

func (r recorder) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
	r.reg.MustRegister(c)
	return c
}

func (r recorder) gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help})
	r.reg.MustRegister(g)
	return g
}

func (r recorder) histogram(name, help string, buckets []float64) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets})
	r.reg.MustRegister(h)
	return h
}

func (r recorder) counters(name, help string, sets ...labels) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, names(sets))
	r.reg.MustRegister(v)
	for _, values := range product(sets) {
		v.WithLabelValues(values...)
	}
	return v
}

func (r recorder) gauges(name, help string, sets ...labels) *prometheus.GaugeVec {
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, names(sets))
	r.reg.MustRegister(v)
	for _, values := range product(sets) {
		v.WithLabelValues(values...)
	}
	return v
}

func (r recorder) histograms(name, help string, buckets []float64, sets ...labels) *prometheus.HistogramVec {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}, names(sets))
	r.reg.MustRegister(v)
	for _, values := range product(sets) {
		v.WithLabelValues(values...)
	}
	return v
}

func names(sets []labels) []string {
	var out []string
	for _, s := range sets {
		out = append(out, s.name)
	}
	return out
}

// product is every combination of values.
func product(sets []labels) [][]string {
	out := [][]string{nil}
	for _, s := range sets {
		var next [][]string
		for _, head := range out {
			for _, v := range s.values {
				next = append(next, append(append([]string(nil), head...), v))
			}
		}
		out = next
	}
	return out
}
