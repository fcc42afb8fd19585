package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
)

// shares is how many cores the Go processes of a benchmark use at a time, when it starts all of them: what a container of each would get. Go lets every
// process use all of them, and where several do that on few cores their idle threads look for work in turn and take the processor from who has some.
type shares struct {
	all    int
	each   int // of NATS, the provider and the process that sends: a quarter
	worker int // of a replica: its part of all
}

// shareCores limits this process, and says what the others get. It returns nil, which limits nothing, when the servers are somebody else's or the user
// has said how many.
func shareCores(own bool) *shares {
	if _, said := os.LookupEnv("GOMAXPROCS"); said || !own {
		return nil
	}
	all := runtime.GOMAXPROCS(0)
	s := &shares{all: all, each: max(1, all/4), worker: all}
	runtime.GOMAXPROCS(s.each)
	return s
}

// giveBack lets this process use all again.
func (s *shares) giveBack() {
	if s != nil {
		runtime.GOMAXPROCS(s.all)
	}
}

// among says how many replicas are to share.
func (s *shares) among(replicas int) {
	if s != nil {
		s.worker = max(1, s.all/replicas)
	}
}

func (s *shares) server(environ []string) []string {
	if s == nil {
		return environ
	}
	return limited(environ, s.each)
}

func (s *shares) replica(environ []string) []string {
	if s == nil {
		return environ
	}
	return limited(environ, s.worker)
}

// limited does not write into environ, which others get too.
func limited(environ []string, cores int) []string {
	return append(slices.Clip(environ), "GOMAXPROCS="+strconv.Itoa(cores))
}

// String is for the report.
func (s *shares) String() string {
	if s == nil {
		return ""
	}
	return fmt.Sprintf("GOMAXPROCS %d of a replica, %d of NATS, the provider and the senders each", s.worker, s.each)
}
