package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"processor/internal/chat/llm/llmtest"
)

// BenchProviderCmd is a model provider that answers as the message asks, and remembers when it was called.
type BenchProviderCmd struct {
	Listen string `name:"listen" default:"127.0.0.1:0" help:"Address."`
}

// Run serves until a signal.
func (c *BenchProviderCmd) Run(ctx context.Context, std *Streams) error {
	ln, err := listen(c.Listen)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	log := &callLog{}
	p := llmtest.NewProvider()
	p.Keep = -1
	p.Answer = func(c llmtest.Call) []llmtest.Step {
		if strings.Contains(c.Text, "#n=") {
			log.add(called{marked(c.Text, "n"), c.At})
		}
		return []llmtest.Step{talk(c.Text)}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { answer(w, nil) })
	mux.HandleFunc("GET /bench/calls", log.serve)
	mux.Handle("/", p.Handler())
	go func() {
		awaitEnd(ctx, std.In)
		p.Close()
		stop()
	}()
	return serveHTTP(ctx, ln, mux)
}

// talk says as many words as the text asks for by #tokens=N, after a pause of #delay=D before each. With #stamp each word is the time at
// which it was sent. Words are made as they are said: an answer that never ends is none to be made in advance.
func talk(text string) llmtest.Step {
	_, rest, _ := strings.Cut(text, "#delay=")
	pause, _, _ := strings.Cut(rest, " ")
	delay, err := time.ParseDuration(pause)
	if err != nil {
		delay = 0
	}
	wait, stamp, tokens := llmtest.Wait(delay), strings.Contains(text, "#stamp"), marked(text, "tokens")
	return func(s *llmtest.Stream) error {
		for i := range tokens {
			if err := wait(s); err != nil {
				return err
			}
			if stamp {
				i = time.Now().UnixNano()
			}
			if err := llmtest.Text(strconv.FormatInt(i, 10) + " ")(s); err != nil {
				return err
			}
		}
		return nil
	}
}

// called is one call of the model: for which message, and when it had arrived.
type called struct {
	n  int64
	at time.Time
}

// callLog remembers all calls.
type callLog struct {
	mu  sync.Mutex
	all []called
}

func (l *callLog) add(c called) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, c)
}

// serve lists the calls from number ?from on, each as its message and the time in nanoseconds since 1970.
func (l *callLog) serve(w http.ResponseWriter, r *http.Request) {
	from, err := strconv.Atoi(r.URL.Query().Get("from"))
	l.mu.Lock()
	all := l.all
	l.mu.Unlock()
	if err != nil || from < 0 || from > len(all) {
		http.Error(w, "from is no number of a call", http.StatusBadRequest)
		return
	}
	out := bufio.NewWriter(w)
	for _, c := range all[from:] {
		fmt.Fprintln(out, c.n, c.at.UnixNano())
	}
	_ = out.Flush() // who asked has left
}

// benchCalls follows the log of a provider. It is not for several goroutines.
type benchCalls struct {
	url  string
	read int
	of   map[int64][]time.Time
}

// update reads what was called since the last time.
func (c *benchCalls) update(ctx context.Context) error {
	url := c.url + "/bench/calls?from=" + strconv.Itoa(c.read)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask the provider: %w", err)
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return fmt.Errorf("ask the provider: %s", reply.Status)
	}
	for lines := bufio.NewScanner(reply.Body); ; {
		if !lines.Scan() {
			return lines.Err()
		}
		var n, at int64
		if _, err := fmt.Sscan(lines.Text(), &n, &at); err != nil {
			return fmt.Errorf("read the provider's calls: %w", err)
		}
		c.of[n] = append(c.of[n], time.Unix(0, at))
		c.read++
	}
}

// await polls until holds, or for limit. What is measured is in the log, not when it is read.
func (c *benchCalls) await(ctx context.Context, limit time.Duration, holds func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		if err := c.update(ctx); err != nil || holds() {
			return err
		}
		if !pause(ctx, 50*time.Millisecond) {
			return ctx.Err()
		}
	}
}
