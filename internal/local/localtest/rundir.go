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
	lock *os.File
}

func newRunDir() (*runDir, error) {
	base, err := baseDir()
	if err != nil {
		return nil, err
	}
	unlock, err := exclusive(filepath.Join(base, "lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
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

func (d *runDir) remove() error {
	return errors.Join(os.RemoveAll(d.path), d.lock.Close())
}

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

// exclusive waits for the lock that lets one process at a time make and remove folders.
func exclusive(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return func() { file.Close() }, nil
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
		err = errors.Join(os.RemoveAll(run), lock.Close())
		if err != nil {
			return err
		}
	}
	return nil
}
