package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"processor/internal/local"
)

const (
	// respawnPause keeps a replica that can't start from starting all the time.
	respawnPause = time.Second
	readyPoll    = 50 * time.Millisecond
	// outputGrace is how long a dead replica's output may still come.
	outputGrace = time.Second
)

// devReplica is one replica that dev looks after.
type devReplica struct {
	name    string
	http    string // host:port, empty for none
	command func() *exec.Cmd
	respawn bool
	std     *Streams

	mu      sync.Mutex
	pid     int // zero while it does not run
	starts  int
	ended   string        // how it ended last
	changed chan struct{} // closed and replaced whenever it starts or ends
}

// newReplicas makes the replicas' command lines. Flags are handed on by their variables: they hold secrets, and none is
// forgotten.
func (c *DevCmd) newReplicas(d *dev, command *kong.Context) ([]*devReplica, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	environ := append(handOn(command, os.Environ()), "PROCESSOR_NATS_URL="+d.natsURL, "PROCESSOR_DATABASE_URL="+d.database)
	var replicas []*devReplica
	address := ""
	if d.http != nil {
		address = d.http.Addr().String()
	}
	for i := range c.Replicas {
		r := &devReplica{name: "dev-" + strconv.Itoa(i+1), respawn: c.Respawn, std: d.std, changed: make(chan struct{})}
		if address != "" {
			if address, err = nextFree(address); err != nil {
				return nil, err
			}
			r.http = address
		}
		r.command = func() *exec.Cmd {
			cmd := exec.Command(self, "run", "--name", r.name, "--http", r.http, "--leash")
			cmd.Env = environ
			// Ctrl-C goes to everybody in a terminal's process group; what a replica gets is dev's decision.
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			dieWithParent(cmd.SysProcAttr)
			cmd.WaitDelay = outputGrace
			return cmd
		}
		replicas = append(replicas, r)
	}
	return replicas, nil
}

// handOn replaces the variables of run's flags by the values that dev has for them.
func handOn(command *kong.Context, environ []string) []string {
	mine := map[string]any{}
	for _, f := range command.Flags() {
		mine[f.Name] = command.FlagValue(f)
	}
	for _, node := range command.Model.Children {
		if node.Name != "run" {
			continue
		}
		for _, f := range node.Flags {
			for _, variable := range f.Envs {
				environ = slices.DeleteFunc(environ, func(entry string) bool { return strings.HasPrefix(entry, variable+"=") })
				if value, ok := mine[f.Name]; ok && f.Name != "http" {
					environ = append(environ, variable+"="+asVariable(value))
				}
			}
		}
	}
	return environ
}

// asVariable writes a flag's value as its variable has it.
func asVariable(value any) string {
	list := reflect.ValueOf(value)
	if list.Kind() != reflect.Slice {
		return fmt.Sprint(value)
	}
	all := make([]string, list.Len())
	for i := range all {
		all[i] = list.Index(i).String()
	}
	return strings.Join(all, ",")
}

// nextFree reserves the first port above the address's that nobody has.
func nextFree(address string) (string, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return "", err
	}
	for next := port + 1; next < min(port+1000, 1<<16); next++ {
		candidate := net.JoinHostPort(host, strconv.Itoa(next))
		if local.Reserve(candidate) == nil {
			return candidate, nil
		}
	}
	return "", fmt.Errorf("no free port above %s for a replica: choose another address with --http", address)
}

// runReplicas returns when all have ended.
func (d *dev) runReplicas(running, living context.Context) error {
	var group sync.WaitGroup
	for _, r := range d.replicas {
		group.Go(func() { r.run(running, living) })
	}
	<-running.Done()
	group.Wait()
	return nil
}

// run keeps the replica until running ends, then lets it finish until living does.
func (r *devReplica) run(running, living context.Context) {
	for running.Err() == nil {
		how := r.once(running, living)
		if running.Err() != nil {
			return
		}
		if !r.respawn {
			r.std.warn("replica %s %s; it stays away, for dev was started without --respawn", r.name, how)
			return
		}
		r.std.warn("replica %s %s; starting it again", r.name, how)
		if !pause(running, respawnPause) {
			return
		}
	}
}

// once is one life of the replica. It says how it ended.
//
// It keeps its thread: the kernel kills the child when the thread that made it ends, and Go ends threads as it likes.
func (r *devReplica) once(running, living context.Context) (how string) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := r.command()
	output := &prefixWriter{to: r.std.Err, prefix: dim(r.std.Err, r.name+" |") + " "}
	cmd.Stdout, cmd.Stderr = output, output
	_, err := cmd.StdinPipe() // the leash, which ends with this process
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		how = "did not start: " + err.Error()
		r.note(0, how)
		return how
	}
	r.note(cmd.Process.Pid, "")
	drain := context.AfterFunc(running, func() { r.signal(cmd, syscall.SIGTERM) })
	kill := context.AfterFunc(living, func() { r.signal(cmd, syscall.SIGKILL) })
	err = cmd.Wait()
	drain()
	kill()
	output.flush()
	how = fmt.Sprintf("(pid %d) ended: %s", cmd.Process.Pid, cmd.ProcessState)
	if err != nil && cmd.ProcessState == nil {
		how = "ended: " + err.Error()
	}
	r.note(0, how)
	return how
}

func (r *devReplica) signal(cmd *exec.Cmd, s os.Signal) {
	if err := cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		r.std.warn("replica %s does not take the signal %s: %v", r.name, s, err)
	}
}

// note takes down a start, with the pid, or an end.
func (r *devReplica) note(pid int, how string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pid, r.ended = pid, how
	if pid != 0 {
		r.starts++
	}
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *devReplica) state() (pid, starts int, ended string, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pid, r.starts, r.ended, r.changed
}

// awaitReady returns when the replica takes work, or false when it ended before.
func (r *devReplica) awaitReady(ctx context.Context) bool {
	for {
		pid, _, ended, changed := r.state()
		if ended != "" && !r.respawn {
			return false
		}
		if pid != 0 && (r.http == "" || probeHTTP(ctx, r.http, "/readyz") == nil) {
			return true
		}
		select {
		case <-changed:
		case <-time.After(readyPoll):
		case <-ctx.Done():
			return false
		}
	}
}

// probeTimeout bounds one question for readiness.
const probeTimeout = 2 * time.Second

// probeHTTP asks whoever listens at address how it is, itself: a proxy that the environment names is for the world outside.
func probeHTTP(ctx context.Context, address, path string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return nil
	}
	why, err := io.ReadAll(io.LimitReader(response.Body, 200))
	if err != nil {
		return err
	}
	return fmt.Errorf("%s answers %s: %s", address, response.Status, oneLine(string(why), 200))
}
