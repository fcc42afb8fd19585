package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"processor/internal/chat"
)

// bench runs a benchmark as a process of its own, on servers of its own, in a folder that must be empty afterwards.
func bench(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	dir := t.TempDir()
	cmd := benchCommand(t, dir, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	if stderr.Len() > 0 {
		t.Logf("standard error:\n%s", &stderr)
	}
	leavesNothing(t, dir)
	return stdout.String(), cmd.ProcessState.ExitCode()
}

func benchCommand(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, append([]string{"bench"}, args...)...)
	cmd.Env = []string{asProcessor + "=1", "PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "PROCESSOR_DIR=" + dir, "PROCESSOR_YARDSTICK=0"}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = patience
	return cmd
}

func leavesNothing(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("the benchmark left %v behind (%v)", left, err)
	}
}

// benched is the report of a benchmark that must succeed, on servers of its own.
func benched(t *testing.T, args ...string) benchReport {
	t.Helper()
	r := reported(t, args...)
	if !strings.Contains(r.Setup.Postgres, "fsync on, synchronous_commit on") {
		t.Errorf("the report is of %+v", r.Setup)
	}
	return r
}

// reported is the same on any servers.
func reported(t *testing.T, args ...string) benchReport {
	t.Helper()
	out, code := bench(t, append(args, "--json")...)
	if code != 0 || strings.Count(out, "\n") != 1 {
		t.Fatalf("exit code %d, and as output: %s", code, out)
	}
	var r benchReport
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if r.Bench != args[0] || r.Setup.Cores < 1 {
		t.Errorf("the report is of %q with %+v", r.Bench, r.Setup)
	}
	return r
}

// has checks a distribution for what every one of them is: not empty, in order, above zero and below what a test waits.
func (b benchReport) has(t *testing.T, name string, n int) {
	t.Helper()
	if l := b.named(t, name); l.N < n || l.P50 <= 0 || l.P50 > l.P95 || l.P95 > l.P99 || l.P99 > l.Max || l.Max > millis(patience) {
		t.Errorf("implausible, for %d samples or more: %+v", n, l)
	}
}

func (b benchReport) named(t *testing.T, name string) benchLatency {
	t.Helper()
	for _, l := range b.Latencies {
		if l.Name == name {
			return l
		}
	}
	t.Fatalf("no latency %q in %+v", name, b.Latencies)
	return benchLatency{}
}

func (b benchReport) value(t *testing.T, name string) float64 {
	t.Helper()
	for _, f := range b.Figures {
		if f.Name == name {
			return f.Value
		}
	}
	t.Fatalf("no figure %q in %+v", name, b.Figures)
	return 0
}

func TestBenchDispatchCountsEveryTurn(t *testing.T) {
	t.Parallel()
	r := benched(t, "dispatch", "--rate", "20", "--duration", "1s", "--warmup", "200ms", "--tokens", "2")
	for _, name := range []string{"commit → model call", "start → model call", "send → model call", "send → reply"} {
		r.has(t, name, 20)
	}
	if commit, start := r.named(t, "commit → model call"), r.named(t, "start → model call"); commit.P50 >= start.P50 {
		t.Errorf("committed at the start: %+v, %+v", commit, start)
	}
	if lost := r.value(t, "messages without a model call") + r.value(t, "messages refused"); lost != 0 {
		t.Errorf("%v messages were lost", lost)
	}
}

func TestBenchThroughputCountsTurns(t *testing.T) {
	t.Parallel()
	for _, flags := range [][]string{nil, {"--instant"}} {
		t.Run(strings.Join(flags, ""), func(t *testing.T) {
			t.Parallel()
			r := benched(t, append([]string{"throughput", "--senders", "4", "--duration", "2s", "--warmup", "500ms"}, flags...)...)
			r.has(t, "turn", 1)
			if made := r.value(t, "chats made in between"); made != 0 {
				t.Errorf("%v chats were made while it measured", made)
			}
			if r.value(t, "turns") <= 0 || r.value(t, "transactions per turn") < 1 {
				t.Errorf("implausible: %+v", r.Figures)
			}
		})
	}
}

func TestBenchInflightSeesWhatStreams(t *testing.T) {
	t.Parallel()
	r := benched(t, "inflight", "--chats", "20", "--every", "100ms", "--duration", "2s")
	if n := r.value(t, "chats in flight"); n != 20 {
		t.Errorf("%v chats were in flight", n)
	}
	if n := r.value(t, "tokens at a watcher of all chats"); n < 20 || n > 220 {
		t.Errorf("%v tokens/s from 20 chats with 10 each", n)
	}
	if n := r.value(t, "heartbeat statements (the replica's metric)"); n > 5 {
		t.Errorf("%v heartbeats per second", n)
	}
}

func TestBenchRecoveryAndHandoffSeeEveryChatAgain(t *testing.T) {
	t.Parallel()
	for command, latency := range map[string]string{"recovery": "kill → model call", "handoff": "SIGTERM → model call"} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			benched(t, command, "--chats", "5", "--rounds", "2").has(t, latency, 10)
		})
	}
}

