package local

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	embedded "github.com/fergusstrange/embedded-postgres"
)

// fetchable is the release of a major version that can be downloaded; 0 asks for the one for new data.
func fetchable(major int) (embedded.PostgresVersion, bool) {
	release, ok := map[int]embedded.PostgresVersion{
		0:  embedded.V17,
		13: embedded.V13,
		14: embedded.V14,
		15: embedded.V15,
		16: embedded.V16,
		17: embedded.V17,
		18: embedded.V18,
	}[major]
	return release, ok
}

// fetchPrograms downloads server programs, once for all folders of this user.
func fetchPrograms(ctx context.Context, major int, progress func(string)) (programs, error) {
	version, ok := fetchable(major)
	if !ok {
		return programs{}, fmt.Errorf("PostgreSQL %d cannot be downloaded", major)
	}
	cache, err := cacheFolder()
	if err != nil {
		return programs{}, err
	}
	target := filepath.Join(cache, "postgresql-"+string(version))
	if p, ok := programsIn(filepath.Join(target, "bin")); ok {
		return p, nil
	}
	progress("downloading PostgreSQL " + string(version))
	done := make(chan error, 1)
	// The library takes no context. When ours ends the download is left alone, and ends with the process.
	go func() { done <- unpack(version, cache, target) }()
	select {
	case <-ctx.Done():
		return programs{}, context.Cause(ctx)
	case err = <-done:
	}
	if p, ok := programsIn(filepath.Join(target, "bin")); ok {
		return p, nil
	}
	return programs{}, fmt.Errorf("downloading it failed too: %w", err)
}

// unpack makes the library download the programs. It can do so only on the way to a running server; that is stopped
// again, and its failure, which as root is certain, is not ours as long as the programs have come.
func unpack(version embedded.PostgresVersion, cache, target string) error {
	work, err := os.MkdirTemp(cache, "download-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	port, err := FreePort()
	if err != nil {
		return err
	}
	unpacked := filepath.Join(work, "unpacked")
	database := embedded.NewDatabase(embedded.DefaultConfig().
		Version(version).Port(uint32(port)).Logger(io.Discard).
		CachePath(work).RuntimePath(filepath.Join(work, "run")).BinariesPath(unpacked))
	started := database.Start()
	if started == nil {
		started = database.Stop()
	}
	if _, ok := programsIn(filepath.Join(unpacked, "bin")); !ok {
		return fmt.Errorf("no programs that run here: %w", started)
	}
	// A temporary folder is nobody else's, and the server may run as somebody else.
	if err := os.Chmod(unpacked, 0o755); err != nil {
		return err
	}
	return os.Rename(unpacked, target)
}

// cacheFolder is where downloads stay. Root's must be open to the user that the server runs as.
func cacheFolder() (string, error) {
	base := "/var/cache"
	if os.Geteuid() != 0 {
		var err error
		if base, err = os.UserCacheDir(); err != nil {
			return "", err
		}
	}
	dir := filepath.Join(base, "processor")
	return dir, os.MkdirAll(dir, 0o755)
}
