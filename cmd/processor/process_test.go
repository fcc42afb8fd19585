package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"processor/internal/chat"
	"processor/internal/local"
)

// process is one replica.
type process struct {
	d    *deployment
	name string
	http string // the address of its HTTP server, if it has one
	// replaced says that respawn has started a successor.
	replaced bool
	cmd      *exec.Cmd
	log      *logBuffer
	done     chan struct{}
	err      error
}

// start starts a replica and waits until it is ready.
func (d *deployment) start(name string, flags ...string) *process {
	d.t.Helper()
	return d.startWith(name, nil, flags...)
}

// startWith is start with changes to the environment.
func (d *deployment) startWith(name string, env map[string]string, flags ...string) *process {
	d.t.Helper()
	p := d.launch(name, env, flags...)
	p.says("msg=ready")
	return p
}

// startHTTP is start for a replica that serves readiness and metrics.
func (d *deployment) startHTTP(name string, flags ...string) *process {
	d.t.Helper()
	address := d.freeAddress()
	p := d.start(name, append([]string{"--http", address}, flags...)...)
	p.http = address
	return p
}

func (d *deployment) freeAddress() string {
	d.t.Helper()
	port, err := local.FreePort()
	d.must(err)
	return fmt.Sprintf("127.0.0.1:%d", port)
}

// launch starts a replica with changes to its environment. Its log shows if the test fails.
func (d *deployment) launch(name string, env map[string]string, flags ...string) *process {
	d.t.Helper()
	self, err := os.Executable()
	d.must(err)
	p := &process{d: d, name: name, log: &logBuffer{}, done: make(chan struct{})}
	p.cmd = exec.Command(self, append([]string{"run", "--name", name}, flags...)...)
	variables := map[string]string{
		asProcessor: "1", "PROCESSOR_NATS_URL": d.natsURL, "PROCESSOR_DATABASE_URL": d.database, "PROCESSOR_MODEL": "openai/test",
		"PROCESSOR_DRAIN_TIMEOUT": "5s", "OPENAI_API_KEY": "key", "OPENAI_BASE_URL": d.provider.OpenAIURL(),
		"ANTHROPIC_API_KEY": "key", "ANTHROPIC_BASE_URL": d.provider.AnthropicURL(), "PATH": os.Getenv("PATH"), "HOME": d.t.TempDir(),
	}
	p.cmd.Env = []string{hasty}
	maps.Copy(variables, env)
	for k, v := range variables {
		p.cmd.Env = append(p.cmd.Env, k+"="+v)
	}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	d.must(p.cmd.Start())
	go func() { p.err = p.cmd.Wait(); close(p.done) }()
	d.replicas = append(d.replicas, p)
	d.t.Cleanup(func() {
		p.kill()
		if strings.Contains(p.log.String(), "DATA RACE") {
			d.t.Errorf("replica %s has a data race", name)
		}
		if d.t.Failed() {
			d.t.Logf("log of replica %s:\n%s", name, p.log)
		}
	})
	return p
}

// worker is the replica as the API shows it, nil while it is not registered.
func (p *process) worker() *chat.Worker {
	for _, w := range p.d.workers() {
		if w.Name == p.name && w.PID == p.cmd.Process.Pid && w.Status != chat.WorkerLost {
			return &w
		}
	}
	return nil
}

// kill is kill -9; it waits until the process is gone. pause and resume are SIGSTOP and SIGCONT, drain is SIGTERM.
func (p *process) kill() {
	kill(p.cmd.Process.Pid)
	<-p.done
}

// pause freezes the process, and returns when none of its threads runs any more: on a busy machine that takes a while.
func (p *process) pause() {
	p.d.t.Helper()
	p.signal(syscall.SIGSTOP)
	p.d.await("the process is frozen", func() bool { return p.frozen() })
}

// frozen reads the states of all threads, or of the process where there is no /proc.
func (p *process) frozen() bool {
	p.d.t.Helper()
	pid := strconv.Itoa(p.cmd.Process.Pid)
	threads, err := filepath.Glob("/proc/" + pid + "/task/*/stat")
	p.d.must(err)
	if len(threads) == 0 {
		state, err := exec.CommandContext(p.d.ctx, "ps", "-o", "state=", "-p", pid).Output()
		p.d.must(err)
		return strings.HasPrefix(strings.TrimSpace(string(state)), "T")
	}
	return !slices.ContainsFunc(threads, func(path string) bool {
		stat, err := os.ReadFile(path)
		return err == nil && !strings.HasPrefix(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " T")
	})
}

func (p *process) resume() { p.signal(syscall.SIGCONT) }
func (p *process) drain()  { p.signal(syscall.SIGTERM) }

func (p *process) signal(s syscall.Signal) {
	p.d.t.Helper()
	p.d.must(p.cmd.Process.Signal(s))
}

func kill(pid int) { _ = syscall.Kill(pid, syscall.SIGKILL) }

// exited waits for the end of the process and returns its exit code.
func (p *process) exited() int {
	p.d.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		p.d.t.Fatalf("replica %s does not end", p.name)
		return 0
	}
}

// get asks the replica's HTTP server.
func (p *process) get(path string) (status int, body string) {
	p.d.t.Helper()
	r, err := http.NewRequestWithContext(p.d.ctx, http.MethodGet, "http://"+p.http+path, http.NoBody)
	p.d.must(err)
	reply, err := http.DefaultClient.Do(r)
	p.d.must(err)
	defer reply.Body.Close()
	all, err := io.ReadAll(reply.Body)
	p.d.must(err)
	return reply.StatusCode, string(all)
}

// metric is one series of the replica's metrics, named with its labels.
func (p *process) metric(series string) float64 {
	p.d.t.Helper()
	_, body := p.get("/metrics")
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			p.d.must(err)
			return v
		}
	}
	p.d.t.Fatalf("replica %s has no metric %s", p.name, series)
	return 0
}

// sweeps is how many passes the replica has done.
func (p *process) sweeps() float64 {
	p.d.t.Helper()
	return p.metric(`processor_sweeps_total{result="done"}`)
}

// says waits until the replica's log has a line with all of words, and returns it.
func (p *process) says(words ...string) (line string) {
	p.d.t.Helper()
	p.d.await("replica "+p.name+" logs "+strings.Join(words, " "), func() bool {
		line = lineWith(p.log.String(), words...)
		return line != ""
	})
	return line
}

// lineWith is the first line that has all of words.
func lineWith(log string, words ...string) string {
	for line := range strings.Lines(log) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			return line
		}
	}
	return ""
}

// logBuffer is a replica's log.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
