package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"processor/internal/local"
)

// slot is the place of one replica: its processes follow one another, and the proxies before its servers stay.
type slot struct {
	arena *arena
	name  string

	mu      sync.Mutex
	closed  bool
	away    bool // the plan keeps the place empty
	current *resident
	all     []*resident
	waiters sync.WaitGroup
}

// resident is one process of a slot.
type resident struct {
	life
	cmd  *exec.Cmd
	done chan struct{}
}

// spawn starts the slot's next process.
func (s *slot) spawn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spawnLocked()
}

func (s *slot) spawnLocked() {
	s.away = false
	if s.closed {
		return
	}
	r := &resident{life: life{Slot: s.name, Name: fmt.Sprintf("%s%d", s.name, len(s.all)+1), Started: time.Now()}, done: make(chan struct{})}
	if err := s.start(r); err != nil {
		s.arena.t.Errorf("start replica %s: %v", r.Name, err)
		return
	}
	r.PID = r.cmd.Process.Pid
	s.current, s.all = r, append(s.all, r)
	s.waiters.Go(func() { s.wait(r) })
}

func (s *slot) start(r *resident) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	r.Log = s.arena.logOf(r.Name)
	log, err := os.Create(r.Log)
	if err != nil {
		return err
	}
	defer log.Close()
	port, err := local.FreePort() // of its own: a successor starts while this one still drains
	if err != nil {
		return err
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	s.arena.links[linkOf(s.name, "http")].Forward(address)
	r.cmd = exec.Command(self, append([]string{"run", "--name", r.Name, "--http", address, "--http-streams-per-client", "1000"}, s.arena.flags...)...)
	r.cmd.Stdout, r.cmd.Stderr = log, log
	urls := s.arena.urls
	r.cmd.Env = []string{
		asProcessor + "=1", hasty, "PROCESSOR_MODEL=openai/test", "OPENAI_API_KEY=key", "OPENAI_BASE_URL=" + urls[linkOf(s.name, "provider")],
		"PROCESSOR_NATS_URL=" + urls[linkOf(s.name, "nats")], "PROCESSOR_DATABASE_URL=" + urls[linkOf(s.name, "postgres")],
		"PATH=" + os.Getenv("PATH"), "HOME=" + s.arena.dir,
	}
	return r.cmd.Start()
}

// wait notes how a process ended, and fills its place if nobody meant it to.
func (s *slot) wait(r *resident) {
	_ = r.cmd.Wait() // the code says it
	close(r.done)
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Stopped, r.Code = time.Now(), r.cmd.ProcessState.ExitCode()
	if r == s.current && !s.away && !s.closed {
		s.spawnLocked()
	}
}

// kill is kill -9; the place stays empty until spawn.
func (s *slot) kill() {
	s.mu.Lock()
	s.away = true
	r := s.current
	r.Killed = time.Now()
	kill(r.PID)
	s.mu.Unlock()
	<-r.done
}

// replace is a deploy: the old process is told to end, and its successor starts at the same time.
func (s *slot) replace() {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.current
	old.Ended = time.Now()
	_ = syscall.Kill(old.PID, syscall.SIGTERM)
	s.spawnLocked()
}

// freeze stops the process and returns what lets it go on.
func (s *slot) freeze() (resume func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.current
	_ = syscall.Kill(r.PID, syscall.SIGSTOP)
	return func() { _ = syscall.Kill(r.PID, syscall.SIGCONT) }
}

// end kills every process of the slot and waits for them.
func (s *slot) end() {
	s.mu.Lock()
	s.closed = true
	for _, r := range s.all {
		if r.Stopped.IsZero() {
			kill(r.PID)
		}
	}
	s.mu.Unlock()
	s.waiters.Wait()
}

// drained says whether every process that was told to end has.
func (s *slot) drained() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.all {
		if !r.Ended.IsZero() && r.Stopped.IsZero() {
			return false
		}
	}
	return true
}

func (s *slot) lives() []life {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []life
	for _, r := range s.all {
		l := r.life
		log, err := os.ReadFile(l.Log)
		if err != nil {
			s.arena.t.Errorf("read the log of %s: %v", l.Name, err)
		}
		l.Races = bytes.Count(log, []byte("DATA RACE"))
		l.Panics = bytes.Count(log, []byte("panic"))
		all = append(all, l)
	}
	return all
}
