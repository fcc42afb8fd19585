// Command processor keeps LLM chats alive: `processor dev` starts everything on this machine, `processor run` is one
// replica, and the other commands talk to replicas by way of NATS.
//
// Exit codes: 0 done, 1 failed, 2 bad usage. An error is one line on standard error that says what to do.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/alecthomas/kong"

	"processor/internal/chat"
)

// CLI is everything that can be said on the command line.
type CLI struct {
	Dev DevCmd `cmd:"" help:"Run everything on this machine, without any configuration."`
	Run RunCmd `cmd:"" help:"Run one replica."`

	Migrate MigrateCmd `cmd:"" help:"Bring the database's schema up to date."`
	Doctor  DoctorCmd  `cmd:"" help:"Examine a deployment, and say what is wrong and what to do."`
	Health  HealthCmd  `cmd:"" help:"Ask a replica on this machine whether it takes work; for health checks."`
	Bench   BenchCmd   `cmd:"" help:"Measure this machine, or a deployment."`

	Send      SendCmd      `cmd:"" help:"Send a message and print its answer."`
	Ls        LsCmd        `cmd:"" help:"List chats."`
	Show      ShowCmd      `cmd:"" help:"Print a chat and its messages."`
	Watch     WatchCmd     `cmd:"" help:"Follow one chat, or the events of all."`
	Interrupt InterruptCmd `cmd:"" help:"Stop the turn of a chat."`
	Retry     RetryCmd     `cmd:"" help:"Try the failed turn of a chat again."`
	Truncate  TruncateCmd  `cmd:"" help:"Edit what was said in a chat, or have it answered again."`
	Rm        RmCmd        `cmd:"" help:"Remove chats."`
	Workers   WorkersCmd   `cmd:"" help:"List the replicas."`

	Version kong.VersionFlag `help:"Say version, commit and Go, and leave." env:"-"`
}

func main() {
	os.Exit(execute(os.Args[1:], &Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}

// execute runs one command line and returns the exit code.
func execute(args []string, std *Streams) int { return executeCLI(&CLI{}, args, std) }

func executeCLI(cli *CLI, args []string, std *Streams) int {
	parser, err := newParser(cli, std)
	if err != nil {
		return std.fail(err)
	}
	if n := slices.IndexFunc(args, func(arg string) bool { return !utf8.ValidString(arg) }); n >= 0 { // the parser would replace what is not
		return std.fail(usageError{fmt.Errorf("argument %d is not UTF-8: convert it, such as with iconv -t utf-8", n+1)})
	}
	command, err := parser.Parse(args)
	if err != nil {
		return std.fail(usageError{hint(err, command)})
	}
	command.BindTo(context.Background(), (*context.Context)(nil))
	return std.fail(command.Run())
}

func newParser(cli *CLI, std *Streams, options ...kong.Option) (*kong.Kong, error) {
	vars := kong.Vars(timingDefaults())
	vars["version"] = versionLine()
	vars["slots"] = strconv.Itoa(chat.DefaultSlots)
	vars["history_messages"] = strconv.Itoa(chat.DefaultBudget().Messages)
	vars["history_bytes"] = size(chat.DefaultBudget().Bytes).String()
	return kong.New(cli, append([]kong.Option{
		kong.Name("processor"),
		kong.Description("Keeps LLM chats alive across redeploys and crashes. Start with: processor dev"),
		kong.DefaultEnvars("PROCESSOR"),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 120, ValueFormatter: describe}),
		kong.ValueFormatter(describe),
		kong.Writers(std.Out, std.Err),
		kong.Bind(std),
		vars,
	}, options...)...)
}

// describe adds the default and the environment variable to a flag's help.
func describe(v *kong.Value) string {
	var notes []string
	if v.HasDefault && v.Default != "" {
		notes = append(notes, "default "+v.Default)
	}
	for _, env := range v.Tag.Envs {
		notes = append(notes, "$"+env)
	}
	if len(notes) == 0 {
		return v.Help
	}
	return v.Help + " (" + strings.Join(notes, ", ") + ")"
}

// usageError makes the exit code 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// hint says where to read on after a command line that was not understood.
func hint(err error, command *kong.Context) error {
	line := "processor --help"
	var parse *kong.ParseError
	if errors.As(err, &parse) && command == nil {
		command = parse.Context
	}
	if command != nil && command.Selected() != nil {
		line = command.Selected().FullPath() + " --help" // no command has aliases, which it would list
	}
	return fmt.Errorf("%w (see %s)", err, line)
}

// fail says what went wrong, in one line, and returns the exit code.
func (s *Streams) fail(err error) int {
	var usage usageError
	switch {
	case err == nil:
		return 0
	case !errors.Is(err, errSaid):
		s.warn("%s", lines().Replace(sentence(err)))
	}
	if errors.As(err, &usage) {
		return 2
	}
	return 1
}

// lines makes one line of what has several, such as a failure to connect, whose lines are the attempts.
func lines() *strings.Replacer { return strings.NewReplacer(":\n\t", ": ", "\n\t", "; ", "\n", "; ") }

// sentence leaves out the code of a refusal, which is for programs.
func sentence(err error) string {
	var refusal *chat.Error
	if errors.As(err, &refusal) && err.Error() == refusal.Error() {
		return refusal.Message
	}
	return err.Error()
}

// errSaid fails a command that has already said why.
var errSaid = errors.New("failed")
