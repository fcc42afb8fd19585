package store_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"processor/internal/chat"
	"processor/internal/store"
)

func TestAllStatementsArePreparedOnAMigratedDatabase(t *testing.T) {
	t.Parallel()
	s := open(t)
	conn, err := s.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for name, sql := range store.Statements() {
		if _, err := conn.Conn().Prepare(t.Context(), name, sql); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNoStatementIsLeftOutOfTheTestsThatPrepareAll(t *testing.T) {
	t.Parallel()
	known := store.Statements()
	for name, value := range constants(t) {
		if strings.HasSuffix(name, "SQL") && known[name] == "" {
			t.Errorf("%s is not in Statements of export_test.go", name)
		}
		if strings.Contains(value, "update processor.chats") && !strings.Contains(value, "guard") && owned(name) {
			t.Errorf("%s is a write of an owner without the guard", name)
		}
	}
}

func TestWhatFindsAChatByACallersWordLooksAtTheTenant(t *testing.T) {
	t.Parallel()
	others := map[string]bool{
		"claimSQL": true, "historySQL": true, // of owners
		"createdSQL": true, "forkedSQL": true, // the id is taken, whoever has it
	}
	found := 0
	for name, value := range constants(t) {
		byID := strings.Contains(value, "c.id = @chat") || strings.Contains(value, "c.id = k.chat") || strings.Contains(value, "c.id = @source")
		if !strings.HasSuffix(name, "SQL") || !byID || others[name] {
			continue
		}
		found++
		if !strings.Contains(value, "visible") {
			t.Errorf("%s finds the chats of all tenants", name)
		}
	}
	if found < 8 {
		t.Errorf("only %d statements find a chat by its id", found)
	}
}

// owned says whether the statement is of a transition that the table guards by a lease.
func owned(name string) bool {
	for _, r := range chat.Rules() {
		if r.Owned && name == string(r.Transition)+"SQL" && r.Transition != chat.Yield {
			return true
		}
	}
	return name == "yieldSQL"
}

// constants are the names of the package's constants with their source.
func constants(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == 1 {
				all[spec.Names[0].Name] = source(spec.Values[0])
			}
			return true
		})
	}
	return all
}

// source joins the literals and names of a constant's expression.
func source(e ast.Expr) string {
	var all []string
	ast.Inspect(e, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BasicLit:
			all = append(all, n.Value)
		case *ast.Ident:
			all = append(all, n.Name)
		}
		return true
	})
	return strings.Join(all, " ")
}

func TestOnlyRunningChatsAreRecovered(t *testing.T) {
	t.Parallel()
	from := chat.Recover.From()
	if len(from) != 1 || from[0] != chat.Running {
		t.Fatalf("the table recovers from %v", from)
	}
	statuses := regexp.MustCompile(`c\.status in \('(\w+)'\)`).FindAllStringSubmatch(store.Statements()["recoverSQL"], -1)
	if len(statuses) != 1 || statuses[0][1] != string(chat.Running) {
		t.Errorf("the statement recovers from %v", statuses)
	}
}
