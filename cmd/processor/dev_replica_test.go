package main

import (
	"bytes"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
)

func TestDevHandsOnEveryFlagOfRun(t *testing.T) {
	t.Parallel()
	p, _ := parser(t, &CLI{})
	command, err := p.Parse([]string{"dev", "--slots", "7", "--heartbeat", "300ms", "--history-bytes", "64KiB", "--log-level", "debug", "--model", "demo/echo"})
	if err != nil {
		t.Fatal(err)
	}
	environ := handOn(command, []string{"HOME=/root", "PROCESSOR_SLOTS=1", "PROCESSOR_HTTP=:1", "PROCESSOR_NATS_CREDS=/theirs", "PROCESSOR_OTHER=kept"})
	for _, want := range []string{
		"HOME=/root", "PROCESSOR_OTHER=kept", "PROCESSOR_SLOTS=7", "PROCESSOR_HEARTBEAT=300ms", "PROCESSOR_HISTORY_BYTES=64KiB",
		"PROCESSOR_LOG_LEVEL=DEBUG", "PROCESSOR_MODEL=demo/echo", "PROCESSOR_LOST_AFTER=10s",
	} {
		if !slices.Contains(environ, want) {
			t.Errorf("the environment of a replica has no %s", want)
		}
	}
	own := []string{"http", "name", "leash", "nats-url", "nats-creds", "nats-ca", "nats-cert", "nats-key"}
	for _, node := range p.Model.Children {
		if node.Name != "run" {
			continue
		}
		for _, f := range node.Flags {
			handed := slices.ContainsFunc(environ, func(entry string) bool { return strings.HasPrefix(entry, f.Envs[0]+"=") })
			if handed == slices.Contains(own, f.Name) {
				t.Errorf("--%s is handed on: %v", f.Name, handed)
			}
		}
	}
}

func TestReplicasGetTheNextFreePort(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	next, err := nextFree(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if host, _, err := net.SplitHostPort(next); err != nil || host != "127.0.0.1" || next == ln.Addr().String() {
		t.Errorf("the next free port of %s is %s (%v)", ln.Addr(), next, err)
	}
}

func TestLinesOfReplicasAreNotMixed(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	one, two := &prefixWriter{to: &out, prefix: "1 | "}, &prefixWriter{to: &out, prefix: "2 | "}
	for _, step := range []struct {
		to   *prefixWriter
		text string
	}{{one, "he"}, {two, "good"}, {one, "llo\nwor"}, {two, "bye\n"}, {one, "ld"}} {
		if _, err := io.WriteString(step.to, step.text); err != nil {
			t.Fatal(err)
		}
	}
	one.flush()
	two.flush()
	if got, want := out.String(), "1 | hello\n2 | goodbye\n1 | world\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
