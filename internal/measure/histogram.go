package measure

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

// Bucket counts the samples from From up to, but not including, To.
type Bucket struct {
	From, To time.Duration
	Count    int
}

// Buckets cuts the samples at steps per factor of ten, evenly on a logarithmic scale, from the least sample to the greatest
// without a gap. What is below a microsecond, or negative because two clocks differ, is in the first bucket.
func (s Samples) Buckets(steps int) []Bucket {
	if len(s) == 0 {
		return nil
	}
	place := func(d time.Duration) int {
		return int(math.Floor(math.Log10(float64(max(d, time.Microsecond)))*float64(steps) + 1e-9))
	}
	border := func(i int) time.Duration { return time.Duration(math.Round(math.Pow(10, float64(i)/float64(steps)))) }
	sorted := s.Sorted()
	first, last := place(sorted[0]), place(sorted[len(sorted)-1])
	buckets := make([]Bucket, last-first+1)
	for i := range buckets {
		buckets[i] = Bucket{From: border(first + i), To: border(first + i + 1)}
	}
	for _, d := range sorted {
		buckets[place(d)-first].Count++
	}
	return buckets
}

const (
	textSteps = 10 // per factor of ten
	textWidth = 50
)

// WriteHistogram draws the samples with one line a bucket.
func WriteHistogram(w io.Writer, s Samples) error {
	buckets := s.Buckets(textSteps)
	most, sum := 0, 0
	for _, b := range buckets {
		most = max(most, b.Count)
	}
	for _, b := range buckets {
		sum += b.Count
		bar := strings.Repeat("#", (b.Count*textWidth+most-1)/most) // whoever is there is seen
		share := 100 * float64(sum) / float64(len(s))
		if _, err := fmt.Fprintf(w, "  %8s - %-8s %7d %6.2f%%  %s\n", Short(b.From), Short(b.To), b.Count, share, bar); err != nil {
			return err
		}
	}
	return nil
}
