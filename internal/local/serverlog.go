package local

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// logLimit is the size above which a start begins a new log.
const logLimit = 10 << 20

// serverLog is the server's log from one start on. A file and not a pipe: it outlives us, and nobody has to read it.
type serverLog struct {
	file *os.File
	from int64
}

func (f *folder) openLog() (*serverLog, error) {
	file, err := os.OpenFile(f.join(logName), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.give(file.Name()); err != nil {
		return nil, err
	}
	size, err := file.Seek(0, io.SeekEnd)
	if err == nil && size > logLimit {
		size, err = 0, file.Truncate(0)
	}
	return &serverLog{file: file, from: size}, err
}

// lastFatal is the line that says why the server ended, or all it said when there is none.
func (l *serverLog) lastFatal() string {
	text, err := io.ReadAll(io.NewSectionReader(l.file, l.from, logLimit))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if _, reason, ok := strings.Cut(lines[i], "FATAL:  "); ok {
			if strings.Contains(string(text), addressInUse) {
				reason += ": " + addressInUse
			}
			return reason
		}
	}
	return oneLine(string(text))
}

// oneLine makes the output of a program fit for an error.
func oneLine(output string) string {
	return strings.Join(strings.FieldsFunc(output, func(r rune) bool { return r == '\n' }), "; ")
}

const (
	addressInUse = "Address already in use"
	sharedMemory = "pre-existing shared memory block"
)

// startError is a server that ended before it accepted connections.
type startError struct{ reason, log string }

func (e *startError) Error() string {
	return fmt.Sprintf("postgres did not start: %s (see %s)", e.reason, e.log)
}

// transient says whether trying again helps: the processes of a server that was killed are still leaving, or the port,
// which we had chosen ourselves, is taken.
func (e *startError) transient(ownPort bool) bool {
	return strings.Contains(e.reason, sharedMemory) || ownPort && strings.Contains(e.reason, addressInUse)
}
