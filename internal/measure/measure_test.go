package measure

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func ms(values ...int) Samples {
	var s Samples
	for _, v := range values {
		s = append(s, time.Duration(v)*time.Millisecond)
	}
	return s
}

func upTo(n int) Samples {
	var s Samples
	for i := range n {
		s = append(s, time.Duration(n-i)*time.Millisecond)
	}
	return s
}

func TestPercentilesAreNearestRanks(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		in   Samples
		want Summary
	}{
		{"none", nil, Summary{}},
		{"one", ms(7), Summary{1, 7e6, 7e6, 7e6, 7e6, 7e6}},
		{"two", ms(9, 1), Summary{2, 1e6, 1e6, 9e6, 9e6, 9e6}},
		{"a hundred", upTo(100), Summary{100, 1e6, 50e6, 95e6, 99e6, 100e6}},
		{"a thousand", upTo(1000), Summary{1000, 1e6, 500e6, 950e6, 990e6, 1000e6}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, test.in.Summary()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestASummaryLeavesTheSamplesInTheirOrder(t *testing.T) {
	t.Parallel()
	s := ms(3, 1, 2)
	s.Summary()
	if !slices.Equal(s, ms(3, 1, 2)) {
		t.Errorf("the samples are now %v", s)
	}
}

func TestPercentilesAreSamplesAndInOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := Samples(rapid.SliceOfN(rapid.Map(rapid.Int64Range(-1e6, 1e12), func(n int64) time.Duration { return time.Duration(n) }), 1, 300).Draw(t, "samples"))
		sum := s.Summary()
		order := Samples{sum.Min, sum.P50, sum.P95, sum.P99, sum.Max}
		if !slices.IsSorted(order) {
			t.Fatalf("out of order: %v", order)
		}
		for _, p := range order {
			if !slices.Contains(s, p) {
				t.Fatalf("%v is no sample", p)
			}
		}
	})
}

func TestBucketsHoldEverySampleOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := Samples(rapid.SliceOfN(rapid.Map(rapid.Int64Range(-10, 1e12), func(n int64) time.Duration { return time.Duration(n) }), 1, 300).Draw(t, "samples"))
		buckets, count := s.Buckets(10), 0
		for i, b := range buckets {
			count += b.Count
			if b.From >= b.To || i > 0 && buckets[i-1].To != b.From {
				t.Fatalf("bucket %d is from %v to %v", i, b.From, b.To)
			}
		}
		if count != len(s) || buckets[0].Count == 0 || buckets[len(buckets)-1].Count == 0 {
			t.Fatalf("%d of %d samples in %v", count, len(s), buckets)
		}
	})
}

func TestTheMedianOfFew(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		in   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{4, 1}, 2.5}, {[]float64{9, 1, 2}, 2}} {
		if got := Median(test.in); got != test.want {
			t.Errorf("the median of %v is %v, not %v", test.in, test.want, got)
		}
	}
}

func TestAHistogramShowsEveryBucket(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := WriteHistogram(&b, ms(1, 1, 1, 1, 3)); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	first, last := lines[0], lines[len(lines)-1]
	if len(lines) != 5 || !strings.Contains(first, " 4  80.00%  "+strings.Repeat("#", textWidth)) || !strings.Contains(last, " 1 100.00%  ####") {
		t.Errorf("the histogram is\n%s", b.String())
	}
}

func TestAPlotIsXML(t *testing.T) {
	t.Parallel()
	for name, series := range map[string][]Series{
		"none": nil, "empty": {{Name: "x"}}, "one sample": {{"x", ms(10)}}, "two": {{"a < b", ms(1, 2, 3)}, {"negative", Samples{-5, 0}}},
	} {
		var b bytes.Buffer
		if err := WriteSVG(&b, "title & more", series); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(b.String(), "NaN") || strings.Contains(b.String(), "Inf") {
			t.Errorf("%s: the plot has numbers that are none:\n%s", name, b.String())
		}
		for d := xml.NewDecoder(&b); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}

func TestShortKeepsThreeDigits(t *testing.T) {
	t.Parallel()
	for in, want := range map[time.Duration]string{
		0: "0s", 1234: "1µs", 1234567: "1.23ms", 12345678: "12.3ms", 123456789: "123ms", 1234567890: "1.23s", 12345678900: "12.3s", -1234567: "-1.23ms",
	} {
		if got := Short(in); got != want {
			t.Errorf("%d is %s, not %s", in, got, want)
		}
	}
}
