package measure

import (
	"math"
	"slices"
	"time"
)

// Samples are latencies in any order.
type Samples []time.Duration

// Summary is what tables say about samples. With none everything is zero.
type Summary struct {
	N                       int
	Min, P50, P95, P99, Max time.Duration
}

// Sorted is a sorted copy.
func (s Samples) Sorted() Samples { return slices.Sorted(slices.Values(s)) }

// Summary sorts a copy.
func (s Samples) Summary() Summary {
	if len(s) == 0 {
		return Summary{}
	}
	sorted := s.Sorted()
	return Summary{
		N: len(s), Min: sorted[0], Max: sorted[len(sorted)-1],
		P50: sorted.percentile(50), P95: sorted.percentile(95), P99: sorted.percentile(99),
	}
}

// percentile is the nearest rank: the least sample that p percent of all do not exceed. s is sorted and not empty.
func (s Samples) percentile(p float64) time.Duration {
	rank := int(math.Ceil(p / 100 * float64(len(s))))
	return s[max(rank, 1)-1]
}

// Median is of the middle two when their number is even, and zero of none.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// Short rounds a latency to three digits or so, for people.
func Short(d time.Duration) string {
	switch size := d.Abs(); {
	case size >= 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case size >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case size >= 100*time.Millisecond:
		return d.Round(time.Millisecond).String()
	case size >= 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	case size >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	default:
		return d.Round(time.Microsecond).String()
	}
}
