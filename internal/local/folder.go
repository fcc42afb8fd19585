package local

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	dataName     = "data"
	newDataName  = "data.new"
	passwordName = "password"
	logName      = "server.log"
	lockName     = "lock"
)

// folder is a PostgresConfig.Dir that this process has to itself.
type folder struct {
	path    string // absolute
	account *syscall.Credential
	lock    *Lock
	open    *os.File // what the server reaches the folder by, when it runs as another user
}

// openFolder makes the folder when it is missing, decides whose it is, and locks it.
func openFolder(path string) (*folder, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	f := &folder{path: path}
	if err := f.chooseAccount(); err != nil {
		return nil, err
	}
	if f.lock, err = TryLock(f.join(lockName)); err != nil {
		return nil, err
	}
	if f.open, err = os.Open(path); err != nil {
		return nil, errors.Join(err, f.lock.Close())
	}
	return f, nil
}

func (f *folder) close() error {
	err := errors.Join(f.open.Close(), f.lock.Close())
	if errors.Is(err, os.ErrClosed) {
		return nil // Stop was called twice
	}
	return err
}

func (f *folder) join(name string) string { return filepath.Join(f.path, name) }

// inside is the path of a file of the folder as the server sees it.
func (f *folder) inside(name string) string {
	if f.account != nil && passesFolder {
		return "/proc/self/fd/3/" + name // ExtraFiles[0]
	}
	return f.join(name)
}

// chooseAccount leaves the folder to the user that the server will run as. account stays nil when that is us.
func (f *folder) chooseAccount() error {
	owner, err := ownerOf(f.path)
	if err != nil {
		return err
	}
	if data, err := ownerOf(f.join(dataName)); err == nil {
		owner = data
	}
	if uid := os.Geteuid(); uid != 0 {
		if owner.Uid != uint32(uid) {
			return fmt.Errorf("%s belongs to another user (id %d): run as that user, or remove the folder", f.path, owner.Uid)
		}
		return nil
	}
	if owner.Uid == 0 {
		if owner, err = unprivilegedUser(); err != nil {
			return err
		}
	}
	f.account = owner
	return f.give(f.path)
}

// give makes the server's user the owner of a file that we made.
func (f *folder) give(path string) error {
	if f.account == nil {
		return nil
	}
	return os.Chown(path, int(f.account.Uid), int(f.account.Gid))
}

// command is a server program's, run as the right user, with an environment of its own (no PGDATA, no PGPORT) and in a
// process group of its own: Ctrl-C in the terminal must not end the database before those who still write to it.
func (f *folder) command(from programs, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(from.dir, name), args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: f.account}
	if f.account != nil && passesFolder {
		cmd.ExtraFiles = []*os.File{f.open}
	}
	return cmd
}

// version is the major version of the data, 0 when there is none yet.
func (f *folder) version() (int, error) {
	text, err := os.ReadFile(filepath.Join(f.path, dataName, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// initialize makes the data directory under another name and renames it, so that a data directory is a complete one.
func (f *folder) initialize(ctx context.Context, from programs, sync bool) error {
	if err := os.RemoveAll(f.join(newDataName)); err != nil {
		return err
	}
	if err := os.WriteFile(f.join(passwordName), []byte(rand.Text()+"\n"), 0o600); err != nil {
		return err
	}
	if err := f.give(f.join(passwordName)); err != nil {
		return err
	}
	args := []string{
		"-D", f.inside(newDataName), "-U", postgresUser, "--pwfile", f.inside(passwordName),
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C",
	}
	if !sync {
		args = append(args, "--no-sync")
	}
	cmd := f.command(from, "initdb", args...)
	tellOfParentsDeath(cmd.SysProcAttr, syscall.SIGKILL)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	initdb, err := spawn(cmd)
	if err != nil {
		return err
	}
	select {
	case <-initdb.done:
	case <-ctx.Done():
		initdb.stop(ctx, syscall.SIGTERM)
		return context.Cause(ctx)
	}
	if !cmd.ProcessState.Success() {
		return fmt.Errorf("initdb failed: %s", oneLine(output.String()))
	}
	return os.Rename(f.join(newDataName), f.join(dataName))
}

func (f *folder) password() (string, error) {
	text, err := os.ReadFile(f.join(passwordName))
	if err != nil {
		return "", fmt.Errorf("read the database's password: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// stopOrphan ends a server that still runs on our data. We hold the lock, so its parent is gone.
func (f *folder) stopOrphan(ctx context.Context, logger *slog.Logger) error {
	pidFile := filepath.Join(f.path, dataName, "postmaster.pid")
	text, err := os.ReadFile(pidFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var pid int
	if _, err := fmt.Sscan(string(text), &pid); err != nil || !exists(pid) {
		pid = 0
	}
	if pid <= 1 {
		return nil // nobody is left, and the server sees to its own stale file
	}
	if !worksIn(pid, f.join(dataName)) {
		// The number went to somebody else since, and the server would take them for itself and refuse to start.
		logger.Warn("stale postmaster.pid removed", "path", pidFile)
		return os.Remove(pidFile)
	}
	logger.Warn("postgres of an earlier run stopped", "pid", pid)
	return stopStranger(ctx, pid, func() bool { return worksIn(pid, f.join(dataName)) })
}

// stopStranger ends a process that is not our child, politely at first, for as long as it is still the same one.
func stopStranger(ctx context.Context, pid int, same func() bool) error {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL} {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
		for end := time.Now().Add(quitGrace); time.Now().Before(end); {
			if !exists(pid) || !same() {
				return nil
			}
			if !pause(ctx, retryEvery) {
				return context.Cause(ctx)
			}
		}
	}
	return fmt.Errorf("process %d does not end", pid)
}

func exists(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}
