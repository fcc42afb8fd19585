package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"processor/internal/bus"
)

// asNATS makes the test binary a nats-server with the configuration file of this name, so that one of a cluster can be killed.
const asNATS = "PROCESSOR_TEST_AS_NATS"

func serveNATS(config string) (code int) {
	options, err := server.ProcessConfigFile(config)
	if err == nil {
		options.NoSigs = true
		var s *server.Server
		if s, err = server.NewServer(options); err == nil {
			s.ConfigureLogger()
			s.Start()
			_, _ = io.Copy(io.Discard, os.Stdin) // until the test ends, or is killed
			return 0
		}
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// cluster is three nats-servers that share the streams.
type cluster struct {
	t     *testing.T
	nodes []*node
}

type node struct {
	t           *testing.T
	name, url   string
	config, log string
	cmd         *exec.Cmd
	stdin       io.Closer
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t}
	var routes []string
	dir, d := t.TempDir(), &deployment{t: t}
	for i := range 3 {
		name, route := fmt.Sprint("n", i+1), d.freeAddress()
		routes = append(routes, "nats://"+route)
		c.nodes = append(c.nodes, &node{t: t, name: name, url: d.freeAddress(), config: filepath.Join(dir, name+".conf"), log: filepath.Join(dir, name+".log")})
	}
	for i, n := range c.nodes {
		config := fmt.Sprintf("server_name: %s\nlisten: %q\nlog_file: %q\nping_interval: \"2s\"\njetstream { store_dir: %q }\ncluster { name: test, listen: %q, routes: [%s] }\n",
			n.name, n.url, n.log, filepath.Join(dir, n.name), strings.TrimPrefix(routes[i], "nats://"), strings.Join(routes, ", "))
		d.must(os.WriteFile(n.config, []byte(config), 0o600))
		n.url = "nats://" + n.url
		n.start()
	}
	return c
}

// url names all servers; whoever uses it takes one of them.
func (c *cluster) url() string {
	var urls []string
	for _, n := range c.nodes {
		urls = append(urls, n.url)
	}
	return strings.Join(urls, ",")
}

func (c *cluster) node(name string) *node {
	c.t.Helper()
	for _, n := range c.nodes {
		if n.name == name {
			return n
		}
	}
	c.t.Fatalf("no server is called %q", name)
	return nil
}

func (n *node) start() {
	n.t.Helper()
	self, err := os.Executable()
	if err == nil {
		n.cmd = exec.Command(self)
		n.cmd.Env = append(cleanEnvironment(), asNATS+"="+n.config, hasty)
		n.cmd.Stderr = os.Stderr
		n.stdin, err = n.cmd.StdinPipe()
	}
	if err == nil {
		err = n.cmd.Start()
	}
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(n.kill)
}

func (n *node) kill() {
	if n.cmd.ProcessState == nil {
		kill(n.cmd.Process.Pid)
		_ = n.cmd.Wait()
	}
}

func (n *node) signal(sig syscall.Signal) {
	n.t.Helper()
	if err := n.cmd.Process.Signal(sig); err != nil {
		n.t.Fatal(err)
	}
}

// leader waits until the stream of dispatches has a leader.
func (d *deployment) leader() (name string) {
	d.t.Helper()
	js := d.jetstream()
	d.await("the stream has a leader", func() bool {
		ctx, cancel := context.WithTimeout(d.ctx, 2*time.Second) // whoever asks while they elect one may get no answer
		defer cancel()
		s, err := js.Stream(ctx, bus.ChatsStream)
		if err != nil || s.CachedInfo().Cluster == nil {
			return false
		}
		name = s.CachedInfo().Cluster.Leader
		return name != ""
	})
	return name
}

// A cluster may lose servers, the stream its leader, and then the servers that could elect one: no message is lost, and no replica loses its chats.
func TestNoServerOfAClusterIsNeeded(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	d := deployAt(t, suite.Postgres(t), c.url())
	flags := []string{"--slots", "3", "--stream-replicas", "3"}
	d.start("a", flags...)
	d.start("b", flags...)
	l := d.load(10)
	check := d.alive()
	first := c.node(d.leader())
	others := slices.DeleteFunc(slices.Clone(c.nodes), func(n *node) bool { return n == first })
	for _, step := range []struct {
		when string
		do   func()
	}{
		{"the leader is killed", first.kill},
		{"one server is left", others[0].kill},
		{"all are back", func() { first.start(); others[0].start() }},
		{"one freezes", func() { others[1].signal(syscall.SIGSTOP) }},
		{"it goes on", func() { others[1].signal(syscall.SIGCONT) }},
	} {
		start := time.Now()
		step.do()
		l.goesOn("every client is served when "+step.when, 3)
		t.Logf("%s: every client had answers %s later", step.when, time.Since(start))
	}
	l.ends()
	check()
}
