package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"

	"processor/internal/chat"
	"processor/internal/local"
)

// BenchNATSCmd is a nats-server in a process of its own, so that its work is not done by the process that measures.
type BenchNATSCmd struct {
	Listen string `name:"listen" default:"127.0.0.1:0" help:"Address."`
	Store  string `name:"store" required:"" help:"Folder."`
}

// natsGC is GOGC of the benchmark's own NATS: it keeps little alive and would collect all the time.
const natsGC = 400

// Run serves until a signal.
func (c *BenchNATSCmd) Run(ctx context.Context, std *Streams) error {
	debug.SetGCPercent(natsGC)
	n, err := local.StartNATS(ctx, local.NATSConfig{Listen: c.Listen, StoreDir: c.Store})
	if err != nil {
		return err
	}
	defer n.Stop()
	awaitEnd(ctx, std.In)
	return nil
}

// BenchReplicaCmd is run with a model that answers at once and one that kills it, and with a profile. Neither is part of a replica that anybody operates.
type BenchReplicaCmd struct {
	CPUProfile string `name:"cpu-profile" env:"-" placeholder:"FILE" help:"CPU profile."`

	Replica RunCmd `embed:""`
}

// Run runs the replica.
func (c *BenchReplicaCmd) Run(ctx context.Context, std *Streams) error {
	c.Replica.wrap = func(m chat.Models) chat.Models { return instantModels{m} }
	if c.CPUProfile != "" {
		file, err := os.Create(c.CPUProfile)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	return c.Replica.Run(ctx, std)
}

// instantModel answers without HTTP, so that what remains is the processor's own work.
const instantModel = "bench/instant"

type instantModels struct{ chat.Models }

// Resolve implements chat.Models.
func (m instantModels) Resolve(name string) (chat.Model, string, error) {
	switch name {
	case instantModel:
		return instant{}, "instant", nil
	case poisonModel:
		return lethal{}, "poison", nil
	}
	return m.Models.Resolve(name)
}

type instant struct{}

// Stream says as many words as the last message asks for.
func (instant) Stream(_ context.Context, req chat.Request, emit func(chat.Delta)) (chat.Answer, error) {
	n := marked(req.Messages[len(req.Messages)-1].Text(), "tokens")
	for i := range n {
		emit(chat.Delta{Kind: chat.TextDelta, Text: "w" + strconv.FormatInt(i, 10) + " "})
	}
	return chat.Answer{Finish: chat.Stop, Usage: &chat.Usage{OutputTokens: n}}, nil
}

// marked is the number in a text's word #name=number, zero without one.
func marked(text, name string) int64 {
	_, rest, _ := strings.Cut(text, "#"+name+"=")
	digits, _, _ := strings.Cut(rest, " ")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// benchChild is a process of the rig.
type benchChild struct {
	*devReplica
	stop func() // SIGTERM; it does not wait
	done chan struct{}
	// replaced says that another replica was started for this one, which had died.
	replaced bool
}

// spawn starts a process of this program. It ends with the rig at the latest. A process with an address is asked for /readyz there.
func (r *rig) spawn(ctx context.Context, name, address string, environ []string, args ...string) (*benchChild, error) {
	running, stop := context.WithCancel(r.living)
	c := &benchChild{stop: stop, done: make(chan struct{})}
	c.devReplica = &devReplica{name: name, http: address, std: r.std, changed: make(chan struct{})}
	c.command = func() *exec.Cmd {
		cmd := exec.Command(r.self, args...)
		cmd.Env = environ
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the parent
		dieWithParent(cmd.SysProcAttr)
		cmd.WaitDelay = outputGrace
		return cmd
	}
	go func() { defer close(c.done); c.once(running, r.living) }()
	r.children = append(r.children, c)
	if !c.awaitReady(ctx) {
		_, _, ended, _ := c.state()
		return nil, fmt.Errorf("%s did not start: %s", name, ended)
	}
	return c, nil
}

// kill is kill -9. It does not wait.
func (c *benchChild) kill() error {
	pid, _, _, _ := c.state()
	if pid == 0 {
		return fmt.Errorf("%s has ended by itself", c.name)
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}

// freeAddress chooses the port when listen leaves it open.
func freeAddress(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil || port != "0" {
		return listen, err
	}
	free, err := local.FreePort()
	return net.JoinHostPort(host, strconv.Itoa(free)), err
}

// silent is for what serves the measurement.
func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }
