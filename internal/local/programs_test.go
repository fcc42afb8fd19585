package local

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// install puts stubs of server programs into a folder.
func install(t *testing.T, dir string, major int) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\necho 'postgres (PostgreSQL) %d.4 (Stub 1)'\n", major)
	// What somebody could still write to is not executed, and a program that another test starts has copies of our descriptors.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	for _, name := range []string{"initdb", "postgres"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestProgramsAreFoundNewestFirstAndThePathBeforeAll(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	old := install(t, filepath.Join(root, "9", "bin"), 9)
	newer := install(t, filepath.Join(root, "15", "bin"), 15)
	newest := install(t, filepath.Join(root, "17", "bin"), 17)
	onPath := install(t, filepath.Join(root, "path"), 14)
	linked := filepath.Join(root, "links")
	if err := os.Mkdir(linked, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(newer, "initdb"), filepath.Join(linked, "initdb")); err != nil {
		t.Fatal(err)
	}
	usual := filepath.Join(root, "*", "bin")
	for name, test := range map[string]struct {
		path   string
		folder string
		major  int
		want   string
	}{
		"newest":                 {"", usual, 0, newest},
		"the PATH":               {"/nowhere:" + onPath, usual, 0, onPath},
		"a link on the PATH":     {linked, usual, 0, newer},
		"the version of data":    {onPath, usual, 15, newer},
		"data of a version gone": {onPath, usual, 16, ""},
		"too old for new data":   {old, filepath.Join(root, "9", "*"), 0, ""},
		"none":                   {"", "/nowhere/*", 0, ""},
	} {
		got, _ := findPrograms(test.path, []string{test.folder}, test.major)
		if got.dir != test.want {
			t.Errorf("%s: got %q, want %q", name, got.dir, test.want)
		}
	}
}

func TestTheHintNamesThePackageOfTheSystem(t *testing.T) {
	t.Parallel()
	for release, want := range map[string]string{
		"NAME=x\nID=debian\n":                          "run `apt-get install postgresql` as root",
		"ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n":    "run `apt-get install postgresql` as root",
		"ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"": "run `dnf install postgresql-server` as root",
		"ID=alpine": "run `apk add postgresql` as root",
		"ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"": "run `zypper install postgresql-server` as root",
		"ID=plan9": "install its server programs (initdb and postgres) and put them on the PATH",
	} {
		if got := linuxHint(release); got != want {
			t.Errorf("%q: got %q, want %q", release, got, want)
		}
	}
}
