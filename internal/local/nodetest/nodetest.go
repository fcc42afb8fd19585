// Package nodetest runs suites of JavaScript under Node.js from Go tests: the published clients of this service, and a browser,
// as their users have them.
//
// Suites are files below test/clients that use node:test. What they import is pinned by package-lock.json there, and installed by
// npm on the first run in a checkout; scripts/install-node sees to Node.js itself, scripts/install-chromium to the browser.
package nodetest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"processor/internal/local"
)

const (
	// suiteLimit bounds a suite; reserve is what is left of Go's own limit for saying what was going on.
	suiteLimit = 5 * time.Minute
	reserve    = 20 * time.Second
	// installLimit bounds npm, which may have to wait for a slow registry.
	installLimit = 5 * time.Minute
)

// Run runs a suite, a path below test/clients, with env added to this process's environment. Its report goes to the test's log. The
// test fails when a test of the suite does, is skipped, or when there was none.
func Run(t *testing.T, suite string, env map[string]string) {
	t.Helper()
	limit := time.Now().Add(suiteLimit)
	if deadline, ok := t.Deadline(); ok && deadline.Add(-reserve).Before(limit) {
		limit = deadline.Add(-reserve)
	}
	ctx, cancel := context.WithDeadline(t.Context(), limit)
	defer cancel()
	root, err := checkout()
	if err != nil {
		t.Fatal(err)
	}
	n := node{root: root, out: t.Output()}
	if err := n.install(ctx); err != nil {
		t.Fatalf("install the packages of test/clients: %v", err)
	}
	if err := n.run(ctx, filepath.Join(n.clients(), suite), env); err != nil {
		t.Fatalf("suite %s: %v", suite, err)
	}
}

// checkout is the folder of go.mod.
func checkout() (string, error) {
	dir, err := os.Getwd()
	for ; err == nil; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no go.mod here or above")
		}
	}
	return "", err
}

// node is Node.js in a checkout.
type node struct {
	root string
	out  io.Writer
}

func (n node) clients() string { return filepath.Join(n.root, "test", "clients") }

// install brings node_modules to what the lock file says. One process of several does, the others wait.
func (n node) install(ctx context.Context) error {
	lock, err := os.ReadFile(filepath.Join(n.clients(), "package-lock.json"))
	if err != nil {
		return err
	}
	sum := sha256.Sum256(lock)
	want, stamp := hex.EncodeToString(sum[:]), filepath.Join(n.clients(), "node_modules", ".installed")
	done := func() bool { have, err := os.ReadFile(stamp); return err == nil && string(have) == want }
	if done() {
		return nil
	}
	tools := filepath.Join(n.root, ".tools")
	if err := os.MkdirAll(tools, 0o755); err != nil {
		return err
	}
	turn, err := local.AwaitLock(filepath.Join(tools, "clients.lock"))
	if err != nil {
		return err
	}
	defer turn.Close()
	if done() {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, installLimit, fmt.Errorf("it took longer than %s", installLimit))
	defer cancel()
	npm := exec.CommandContext(ctx, "npm", "ci", "--loglevel=error")
	npm.Dir, npm.Stdout, npm.Stderr = n.clients(), n.out, n.out
	if err := inGroup(npm).Run(); err != nil {
		return fmt.Errorf("npm ci: %w", errors.Join(err, context.Cause(ctx)))
	}
	return os.WriteFile(stamp, []byte(want), 0o600)
}

// run runs one file as a program, not by the runner of many files, to which a file without tests is a test that passes.
func (n node) run(ctx context.Context, suite string, env map[string]string) error {
	if err := readAll(filepath.Dir(suite)); err != nil {
		return err
	}
	report, err := os.CreateTemp("", "nodetest-*.tap")
	if err != nil {
		return err
	}
	defer os.Remove(report.Name())
	defer report.Close()
	cmd := exec.CommandContext(ctx, filepath.Join(n.root, ".tools", "node", "bin", "node"), "--test-force-exit",
		"--test-reporter=spec", "--test-reporter-destination=stdout", "--test-reporter=tap", "--test-reporter-destination="+report.Name(), suite)
	cmd.Stdout, cmd.Stderr = n.out, n.out
	cmd.Env = append(os.Environ(), "NO_COLOR=1")
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	err = inGroup(cmd).Run()
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("scripts/install-node has not been run: %w", err)
	}
	if err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	return judge(report)
}

// inGroup makes the end of ctx the end of all that the command has started.
func inGroup(cmd *exec.Cmd) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = reserve / 2 // also how long its last words may take after its end
	return cmd
}

// readAll opens a suite and what it may import, for Go to know that a result is not to be had from the cache after a change of these.
func readAll(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.Name() == "node_modules":
			return fs.SkipDir
		case d.IsDir():
			return nil
		}
		_, err = root.ReadFile(path)
		return err
	})
}

// judge reads the totals that end a report, of which an exit code of zero says too little: a suite without tests has it, and one that
// skips them all.
func judge(report io.Reader) error {
	all, err := io.ReadAll(report)
	if err != nil {
		return err
	}
	totals := map[string]int{}
	for lines := bufio.NewScanner(bytes.NewReader(all)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) != 3 || !strings.HasPrefix(lines.Text(), "# ") {
			continue
		}
		if n, err := strconv.Atoi(fields[2]); err == nil {
			totals[fields[1]] = n
		}
	}
	switch tests := totals["tests"]; {
	case tests == 0:
		return errors.New("no test ran")
	case totals["pass"] != tests:
		return fmt.Errorf("of %d tests %d passed: %v", tests, totals["pass"], totals)
	}
	return nil
}
