package llm

import (
	"bufio"
	"bytes"
	"io"
)

// firstLine is the buffer that a stream begins with; it grows to its longest line.
const firstLine = 512

// events frames a stream of server-sent events and gives out their data. What names or numbers an event is not looked at.
type events struct {
	lines *bufio.Scanner
	data  []byte
	begun bool
}

func newEvents(body io.Reader) *events {
	e := &events{lines: bufio.NewScanner(body)}
	e.lines.Buffer(make([]byte, 0, firstLine), 2*maxEvent) // body ends an event that is longer than maxEvent
	return e
}

// next reads up to the end of an event with data. The data is valid until the next call.
func (e *events) next() bool {
	e.data = e.data[:0]
	for e.lines.Scan() {
		line := e.lines.Bytes()
		if !e.begun { // a byte order mark may come first
			line, e.begun = bytes.TrimPrefix(line, []byte("\uFEFF")), true
		}
		if len(line) == 0 {
			if len(e.data) > 0 {
				return true
			}
			continue
		}
		value, ok := bytes.CutPrefix(line, []byte("data:"))
		if !ok {
			continue
		}
		if len(e.data) > 0 {
			e.data = append(e.data, '\n')
		}
		e.data = append(e.data, bytes.TrimPrefix(value, []byte(" "))...)
	}
	return false
}

// err is why the stream ended, nil at its proper end.
func (e *events) err() error { return e.lines.Err() }
