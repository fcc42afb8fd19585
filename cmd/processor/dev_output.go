package main

import (
	"bytes"
	"io"
	"net/url"
	"sync"
)

// prefixWriter puts a prefix before every line, and writes whole lines only, so that replicas don't mix theirs. It never fails: nobody would read a
// replica's output after that, and the replica would end.
type prefixWriter struct {
	to     io.Writer
	prefix string

	mu   sync.Mutex
	line []byte
}

func (w *prefixWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.line = append(w.line, p...)
	var whole bytes.Buffer
	for {
		line, rest, found := bytes.Cut(w.line, []byte("\n"))
		if !found {
			break
		}
		whole.WriteString(w.prefix)
		whole.Write(line)
		whole.WriteByte('\n')
		w.line = rest
	}
	if whole.Len() > 0 {
		_, _ = w.to.Write(whole.Bytes())
	}
	return len(p), nil
}

// flush writes a last line that was not ended.
func (w *prefixWriter) flush() {
	w.mu.Lock()
	unfinished := len(w.line) > 0
	w.mu.Unlock()
	if unfinished {
		_, _ = w.Write([]byte("\n"))
	}
}

// redactURL leaves the password out.
func redactURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "a database"
	}
	return u.Redacted()
}
