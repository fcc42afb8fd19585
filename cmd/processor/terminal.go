package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"unicode"
)

// Streams are what a command reads and writes.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// isTerminal reports whether a person is at the other end. /dev/null is a device of characters, too.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

// outliveReaders lets a process that others rely on go on when nobody reads what it writes any more, until the returned function is called: Ctrl-C
// ends tee as well, and without this the first word about the shutdown would be the last one. Other commands end then, which is what head wants.
func outliveReaders() (stop func()) {
	broken := make(chan os.Signal, 1) // nobody looks: it is enough that the signal is asked for, and a write then fails with an error
	signal.Notify(broken, syscall.SIGPIPE)
	return func() { signal.Stop(broken) }
}

// note tells a person at a terminal, dimly, what goes on. Scripts don't see it.
func (s *Streams) note(format string, args ...any) {
	if isTerminal(s.Err) {
		fmt.Fprintln(s.Err, dim(s.Err, fmt.Sprintf(format, args...)))
	}
}

// warn tells people and scripts alike.
func (s *Streams) warn(format string, args ...any) {
	fmt.Fprintln(s.Err, "processor: "+fmt.Sprintf(format, args...))
}

// dim is for terminals that show it. https://no-color.org
func dim(to io.Writer, text string) string {
	if !isTerminal(to) || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return text
	}
	return "\x1b[2m" + text + "\x1b[0m"
}

// harmless takes the control characters out of somebody else's text: a terminal obeys them.
func harmless(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, text)
}

// oneLine makes somebody else's text fit a table.
func oneLine(text string, most int) string {
	text = strings.Join(strings.Fields(harmless(text)), " ")
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}

// harmlessWriter is a terminal that texts of others go to.
type harmlessWriter struct{ io.Writer }

func (w harmlessWriter) Write(p []byte) (int, error) {
	if _, err := io.WriteString(w.Writer, harmless(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// text is where texts of others go: as they are into a pipe, without control characters to a terminal.
func (s *Streams) text() io.Writer {
	if isTerminal(s.Out) {
		return harmlessWriter{s.Out}
	}
	return s.Out
}
