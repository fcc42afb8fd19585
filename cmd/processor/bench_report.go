package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"processor/internal/measure"
)

// benchReport is the result of one benchmark.
type benchReport struct {
	Bench     string         `json:"bench"`
	About     string         `json:"about"`
	Latencies []benchLatency `json:"latencies"`
	Figures   []benchFigure  `json:"figures"`
	Setup     benchSetup     `json:"setup"`
}

// benchLatency is one distribution. Times are in milliseconds.
type benchLatency struct {
	Name  string  `json:"name"`
	About string  `json:"about"`
	N     int     `json:"n"`
	P50   float64 `json:"p50_ms"`
	P95   float64 `json:"p95_ms"`
	P99   float64 `json:"p99_ms"`
	Max   float64 `json:"max_ms"`

	samples measure.Samples
}

// benchFigure is one number.
type benchFigure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

// benchSetup is what the result depends on.
type benchSetup struct {
	At       time.Time `json:"at"`
	Version  string    `json:"version"`
	System   string    `json:"system"`
	Cores    int       `json:"cores"`
	Load     string    `json:"load,omitempty"`
	Postgres string    `json:"postgres"`
	NATS     string    `json:"nats"`
	Folder   string    `json:"folder,omitempty"`
	Pool     int       `json:"database_pool"`
	Procs    string    `json:"gomaxprocs,omitempty"`
	Timing   string    `json:"timing"`
}

// latency adds a distribution.
func (b *benchReport) latency(name, about string, samples measure.Samples) {
	s := samples.Summary()
	b.Latencies = append(b.Latencies, benchLatency{
		Name: name, About: about, N: s.N, P50: millis(s.P50), P95: millis(s.P95), P99: millis(s.P99), Max: millis(s.Max), samples: samples,
	})
}

func (b *benchReport) figure(name string, value float64, unit string) {
	b.Figures = append(b.Figures, benchFigure{name, value, unit})
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// describe fills the set-up.
func (r *rig) describe(ctx context.Context, s *benchSetup) error {
	t, err := r.flags.Timing()
	if err != nil {
		return err
	}
	*s = benchSetup{
		At: time.Now().UTC(), Version: versionLine(), System: runtime.GOOS + "/" + runtime.GOARCH, Cores: runtime.NumCPU(), Load: loadAverage(),
		NATS: "given", Pool: r.flags.DatabasePool,
		Timing: fmt.Sprintf("heartbeat %s, suspect after %s, lost after %s, sweep every %s", t.Heartbeat, t.SuspectAfter, t.LostAfter, t.SweepEvery),
	}
	if r.own {
		s.NATS, s.Folder = fmt.Sprintf("nats-server %s, file storage, GOGC %d", server.VERSION, natsGC), r.dir
	}
	const query = `select format('PostgreSQL %s, fsync %s, synchronous_commit %s, track_commit_timestamp %s',
	current_setting('server_version'), current_setting('fsync'), current_setting('synchronous_commit'), current_setting('track_commit_timestamp'))`
	if err := r.conn.QueryRow(ctx, query).Scan(&s.Postgres); err != nil {
		return fmt.Errorf("ask PostgreSQL for its settings: %w", err)
	}
	return nil
}

// loadAverage is that of the last minute, empty on systems that don't say it in a file. A busy machine explains a slow result.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	one, _, _ := strings.Cut(string(text), " ")
	return one
}

// write prints the report, and draws the plot.
func (b *benchReport) write(std *Streams, f BenchFlags) error {
	if f.SVG != "" {
		if err := b.plot(f.SVG); err != nil {
			return err
		}
	}
	if f.JSON {
		return printJSON(std.Out, b)
	}
	b.table(std.Out)
	if !f.Histogram {
		return nil
	}
	for _, l := range b.Latencies {
		fmt.Fprintf(std.Out, "\n%s (%d samples; share so far)\n", l.Name, l.N)
		if err := measure.WriteHistogram(std.Out, l.samples); err != nil {
			return err
		}
	}
	return nil
}

func (b *benchReport) plot(path string) error {
	var series []measure.Series
	for _, l := range b.Latencies {
		series = append(series, measure.Series{Name: l.Name, Samples: l.samples})
	}
	var plot bytes.Buffer
	if err := measure.WriteSVG(&plot, "processor bench "+b.Bench, series); err != nil {
		return err
	}
	if err := os.WriteFile(path, plot.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write the plot: %w", err)
	}
	return nil
}

func (b *benchReport) table(w io.Writer) {
	fmt.Fprintf(w, "%s: %s\n\n", b.Bench, b.About)
	if len(b.Latencies) > 0 {
		fmt.Fprintf(w, "  %-26s %9s %9s %9s %9s %9s\n", "", "n", "p50", "p95", "p99", "max")
	}
	for _, l := range b.Latencies {
		s := l.samples.Summary()
		fmt.Fprintf(w, "  %-26s %9d %9s %9s %9s %9s\n", l.Name, s.N, measure.Short(s.P50), measure.Short(s.P95), measure.Short(s.P99), measure.Short(s.Max))
	}
	if len(b.Latencies) > 0 {
		fmt.Fprintln(w)
	}
	for _, l := range b.Latencies {
		fmt.Fprintf(w, "  %s: %s\n", l.Name, l.About)
	}
	if len(b.Latencies) > 0 && len(b.Figures) > 0 {
		fmt.Fprintln(w)
	}
	for _, f := range b.Figures {
		fmt.Fprintf(w, "  %-44s %9s %s\n", f.Name, number(f.Value), f.Unit)
	}
	s := b.Setup
	procs := ""
	if s.Procs != "" {
		procs = s.Procs + "; "
	}
	fmt.Fprintf(w, "\n  %s; %s, %d cores, load %s; %s%s, pool %d; %s; %s\n", s.Version, s.System, s.Cores, s.Load, procs, s.Postgres, s.Pool, s.NATS, s.Timing)
}

// number has about three digits.
func number(v float64) string {
	switch {
	case v == float64(int64(v)):
		return fmt.Sprintf("%.0f", v)
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 1:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.3f", v)
	}
}
