package local

import (
	"context"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// process is a child that somebody waits for.
type process struct {
	pid  int
	done chan struct{} // closed when it has ended
}

// spawn starts cmd and waits for it on a goroutine of its own.
//
// The goroutine keeps its thread for as long as the child lives: the kernel delivers the signal that tells the child of
// its parent's death when the thread that made it ends, and Go ends threads as it likes.
func spawn(cmd *exec.Cmd) (*process, error) {
	p := &process{done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := cmd.Start()
		if err == nil {
			p.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its log
		}
	}()
	return p, <-started
}

func (p *process) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// stop sends sig and returns when the process is gone. It gets harsher when ctx ends, and again after quitGrace.
func (p *process) stop(ctx context.Context, sig syscall.Signal) {
	p.signal(sig)
	select {
	case <-p.done:
		return
	case <-ctx.Done():
	}
	p.signal(syscall.SIGQUIT)
	select {
	case <-p.done:
	case <-time.After(quitGrace):
		p.kill()
	}
}

func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.done
}

func (p *process) signal(sig syscall.Signal) {
	if p.alive() {
		_ = syscall.Kill(p.pid, sig) // it may have ended by itself
	}
}

// command is the server's command line. Settings are given here and not in postgresql.conf, so that a newer processor
// brings its own to old data.
func (p *Postgres) command(log *serverLog) *exec.Cmd {
	settings := map[string]string{
		"listen_addresses":        "127.0.0.1",
		"port":                    strconv.Itoa(p.port),
		"unix_socket_directories": "",
		"max_connections":         strconv.Itoa(p.config.MaxConnections),
		"cluster_name":            "processor",
		"logging_collector":       "off",
		"log_destination":         "stderr",
		"lc_messages":             "C",
	}
	if !p.config.Fsync {
		// synchronous_commit stays on: what was committed survives a crash of the server, though not of the machine.
		settings["fsync"] = "off"
		settings["full_page_writes"] = "off"
	}
	for name, value := range p.config.Settings {
		settings[name] = value
	}
	args := []string{"-D", p.folder.inside(dataName)}
	for name, value := range settings {
		args = append(args, "--"+name+"="+value)
	}
	slices.Sort(args[2:])

	cmd := p.folder.command(p.programs, "postgres", args...)
	cmd.Stdout, cmd.Stderr = log.file, log.file
	goodbye := syscall.SIGINT
	if !p.config.Fsync {
		goodbye = syscall.SIGQUIT // there is no data to write a checkpoint for
	}
	tellOfParentsDeath(cmd.SysProcAttr, goodbye)
	return cmd
}
