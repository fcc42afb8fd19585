package localtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"processor/internal/local"
)

const (
	ramDisk = "/dev/shm"
	// ramNeeded keeps us off small RAM disks: containers have 64 MB unless told otherwise.
	ramNeeded = 2 << 30
)

// runDir is a folder that exists for as long as this process. Another process finds out by its lock, which ends with the
// holder, that it was left behind, and removes it.
type runDir struct {
	path string
	lock *local.Lock
}

func newRunDir() (*runDir, error) {
	base, err := baseDir()
	if err != nil {
		return nil, err
	}
	turn, err := local.AwaitLock(turnOf(base))
	if err != nil {
		return nil, err
	}
	defer turn.Close()
	if err := removeLeftovers(base); err != nil {
		return nil, err
	}
	path, err := os.MkdirTemp(base, "run-")
	if err != nil {
		return nil, err
	}
	lock, err := local.TryLock(lockOf(path))
	return &runDir{path: path, lock: lock}, err
}

// remove takes its turn: without its lock, which is removed with the rest, the folder looks left behind to others.
func (d *runDir) remove() error {
	turn, err := local.AwaitLock(turnOf(filepath.Dir(d.path)))
	if err != nil {
		return err
	}
	defer turn.Close()
	return errors.Join(os.RemoveAll(d.path), d.lock.Close())
}

// turnOf is the lock that lets one process at a time make and remove folders.
func turnOf(base string) string { return filepath.Join(base, "lock") }

func lockOf(run string) string { return filepath.Join(run, "lock") }

// baseDir is this user's folder for test runs.
func baseDir() (string, error) {
	parent := os.TempDir()
	var disk syscall.Statfs_t
	if syscall.Statfs(ramDisk, &disk) == nil && disk.Bavail*uint64(disk.Bsize) >= ramNeeded {
		parent = ramDisk
	}
	base := filepath.Join(parent, fmt.Sprintf("processor-test-%d", os.Geteuid()))
	err := os.Mkdir(base, 0o700)
	if err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	info, err := os.Lstat(base)
	if err != nil {
		return "", err
	}
	// The parent is everybody's: the folder may be somebody else's trap.
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || !info.IsDir() || int(stat.Uid) != os.Geteuid() {
		return "", fmt.Errorf("%s is not a folder of this user: remove it", base)
	}
	return base, nil
}

func removeLeftovers(base string) error {
	runs, err := filepath.Glob(filepath.Join(base, "run-*"))
	if err != nil {
		return err
	}
	for _, run := range runs {
		lock, err := local.TryLock(lockOf(run))
		if err != nil {
			continue // in use
		}
		// A server that was killed with its test is there for a moment longer, and writes. What resists is left to the next run.
		_ = errors.Join(os.RemoveAll(run), lock.Close())
	}
	return nil
}
