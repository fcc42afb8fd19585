package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"processor/internal/local"
)

// watched is the output of a child, which tests wait for.
type watched struct {
	mu   sync.Mutex
	text bytes.Buffer
	news chan struct{}
}

func newWatched() *watched { return &watched{news: make(chan struct{}, 1)} }

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(p)
	select {
	case w.news <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// until waits for a match, and returns its groups.
func (w *watched) until(t *testing.T, pattern string) []string {
	t.Helper()
	expr := regexp.MustCompile(pattern)
	deadline := time.After(patience)
	for {
		if found := expr.FindStringSubmatch(w.String()); found != nil {
			return found
		}
		select {
		case <-w.news:
		case <-deadline:
			t.Fatalf("waited %s in vain for %s in:\n%s", patience, pattern, w)
		}
	}
}

// program starts the processor with a command line, as a person would, and kills it when the test ends.
type program struct {
	t        *testing.T
	cmd      *exec.Cmd
	out, err *watched
	done     chan struct{}
}

func start(t *testing.T, dir string, args ...string) *program {
	t.Helper()
	return startIn(t, dir, nil, args...)
}

// startIn is start with more in the environment.
func startIn(t *testing.T, dir string, environment []string, args ...string) *program {
	t.Helper()
	return startTo(t, nil, dir, environment, args...)
}

// startTo is startIn with its output going elsewhere.
func startTo(t *testing.T, output *os.File, dir string, environment []string, args ...string) *program {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, cmd: exec.Command(self, args...), out: newWatched(), err: newWatched(), done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, p.out, p.err
	if output != nil {
		p.cmd.Stdout, p.cmd.Stderr = output, output
	}
	p.cmd.Env = append(append(cleanEnvironment(), asProcessor+"=1", hasty), environment...)
	p.cmd.WaitDelay = patience
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = p.cmd.Wait(); close(p.done) }()
	t.Cleanup(func() {
		kill(p.cmd.Process.Pid)
		<-p.done
		if t.Failed() {
			t.Logf("processor %s\n%s\n%s", strings.Join(args, " "), p.out, p.err)
		}
	})
	return p
}

// cleanEnvironment is this one without what decides how a processor behaves.
func cleanEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(entry string) bool {
		return strings.HasPrefix(entry, "PROCESSOR_") || strings.HasPrefix(entry, "OPENAI_") || strings.HasPrefix(entry, "ANTHROPIC_")
	})
}

// exit waits for the end and returns the exit code.
func (p *program) exit() int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		p.t.Fatalf("processor does not end:\n%s\n%s", p.out, p.err)
		return 0
	}
}

func (p *program) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// devs are starts of dev in one folder.
type devs struct {
	t    *testing.T
	dir  string
	nats string
	http string
	// environment is what their environment has beside this process's.
	environment []string
	output      *os.File
}

func newDevs(t *testing.T) *devs {
	t.Helper()
	port := func() string {
		p, err := local.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		return "127.0.0.1:" + strconv.Itoa(p)
	}
	return &devs{t: t, dir: t.TempDir(), nats: port(), http: port()}
}

func (d *devs) start(args ...string) *program {
	d.t.Helper()
	return startTo(d.t, d.output, d.dir, d.environment, append([]string{"dev", "--nats-listen", d.nats, "--http", d.http, "--demo-delay", "5ms", "--drain-timeout", "10s"}, args...)...)
}

// run runs another command against them to its end.
func (d *devs) run(args ...string) (out, errs string, code int) {
	d.t.Helper()
	p := start(d.t, d.dir, append(args, "--nats-url", "nats://"+d.nats)...)
	code = p.exit()
	return p.out.String(), p.err.String(), code
}

