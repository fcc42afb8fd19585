package main

import (
	goparser "go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestPackagesImportTheDomainAndNeverEachOther keeps cmd → {bus, store, sweeper, llm, local, gateway} → chat. Tests may import more.
func TestPackagesImportTheDomainAndNeverEachOther(t *testing.T) {
	t.Parallel()
	adapters := []string{"bus", "store", "sweeper", "local", "chat/llm", "gateway", "gateway/wire", "gateway/responses", "gateway/uistream", "gateway/console"}
	for _, name := range adapters {
		for _, other := range adapters {
			if other != name && (!strings.HasPrefix(name, "gateway") || !strings.HasPrefix(other, "gateway")) {
				refuse(t, name, "processor/internal/"+other)
			}
		}
		refuse(t, name, "processor/cmd")
	}
	for _, foreign := range []string{
		"processor/internal/bus", "processor/internal/store", "processor/internal/sweeper", "processor/internal/local", "processor/internal/gateway", "processor/internal/chat/",
		"github.com/nats-io", "github.com/jackc", "github.com/alecthomas/kong", "github.com/oklog/run",
	} {
		refuse(t, "chat", foreign)
	}
}

// refuse fails for every file of internal/name, tests and folders below it apart, that imports something with that prefix.
func refuse(t *testing.T, name, prefix string) {
	t.Helper()
	root := filepath.Join("..", "..", "internal", filepath.FromSlash(name))
	files := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root:
			return fs.SkipDir
		case d.IsDir(), !strings.HasSuffix(path, ".go"), strings.HasSuffix(path, "_test.go"):
			return nil
		}
		files++
		for _, imported := range imports(t, path) {
			if strings.HasPrefix(imported, prefix) {
				t.Errorf("%s imports %s", path, imported)
			}
		}
		return nil
	})
	if err != nil || files == 0 {
		t.Fatalf("%d files read in %s: %v", files, root, err)
	}
}

func imports(t *testing.T, path string) []string {
	t.Helper()
	file, err := goparser.ParseFile(token.NewFileSet(), path, nil, goparser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, imported)
	}
	return all
}
