package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
)

// oldestMajor is the oldest PostgreSQL that the schema works with.
const oldestMajor = 13

// programs are the server programs of one version.
type programs struct {
	dir   string
	major int
}

// usualFolders is where distributions put server programs, which most of them keep off the PATH.
func usualFolders() []string {
	return []string{
		"/usr/lib/postgresql/*/bin",                          // Debian, Ubuntu
		"/usr/pgsql-*/bin",                                   // PostgreSQL's own packages for Red Hat
		"/usr/lib/postgresql*/bin",                           // SUSE
		"/usr/lib64/postgresql*/bin",                         // Gentoo
		"/usr/libexec/postgresql*",                           // Alpine
		"/usr/local/pgsql/bin",                               // built from source
		"/opt/homebrew/opt/postgresql*/bin",                  // Homebrew
		"/usr/local/opt/postgresql*/bin",                     // Homebrew on Intel
		"/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",     // Homebrew on Linux
		"/Applications/Postgres.app/Contents/Versions/*/bin", // Postgres.app
	}
}

// findPrograms looks along path, then in the usual folders, the newest version first. major 0 takes any version that is
// new enough; another one wants exactly that, for data only opens with the version that made it.
func findPrograms(path string, folders []string, major int) (programs, bool) {
	var found []programs
	for _, pattern := range folders {
		dirs, _ := filepath.Glob(pattern) // only fails for a bad pattern
		for _, dir := range dirs {
			if p, ok := programsIn(dir); ok {
				found = append(found, p)
			}
		}
	}
	slices.SortStableFunc(found, func(a, b programs) int { return b.major - a.major })
	for _, dir := range slices.Backward(filepath.SplitList(path)) {
		if p, ok := programsIn(dir); ok {
			found = slices.Insert(found, 0, p)
		}
	}
	for _, p := range found {
		if p.major == major || major == 0 && p.major >= oldestMajor {
			return p, true
		}
	}
	return programs{}, false
}

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

func programsIn(dir string) (programs, bool) {
	initdb, err := filepath.EvalSymlinks(filepath.Join(dir, "initdb"))
	if err != nil {
		return programs{}, false
	}
	// initdb looks for postgres beside itself, where the link leads.
	dir = filepath.Dir(initdb)
	output, err := exec.Command(filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return programs{}, false
	}
	match := versionPattern.FindSubmatch(output)
	if match == nil {
		return programs{}, false
	}
	major, err := strconv.Atoi(string(match[1]))
	return programs{dir: dir, major: major}, err == nil
}

// findOrFetchPrograms takes this machine's programs, else downloads some.
func findOrFetchPrograms(ctx context.Context, major int, progress func(string)) (programs, error) {
	if p, ok := findPrograms(os.Getenv("PATH"), usualFolders(), major); ok {
		return p, nil
	}
	p, err := fetchPrograms(ctx, major, progress)
	if err == nil || ctx.Err() != nil {
		return p, err
	}
	if major != 0 {
		return p, fmt.Errorf("this data needs PostgreSQL %d, which is not here: install it, or remove the data: %w", major, err)
	}
	return p, fmt.Errorf("PostgreSQL is needed and not here: %s (%w)", installHint(), err)
}

// installHint says how to install PostgreSQL on this system.
func installHint() string {
	if runtime.GOOS == "darwin" {
		return "run `brew install postgresql@17`"
	}
	release, err := os.ReadFile("/etc/os-release")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err.Error()
	}
	return linuxHint(string(release))
}

func linuxHint(release string) string {
	for _, hint := range []struct{ id, command string }{
		{"debian", "apt-get install postgresql"},
		{"ubuntu", "apt-get install postgresql"},
		{"fedora", "dnf install postgresql-server"},
		{"rhel", "dnf install postgresql-server"},
		{"alpine", "apk add postgresql"},
		{"suse", "zypper install postgresql-server"},
		{"arch", "pacman -S postgresql"},
	} {
		if regexp.MustCompile(`(?m)^ID(_LIKE)?=.*\b` + hint.id).MatchString(release) {
			return "run `" + hint.command + "` as root"
		}
	}
	return "install its server programs (initdb and postgres) and put them on the PATH"
}