// fetchAs asks for the list of chats under another name of the host.
func (d *devs) fetchAs(address, host string) (code int) {
	d.t.Helper()
	r, err := http.NewRequestWithContext(d.t.Context(), http.MethodGet, "http://"+address+"/v1/chats", nil)
	if err != nil {
		d.t.Fatal(err)
	}
	r.Host = host
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		d.t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

func (d *devs) pid(p *program, replica string) int {
	d.t.Helper()
	pid, err := strconv.Atoi(p.out.until(d.t, replica+` +pid (\d+)`)[1])
	if err != nil {
		d.t.Fatal(err)
	}
	return pid
}

func TestDevRunsEverythingAndOutlivesItsReplicas(t *testing.T) {
	t.Parallel()
	d := newDevs(t)
	dev := d.start()
	file := dev.out.until(t, `(?s)NATS +nats://.*Postgres +postgres://.*password is in (\S+).*HTTP +http://.*Try:.*send.*watch.*kill -9 \d+`)[1]
	password, err := os.ReadFile(filepath.Join(d.dir, file))
	if err != nil || len(password) == 0 || strings.Contains(dev.out.String()+dev.err.String(), strings.TrimSpace(string(password))) {
		t.Errorf("the password is not in %s alone: %v\n%s", file, err, dev.out)
	}
	story := strings.TrimSpace(strings.Repeat("once upon a time ", 200))

	answer := start(t, d.dir, "send", "--nats-url", "nats://"+d.nats, "--chat", "story", story)
	answer.out.until(t, "once")
	kill(d.pid(dev, "dev-1"))
	dev.err.until(t, `replica dev-1 \(pid \d+\) ended: signal: killed; it stays away`)
	if code := answer.exit(); code != 0 {
		t.Errorf("send exits with %d: %s", code, answer.err)
	}
	if got := strings.TrimSpace(answer.out.String()); got != story {
		t.Errorf("send printed %d bytes that are not the %d of the answer", len(got), len(story))
	}
	if got := strings.TrimSpace(answer.err.String()); got != "story" {
		t.Errorf("send said %q, want the chat's id alone", got)
	}
	if strings.Contains(dev.out.String(), strings.TrimSpace(string(password))) {
		t.Errorf("dev prints the database's password:\n%s", dev.out)
	}
	if code, page := fetch(t, "http://"+d.http+"/"); code != http.StatusOK || !strings.Contains(page, "/console/app.js") {
		t.Errorf("dev does not serve the console: %d\n%s", code, page)
	}
	for _, address := range []string{d.http, dev.out.until(t, `dev-2 .* http://(\S+)`)[1]} {
		if code := d.fetchAs(address, "evil.example"); code != http.StatusForbidden {
			t.Errorf("a page that says that %s is evil.example gets %d", address, code)
		}
		if code := d.fetchAs(address, "localhost"); code != http.StatusOK {
			t.Errorf("localhost gets %d of %s", code, address)
		}
	}
	if code, _ := fetch(t, "http://"+d.http+"/readyz"); code != http.StatusOK {
		t.Errorf("dev is not ready with one replica left: %d", code)
	}

	dev.signal(syscall.SIGTERM)
	if code := dev.exit(); code != 0 {
		t.Errorf("dev exits with %d", code)
	}
	again := d.start("--replicas", "1", "--respawn")
	again.out.until(t, "Try:")
	if out, errs, code := d.run("ls", "--json"); code != 0 || !strings.Contains(out, `"id":"story"`) {
		t.Errorf("the chat is not kept between starts: %d %s %s", code, out, errs)
	}
	kill(d.pid(again, "dev-1"))
	again.err.until(t, "starting it again")
	again.err.until(t, `(?s)starting it again.*msg=registered`)
	// Its database would outlive a kill for a moment, and write into a folder that is being removed.
	again.signal(syscall.SIGTERM)
	if code := again.exit(); code != 0 {
		t.Errorf("dev exits with %d after its replica was started again", code)
	}
}

func TestOneFolderHasOneDev(t *testing.T) {
	t.Parallel()
	d := newDevs(t)
	first := d.start("--replicas", "0", "--database-url", suite.Postgres(t))
	first.out.until(t, "Try:")
	d.http, d.nats = newDevs(t).http, newDevs(t).nats
	second := d.start()
	if code := second.exit(); code != 1 || !strings.Contains(second.err.String(), "choose another folder with --dir") {
		t.Errorf("a second dev exits with %d: %s", code, second.err)
	}
}

func TestReplicasDieWithDev(t *testing.T) {
	t.Parallel()
	d := newDevs(t)
	dev := d.start("--database-url", suite.Postgres(t))
	dev.out.until(t, "Try:")
	pids := []int{d.pid(dev, "dev-1"), d.pid(dev, "dev-2")}
	kill(dev.cmd.Process.Pid)
	deadline := time.After(patience)
	for _, pid := range pids {
		for !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) && !isZombie(pid) {
			select {
			case <-deadline:
				t.Fatalf("replica %d lives on", pid)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
}

// isZombie: in a container nobody may reap orphans.
func isZombie(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return err == nil && strings.Contains(string(stat), ") Z ")
}

func TestASecondSignalKillsTheReplicas(t *testing.T) {
	t.Parallel()
	d := newDevs(t)
	dev := d.start("--replicas", "1", "--drain-timeout", "5m", "--database-url", suite.Postgres(t)) // longer than a test waits, as is the answer
	dev.out.until(t, "Try:")
	answer := start(t, d.dir, "send", "--nats-url", "nats://"+d.nats, strings.Repeat("on and on ", 10_000))
	answer.out.until(t, "on")
	dev.signal(syscall.SIGINT)
	dev.out.until(t, "stopping: replicas finish their turns")
	dev.signal(syscall.SIGINT)
	if code := dev.exit(); code != 0 {
		t.Errorf("dev exits with %d", code)
	}
}

// TestDevStopsInOrderThoughNobodyReadsWhatItSays: Ctrl-C goes to tee as well, behind dev in a pipe, and tee ends first.
func TestDevStopsInOrderThoughNobodyReadsWhatItSays(t *testing.T) {
	t.Parallel()
	d := newDevs(t)
	database := suite.Postgres(t)
	reading, writing, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	d.output = writing
	dev := d.start("--replicas", "1", "--database-url", database)
	writing.Close()
	said := newWatched()
	copied := make(chan struct{})
	go func() { defer close(copied); _, _ = io.Copy(said, reading) }()
	said.until(t, "Try:")
	start(t, d.dir, "send", "--nats-url", "nats://"+d.nats, "--chat", "story", strings.Repeat("once upon a time ", 50)).out.until(t, "once")
	reading.Close()
	<-copied
	dev.signal(syscall.SIGINT)
	if code := dev.exit(); code != 0 {
		t.Errorf("dev ends with %s", dev.cmd.ProcessState)
	}
	db, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(t.Context())
	var status, finish string
	const ended = "select c.status, coalesce(m.finish, '') from processor.chats c join processor.messages m on m.chat = c.number where c.id = 'story' order by m.id desc limit 1"
	if err := db.QueryRow(t.Context(), ended).Scan(&status, &finish); err != nil || status != "waiting" || finish != "stop" {
		t.Errorf("the turn was not finished: the chat is %s, its last message ends with %q, %v", status, finish, err)
	}
}

func TestCtrlCStopsTheTurnAndSaysSo(t *testing.T) {
	t.Parallel()
	d := newDevs(t)
	d.start("--replicas", "1", "--database-url", suite.Postgres(t)).out.until(t, "Try:")
	answer := start(t, d.dir, "send", "--nats-url", "nats://"+d.nats, "--chat", "c", strings.Repeat("on and on ", 5000))
	answer.out.until(t, "on and")
	answer.signal(syscall.SIGINT)
	if code := answer.exit(); code != 1 || !strings.Contains(answer.err.String(), "the turn was stopped") {
		t.Errorf("send exits with %d: %s", code, answer.err)
	}
	if out, _, code := d.run("interrupt", "c"); code != 0 || out != "nothing to stop: the chat is waiting, turn 1\n" {
		t.Errorf("interrupt: %d %q", code, out)
	}
	if out, _, code := d.run("retry", "c"); code != 0 || out != "nothing to try again: the chat is waiting\n" {
		t.Errorf("retry: %d %q", code, out)
	}
	if out, _, code := d.run("show", "c"); code != 0 || !strings.Contains(out, "interrupted") {
		t.Errorf("show: %d %q", code, out)
	}
	if out, _, code := d.run("workers"); code != 0 || !strings.Contains(out, "dev-1  live") {
		t.Errorf("workers: %d %q", code, out)
	}
	if out, errs, code := d.run("doctor", "--database-url", "postgres://127.0.0.1:1/nothing"); code != 1 || !strings.Contains(out, "fail  database") {
		t.Errorf("doctor: %d %q %q", code, out, errs)
	}
	if out, errs, code := d.run("rm", "c", "nosuch"); code != 1 || out != "removed c\n" || errs != "processor: there is no chat \"nosuch\"\n" {
		t.Errorf("rm: %d %q %q", code, out, errs)
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		args []string
		code int
		errs string // a pattern
	}{
		{[]string{"--version"}, 0, `^$`},
		{[]string{"ls", "--help"}, 0, `^$`},
		{[]string{}, 2, `^processor: expected one of .*\n$`},
		{[]string{"lss"}, 2, `^processor: .* did you mean "ls".*\n$`},
		{[]string{"run"}, 2, `^processor: .*PROCESSOR_DATABASE_URL.*\n$`},
		{[]string{"ls", "--limit=-1"}, 2, `^processor: .*--limit must not be negative.*\n$`},
		{[]string{"send", "caf\xe9"}, 2, `^processor: argument 2 is not UTF-8.*\n$`},
		{[]string{"send", strings.Repeat("x", 90<<10), strings.Repeat("x", 90<<10), strings.Repeat("x", 90<<10)}, 2, `^processor: the text is longer than 262144 bytes.*\n$`},
		{[]string{"truncate", "c", "first"}, 2, `^processor: .*<message>.*\n$`},
		{[]string{"send"}, 2, `^processor: nothing to send.*\n$`},
		{[]string{"ls", "--nats-url", "nats://127.0.0.1:1"}, 1, `^processor: .*check --nats-url.*\n$`},
		{[]string{"migrate", "--database-url", "postgres://127.0.0.1:1/nothing"}, 1, `^processor: [^\t]*: 127.0.0.1:1 [^\t]*\n$`},
		{[]string{"health", "--http", ":1"}, 1, `^processor: .*\n$`},
		{[]string{"bench", "dispatch", "--database-url", "postgres://127.0.0.1:1/nothing"}, 2, `^processor: .*go together.* \(see processor bench dispatch --help\)\n$`},
		{[]string{"health", "--http", "8080"}, 2, `^processor: .*host:port.*\n$`},
	} {
		t.Run(oneLine(strings.Join(row.args, " "), 100), func(t *testing.T) {
			t.Parallel()
			p := start(t, t.TempDir(), row.args...)
			if code := p.exit(); code != row.code || !regexp.MustCompile(row.errs).MatchString(p.err.String()) {
				t.Errorf("exits with %d and says %q, want %d and %s", code, p.err, row.code, row.errs)
			}
		})
	}
}

func TestMigrateCheckOnlySays(t *testing.T) {
	t.Parallel()
	database := suite.Postgres(t)
	if p := start(t, t.TempDir(), "migrate", "--check", "--database-url", database); p.exit() != 0 {
		t.Errorf("a migrated database: %s", p.err)
	}
	empty := emptied(t, database)
	if p := start(t, t.TempDir(), "migrate", "--check", "--database-url", empty); p.exit() != 1 || !strings.Contains(p.err.String(), "run processor migrate") {
		t.Errorf("an empty database: %s", p.err)
	}
	if p := start(t, t.TempDir(), "migrate", "--database-url", empty); p.exit() != 0 || !strings.Contains(p.out.String(), "nothing is left to do") {
		t.Errorf("migrate: %s %s", p.out, p.err)
	}
}

// emptied drops what the migrations made.
func emptied(t *testing.T, database string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "drop schema processor cascade"); err != nil {
		t.Fatal(err)
	}
	return database
}

func fetch(t *testing.T, address string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(response.Body); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, body.String()
}
