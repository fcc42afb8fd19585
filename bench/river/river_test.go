package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestBothAnswer builds both programs and compares them for a moment. It needs the server programs of PostgreSQL.
func TestBothAnswer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	servers := filepath.Join(dir, "servers")
	if err := os.Mkdir(servers, 0o755); err != nil {
		t.Fatal(err)
	}
	build(t, "../..", filepath.Join(dir, "processor"), "./cmd/processor")
	build(t, ".", filepath.Join(dir, "river"), ".")
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "processor"), "bench", "compare", "--json", "--rounds", "1", "--yardstick", "0",
		"--rate", "20", "--senders", "4", "--duration", "1s", "--warmup", "500ms", "--river", filepath.Join(dir, "river"), "--dir", servers)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, &stderr)
	}
	var report struct {
		Latencies []struct {
			Name string  `json:"name"`
			N    int     `json:"n"`
			P99  float64 `json:"p99_ms"`
		} `json:"latencies"`
		Figures []struct {
			Name  string  `json:"name"`
			Value float64 `json:"value"`
		} `json:"figures"`
	}
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil {
		t.Fatal(err)
	}
	for _, l := range report.Latencies {
		if l.N < 1 || l.P99 <= 0 || strings.Contains(l.Name, "commit") && l.N != 20 {
			t.Errorf("implausible: %+v", l)
		}
	}
	for _, f := range report.Figures {
		if f.Value <= 0 {
			t.Errorf("implausible: %+v", f)
		}
	}
	if len(report.Latencies) < 4 || len(report.Figures) < 3 {
		t.Errorf("something is missing in %s", &stdout)
	}
}

func build(t *testing.T, dir, program, pkg string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", program, pkg)
	cmd.Dir = dir
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v: %s", pkg, err, output)
	}
}
