// Package measure summarizes and draws samples of latencies. It keeps every sample and sorts them, so that its percentiles
// are samples that were really taken, without the rounding of buckets.
package measure
