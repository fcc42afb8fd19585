package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"

	"processor/internal/chat"
	"processor/internal/local"
)

// yaml reads as much of YAML as the compose file is written in: mappings by indentation, flow lists and mappings on one line, anchors of
// mappings, merges, comments, and scalars, which stay texts.
type yaml struct {
	lines   []string
	anchors map[string]map[string]any
}

func parseYAML(text string) map[string]any {
	y := &yaml{anchors: map[string]map[string]any{}}
	comment := regexp.MustCompile(`(^|\s)#.*$`)
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(comment.ReplaceAllString(line, ""), " \n"); line != "" {
			y.lines = append(y.lines, line)
		}
	}
	return y.mapping(0)
}

func indentation(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

func (y *yaml) mapping(indent int) map[string]any {
	out := map[string]any{}
	for len(y.lines) > 0 && indentation(y.lines[0]) == indent {
		key, value, _ := strings.Cut(strings.TrimSpace(y.lines[0]), ":")
		value = strings.TrimSpace(value)
		y.lines = y.lines[1:]
		deeper := len(y.lines) > 0 && indentation(y.lines[0]) > indent
		switch anchor, named := strings.CutPrefix(value, "&"); {
		case key == "<<":
			maps.Copy(out, y.anchors[strings.TrimPrefix(value, "*")])
		case deeper:
			inner := y.mapping(indentation(y.lines[0]))
			if out[key] = inner; named {
				y.anchors[anchor] = inner
			}
		default:
			out[key] = flow(value)
		}
	}
	return out
}

func flow(value string) any {
	if inner, ok := strings.CutPrefix(value, "["); ok {
		list := []string{}
		for item := range strings.SplitSeq(strings.TrimSuffix(inner, "]"), ",") {
			list = append(list, scalar(item))
		}
		return list
	}
	if inner, ok := strings.CutPrefix(value, "{"); ok {
		key, value, _ := strings.Cut(strings.TrimSuffix(inner, "}"), ":")
		return map[string]any{key: scalar(value)}
	}
	return scalar(value)
}

// scalar is a text with the defaults of its variables.
func scalar(value string) string {
	return regexp.MustCompile(`\$\{\w+:-([^}]*)\}`).ReplaceAllString(strings.Trim(strings.TrimSpace(value), `"`), "$1")
}

// compose is the deployment that the repository ships.
type compose struct {
	t        *testing.T
	services map[string]any
	// entrypoint and health are the image's, from its Dockerfile.
	entrypoint, health []string
}

func readCompose(t *testing.T) compose {
	t.Helper()
	file, err := os.ReadFile("../../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	c := compose{t: t, services: parseYAML(string(file))["services"].(map[string]any)}
	dockerfile, err := os.Open("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	defer dockerfile.Close()
	for lines := bufio.NewScanner(dockerfile); lines.Scan(); {
		if words, ok := strings.CutPrefix(lines.Text(), "ENTRYPOINT "); ok {
			err = json.Unmarshal([]byte(words), &c.entrypoint)
		}
		if _, words, ok := strings.Cut(lines.Text(), " CMD "); ok && strings.HasPrefix(lines.Text(), "HEALTHCHECK ") {
			err = json.Unmarshal([]byte(words), &c.health)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c compose) at(path ...string) any {
	var v any = c.services
	for _, key := range path {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	return v
}

func (c compose) text(path ...string) string {
	s, _ := c.at(path...).(string)
	return s
}

func (c compose) duration(path ...string) time.Duration {
	c.t.Helper()
	d, err := time.ParseDuration(c.text(path...))
	if err != nil {
		c.t.Errorf("%v: %v", path, err)
	}
	return d
}

func TestTheComposeFileCanBeScaledAndStopped(t *testing.T) {
	t.Parallel()
	c := readCompose(t)
	drain := c.duration("processor", "environment", "PROCESSOR_DRAIN_TIMEOUT")
	finalize := c.duration("processor", "environment", "PROCESSOR_FINALIZE_TIMEOUT")
	if grace := c.duration("processor", "stop_grace_period"); grace <= drain+finalize {
		t.Errorf("a stop is granted %s, less than %s to drain and %s to finalize", grace, drain, finalize)
	}
	for name := range c.services {
		if c.text(name, "container_name") != "" {
			t.Errorf("%s has a fixed name", name)
		}
		if c.text(name, "restart") == "" {
			t.Errorf("%s is not restarted", name)
		}
	}
	replicas, err := strconv.Atoi(c.text("processor", "deploy", "replicas"))
	if err != nil || replicas < 2 {
		t.Errorf("%d replicas", replicas)
	}
	ports, _ := c.at("processor", "ports").([]string)
	for _, port := range ports {
		if m := regexp.MustCompile(`:(\d+)-(\d+):\d+$`).FindStringSubmatch(port); m == nil {
			t.Errorf("the port %s of the host can be had by one replica only", port)
		} else if low, _ := strconv.Atoi(m[1]); !strings.HasPrefix(m[2], m[1][:2]) || low == 0 {
			t.Errorf("the ports %s are no range", port)
		}
	}
	if disabled := c.text("processor", "healthcheck", "disable"); disabled != "" || len(c.health) == 0 {
		t.Errorf("the replicas have no health check: %q %v", disabled, c.health)
	}
	for name := range c.services {
		on, _ := c.at(name, "depends_on").(map[string]any)
		for other := range on {
			checked := c.at(other, "healthcheck", "test") != nil
			if condition := c.text(name, "depends_on", other, "condition"); condition == "service_healthy" && !checked || condition == "" {
				t.Errorf("%s waits for %s to be %q, which has no health check", name, other, condition)
			}
		}
	}
}

// composed is a deployment of the compose file's services as processes of this machine.
type composed struct {
	*deployment
	compose
}

// environment is a service's, with the host names of this machine in it.
func (c composed) environment(service string, port int) (env []string) {
	c.deployment.t.Helper()
	settings, _ := c.at(service, "environment").(map[string]any)
	for name, v := range settings {
		value, _ := v.(string)
		switch name {
		case "PROCESSOR_DATABASE_URL":
			c.sameKind(value, c.database)
			value = c.database
		case "PROCESSOR_NATS_URL":
			c.sameKind(value, c.natsURL)
			value = c.natsURL
		case "PROCESSOR_HTTP":
			value = strings.Replace(value, ":8080", fmt.Sprintf(":%d", port), 1)
		}
		if value != "" {
			env = append(env, name+"="+value)
		}
	}
	return append(env, asProcessor+"=1", "PATH="+os.Getenv("PATH"))
}

func (c composed) sameKind(theirs, ours string) {
	c.deployment.t.Helper()
	a, err := url.Parse(theirs)
	c.must(err)
	b, err := url.Parse(ours)
	c.must(err)
	if a.Scheme != b.Scheme || a.Port() == "" || c.at(a.Hostname()) == nil {
		c.deployment.t.Errorf("%s names no service of the file", theirs)
	}
}

// command is one of the image's, by this binary.
func (c composed) command(service string, port int, words ...string) *exec.Cmd {
	c.deployment.t.Helper()
	self, err := os.Executable()
	c.must(err)
	if words == nil {
		words, _ = c.at(service, "command").([]string)
	}
	cmd := exec.CommandContext(c.ctx, self, words...)
	cmd.Env = c.environment(service, port)
	return cmd
}

// healthy runs the image's health check like Docker does: inside the container, with its environment.
func (c composed) healthy(port int) bool {
	return c.command("processor", port, c.health[len(c.entrypoint):]...).Run() == nil
}

func TestTheComposeServicesAreADeployment(t *testing.T) {
	t.Parallel()
	c := composed{deploy(t), readCompose(t)}
	_, err := c.connect().Exec(c.ctx, `drop schema processor cascade`)
	c.must(err)
	if out, err := c.command("migrate", 0).CombinedOutput(); err != nil {
		t.Fatalf("migrate: %v: %s", err, out)
	}
	ports := map[int]*exec.Cmd{}
	for range 3 {
		port, err := local.FreePort()
		c.must(err)
		log := &logBuffer{}
		cmd := c.command("processor", port)
		cmd.Stdout, cmd.Stderr = log, log
		c.must(cmd.Start())
		t.Cleanup(func() {
			if cmd.ProcessState == nil {
				kill(cmd.Process.Pid)
				_ = cmd.Wait()
			}
			if t.Failed() {
				t.Logf("log of %d:\n%s", port, log)
			}
		})
		ports[port] = cmd
	}
	for port := range ports {
		c.await("the health check passes", func() bool { return c.healthy(port) })
	}
	c.send("c", "one two three")
	want := []string{"user: one two three", "assistant stop: one two three"}
	if diff := cmp.Diff(want, says(c.answered("c"))); diff != "" {
		t.Error(diff)
	}
	if model := c.get("c").Model; model != "demo/echo" {
		t.Errorf("without keys the model is %s", model)
	}
	for port, cmd := range ports {
		c.must(cmd.Process.Signal(syscall.SIGTERM))
		if err := cmd.Wait(); err != nil || c.healthy(port) {
			t.Errorf("a stopped replica ended with %v, or its health check still passes", err)
		}
	}
	if left := slices.DeleteFunc(c.workers(), func(w chat.Worker) bool { return w.Status == chat.WorkerLost }); len(left) != 0 {
		t.Errorf("stopped replicas are still registered: %v", left)
	}
}

// TestTheComposeFilesNATSHasJetStream starts a server with the arguments of the file, but for the places of this machine.
func TestTheComposeFilesNATSHasJetStream(t *testing.T) {
	t.Parallel()
	c := readCompose(t)
	args, _ := c.at("nats", "command").([]string)
	options, err := server.ConfigureOptions(flag.NewFlagSet("nats-server", flag.ContinueOnError), args, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if options.StoreDir != "/data" || !slices.Contains(c.at("nats", "volumes").([]string), "nats:/data") {
		t.Errorf("JetStream writes to %s, which is not the volume", options.StoreDir)
	}
	test, _ := c.at("nats", "healthcheck", "test").([]string)
	probe, err := url.Parse(test[len(test)-1])
	if err != nil || probe.Port() != strconv.Itoa(options.HTTPPort) {
		t.Errorf("the health check asks %s, the server answers on port %d", probe, options.HTTPPort)
	}
	options.Host, options.Port, options.HTTPHost, options.HTTPPort, options.StoreDir = "127.0.0.1", -1, "127.0.0.1", -1, t.TempDir()
	options.NoSigs, options.NoLog = true, true
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) || !s.JetStreamEnabled() {
		t.Fatal("the server has no JetStream")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.MonitorAddr().String()+probe.Path, nil)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		t.Errorf("%s answered %s", probe.Path, reply.Status)
	}
}
