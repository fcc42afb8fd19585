package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"

	"processor/internal/chat"
)

var update = flag.Bool("update", false, "write the golden files")

func parser(t *testing.T, cli *CLI) (*kong.Kong, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	p, err := newParser(cli, &Streams{Out: &out, Err: &out}, kong.Exit(func(int) { panic(errHelp) }))
	if err != nil {
		t.Fatal(err)
	}
	return p, &out
}

// errHelp is how a parser in a test leaves after --help.
const errHelp = "help was printed"

func help(t *testing.T, p *kong.Kong, out *bytes.Buffer, args ...string) (text string) {
	t.Helper()
	out.Reset()
	defer func() {
		if r := recover(); r != errHelp {
			t.Fatalf("--help ended with %v", r)
		}
		text = out.String()
	}()
	_, err := p.Parse(append(args, "--help"))
	t.Fatalf("--help did not leave: %v", err)
	return ""
}

func TestHelpIsGolden(t *testing.T) {
	t.Parallel()
	commands := []string{""}
	p, out := parser(t, &CLI{})
	for _, node := range p.Model.Children {
		commands = append(commands, node.Name)
	}
	var all strings.Builder
	for _, name := range commands {
		all.WriteString("$ " + strings.TrimSpace("processor "+name) + " --help\n" + help(t, p, out, strings.Fields(name)...) + "\n")
	}
	golden := filepath.Join("testdata", "help.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(all.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), all.String()); diff != "" {
		t.Errorf("run the test with -update if this is meant:\n%s", diff)
	}
}

func TestEveryFlagHasItsVariable(t *testing.T) {
	t.Parallel()
	p, _ := parser(t, &CLI{})
	for _, node := range p.Model.Children {
		for _, f := range node.Flags {
			if f.Name == "help" || f.Name == "version" {
				continue
			}
			want := "PROCESSOR_" + strings.ReplaceAll(strings.ToUpper(f.Name), "-", "_")
			if len(f.Envs) != 1 || f.Envs[0] != want {
				t.Errorf("%s --%s has the variables %v, want %s", node.Name, f.Name, f.Envs, want)
			}
		}
	}
}

func TestDefaultsAreThoseOfTheDomain(t *testing.T) {
	t.Parallel()
	var cli CLI
	p, _ := parser(t, &cli)
	if _, err := p.Parse([]string{"run", "--database-url", "postgres://x/y"}); err != nil {
		t.Fatal(err)
	}
	timing, err := cli.Run.Timing()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(chat.DefaultTiming(), timing); diff != "" {
		t.Errorf("timing: %s", diff)
	}
	if diff := cmp.Diff(chat.DefaultBudget(), cli.Run.Budget()); diff != "" {
		t.Errorf("budget: %s", diff)
	}
	if cli.Run.Slots != chat.DefaultSlots {
		t.Errorf("slots are %d", cli.Run.Slots)
	}
}

func TestBadUsageIsRefusedByName(t *testing.T) {
	t.Parallel()
	database := []string{"run", "--database-url", "postgres://x/y"}
	for _, row := range []struct {
		args []string
		want string
	}{
		{[]string{"run"}, "PROCESSOR_DATABASE_URL"},
		{[]string{"runn"}, `did you mean "run"`},
		{append(database, "--heartbeat", "1m"), "suspect-after"},
		{append(database, "--slots", "0"), "--slots must be at least 1"},
		{append(database, "--retain=-1h"), "--retain must not be negative"},
		{append(database, "--partials-max-bytes", "1 TB"), `"1 TB" is not a size`},
		{append(database, "--model", "gpt"), "provider/model"},
		{append(database, "--log-level", "loud"), "loud"},
		{[]string{"send", "--busy", "panic", "hi"}, "--busy must be one of"},
	} {
		p, _ := parser(t, &CLI{})
		if _, err := p.Parse(row.args); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%v: got %v, want an error with %q", row.args, err, row.want)
		}
	}
}

func TestSizesAreReadAsTheyArePrinted(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]size{"0": 0, "1000": 1000, "64KiB": 64 << 10, "3MiB": 3 << 20, "1GiB": 1 << 30} {
		var s size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want || s.String() != text {
			t.Errorf("%s is read as %d and printed as %s (%v)", text, s, s, err)
		}
	}
	for _, text := range []string{"", "-1", "1.5GiB", "9000000000GiB", "GiB"} {
		var s size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is read as %d", text, s)
		}
	}
}
