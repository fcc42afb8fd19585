package measure

import (
	"fmt"
	"html"
	"io"
	"math"
	"strings"
	"time"
)

// Series is one distribution of a plot.
type Series struct {
	Name    string
	Samples Samples
}

const (
	svgSteps  = 20 // buckets per factor of ten
	svgWidth  = 800
	svgHeight = 170 // of one series
	svgLeft   = 20
	svgTop    = 42
	svgFloor  = 128
)

// WriteSVG draws the distributions one below the other, on one logarithmic scale of time, with their percentiles.
func WriteSVG(w io.Writer, title string, all []Series) error {
	all = withSamples(all)
	axis := axisOf(all)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n",
		svgWidth, 30+svgHeight*len(all))
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/><text x="%d" y="20" font-size="15">%s</text>`+"\n", svgLeft, html.EscapeString(title))
	for i, s := range all {
		fmt.Fprintf(&b, `<g transform="translate(0,%d)">`+"\n", 20+svgHeight*i)
		axis.draw(&b, s)
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func withSamples(all []Series) []Series {
	var some []Series
	for _, s := range all {
		if len(s.Samples) > 0 {
			some = append(some, s)
		}
	}
	return some
}

// axis is the scale of time: powers of ten around all samples.
type axis struct{ low, high float64 }

func axisOf(all []Series) axis {
	a := axis{math.Inf(1), math.Inf(-1)}
	for _, s := range all {
		sum := s.Samples.Summary()
		a.low = min(a.low, math.Floor(exponent(sum.Min)))
		a.high = max(a.high, math.Floor(exponent(sum.Max))+1)
	}
	return a
}

func exponent(d time.Duration) float64 { return math.Log10(float64(max(d, time.Microsecond))) }

func (a axis) x(d time.Duration) float64 {
	return svgLeft + (exponent(d)-a.low)/(a.high-a.low)*(svgWidth-2*svgLeft)
}

func (a axis) draw(b *strings.Builder, s Series) {
	sum := s.Samples.Summary()
	fmt.Fprintf(b, `<text x="%d" y="34">%s (%d samples)</text>`+"\n", svgLeft, html.EscapeString(s.Name), sum.N)
	buckets := s.Samples.Buckets(svgSteps)
	most := 0
	for _, bucket := range buckets {
		most = max(most, bucket.Count)
	}
	for _, bucket := range buckets {
		height := float64(bucket.Count) / float64(most) * (svgFloor - svgTop - 12)
		left, right := a.x(bucket.From), a.x(bucket.To)
		fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="#7aa6d8"/>`+"\n", left, svgFloor-height, max(right-left-1, 1), height)
	}
	fmt.Fprintf(b, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="#333"/>`+"\n", svgLeft, svgFloor, svgWidth-svgLeft, svgFloor)
	for e := a.low; e <= a.high; e++ {
		tick := time.Duration(math.Round(math.Pow(10, e)))
		fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle" fill="#333">%s</text>`+"\n", a.x(tick), svgFloor+16, Short(tick))
	}
	for _, m := range []struct {
		name string
		at   time.Duration
	}{{"p50", sum.P50}, {"p95", sum.P95}, {"p99", sum.P99}, {"max", sum.Max}} {
		x := a.x(m.at)
		fmt.Fprintf(b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#c33" stroke-dasharray="3 2"><title>%s %s</title></line>`+"\n", x, svgTop, x, svgFloor, m.name, Short(m.at))
	}
	fmt.Fprintf(b, `<text x="%d" y="34" text-anchor="end" fill="#c33">p50 %s, p95 %s, p99 %s, max %s</text>`+"\n",
		svgWidth-svgLeft, Short(sum.P50), Short(sum.P95), Short(sum.P99), Short(sum.Max))
}