func TestBenchStreamSeesEveryTokenAtEveryWatcher(t *testing.T) {
	t.Parallel()
	r := benched(t, "stream", "--chats", "3", "--watchers", "2", "--every", "100ms", "--duration", "1s")
	r.has(t, "provider → watcher", 60)
	r.has(t, "provider → published", 1)
}

func TestBenchStreamCountsTheSameWithTaps(t *testing.T) {
	t.Parallel()
	r := benched(t, "stream", "--chats", "3", "--watchers", "2", "--every", "100ms", "--duration", "1s", "--taps")
	r.has(t, "provider → watcher", 60)
	r.has(t, "provider → published", 60)
}

func TestBenchIdleMeasuresClaimsAndSweepsBesideFewAndMany(t *testing.T) {
	t.Parallel()
	r := benched(t, "idle", "--few", "10", "--many", "1000", "--calls", "20")
	for _, name := range []string{"claim, 10 idle", "sweep, 10 idle", "claim, 1000 idle", "sweep, 1000 idle"} {
		r.has(t, name, 20)
	}
	if r.value(t, "claim, p50, 1000 to 10 idle chats") <= 0 {
		t.Errorf("implausible: %+v", r.Figures)
	}
}

func TestBenchPoisonCountsTheHarmedAndTheAnswered(t *testing.T) {
	t.Parallel()
	r := benched(t, "poison", "--neighbours", "10", "--tokens", "5", "--every", "100ms")
	if deaths := r.value(t, "replicas killed"); deaths != chat.ParkAt {
		t.Errorf("%v replicas were killed", deaths)
	}
	if all := r.value(t, "neighbours parked") + r.value(t, "neighbours answered"); all != 10 {
		t.Errorf("%v neighbours of 10 are accounted for", all)
	}
}

func TestBenchDrawsWhatItMeasured(t *testing.T) {
	t.Parallel()
	plot := filepath.Join(t.TempDir(), "plot.svg")
	out, code := bench(t, "dispatch", "--rate", "10", "--duration", "1s", "--warmup", "100ms", "--histogram", "--svg", plot)
	if code != 0 || !strings.Contains(out, "100.00%  #") || !strings.Contains(out, "p99") {
		t.Errorf("exit code %d, and as output: %s", code, out)
	}
	if svg, err := os.ReadFile(plot); err != nil || !strings.Contains(string(svg), "commit → model call (10 samples)") {
		t.Errorf("the plot is %.300s (%v)", svg, err)
	}
}

// TestBenchMeasuresADeploymentAndRemovesItsChats runs beside a chat that is not its own.
func TestBenchMeasuresADeploymentAndRemovesItsChats(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	if _, err := d.service().Create(d.ctx, chat.CreateRequest{ID: "mine"}); err != nil {
		t.Fatal(err)
	}
	servers := []string{"--nats-url", d.natsURL, "--database-url", d.database}
	out, code := bench(t, append([]string{"recovery", "--chats", "3", "--rounds", "1"}, servers...)...)
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	if left := d.chats(""); len(left) != 1 || left[0].ID != "mine" {
		t.Errorf("left are %v", left)
	}

	d.start("theirs")
	if _, code := bench(t, append([]string{"recovery"}, servers...)...); code != 1 {
		t.Errorf("exit code %d beside a live replica", code)
	}
}

func TestBenchRefusesHalfADeployment(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"dispatch", "--nats-url", "nats://127.0.0.1:1"}, {"dispatch", "--rate", "0"}, {"dispatch", "--rate", "1e9"},
		{"throughput", "--replicas", "0"}, {"throughput", "--replicas", "0", "--instant"}, {"recovery", "--rounds", "0"}, {"stream", "--chats", "10000000"},
		{"--svg", "plot.svg"}, {"all", "--cpu-profile", "cpu"},
	} {
		if _, code := bench(t, args...); code != 2 {
			t.Errorf("%v: exit code %d", args, code)
		}
	}
}

func TestBenchRemovesEverythingAtASignal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := benchCommand(t, dir, "inflight", "--chats", "5", "--duration", "10m")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d := &deployment{t: t}
	d.await("the benchmark makes its folder", func() bool { made, err := os.ReadDir(dir); return err == nil && len(made) > 0 })
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("the benchmark does not end")
	}
	if code := cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	leavesNothing(t, dir)
}

func TestNumbersHaveAFewDigits(t *testing.T) {
	t.Parallel()
	for in, want := range map[float64]string{0: "0", 12: "12", 1234.5: "1234", 99.94: "99.9", 0.12345: "0.123", 10000: "10000"} {
		if got := number(in); got != want {
			t.Errorf("%v is %s, not %s", in, got, want)
		}
	}
}

func TestMarksAreFoundInATextsWords(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"#n=12 x": 12, "x #n=7": 7, "": 0, "#n=x": 0, "#n=": 0, "#n=-1 ": -1, "#m=1 #n=2": 2} {
		if got := marked(text, "n"); got != want {
			t.Errorf("in %q is %d, not %d", text, got, want)
		}
	}
}

// TestBenchComparesNothingElsewhere runs where there is no source tree. What compare measures is tested in bench/river.
func TestBenchComparesNothingElsewhere(t *testing.T) {
	t.Parallel()
	if _, code := bench(t, "compare"); code != 1 {
		t.Errorf("exit code %d", code)
	}
}
