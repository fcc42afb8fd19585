package main

import (
	"cmp"
	"fmt"
	"runtime/debug"
)

// Set by the linker in a build by make; otherwise the build information has them, if the build knew.
var (
	version string
	commit  string //nolint:gochecknoglobals // the linker can set nothing else
)

// buildInfo is what `processor --version` says.
func buildInfo() (v, c, goVersion string) {
	v, c = version, commit
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return cmp.Or(v, "dev"), cmp.Or(c, "unknown"), "unknown"
	}
	if main := info.Main.Version; main != "(devel)" {
		v = cmp.Or(v, main)
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			c = cmp.Or(c, s.Value)
		}
	}
	return cmp.Or(v, "dev"), cmp.Or(c, "unknown"), info.GoVersion
}

func versionLine() string {
	v, c, goVersion := buildInfo()
	return fmt.Sprintf("processor %s, commit %s, %s", v, c, goVersion)
}

// buildName is what a replica registers as its build.
func buildName() string {
	v, c, _ := buildInfo()
	if c == "unknown" {
		return v
	}
	return v + "+" + c[:min(len(c), 12)]
}
