package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tidwall/gjson"
)

// BenchProviderCmd is a model provider that answers as the message asks, and remembers when it was called.
type BenchProviderCmd struct {
	Listen string `name:"listen" default:"127.0.0.1:0" help:"Address."`
}

// Run serves until a signal.
func (c *BenchProviderCmd) Run(ctx context.Context, std *Streams) error {
	defer paceHeap()()
	ln, err := listen(c.Listen)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	log := &callLog{heard: map[int64]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { answer(w, nil) })
	mux.HandleFunc("GET /bench/calls", log.serve)
	mux.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, r *http.Request) { complete(ctx, w, r, log) })
	go func() {
		awaitEnd(ctx, std.In)
		stop()
	}()
	return serveHTTP(ctx, ln, mux)
}

// complete answers one call in the format of OpenAI, and as little else as it can: it shares the machine with what is measured. ctx ends
// answers that would go on.
func complete(ctx context.Context, w http.ResponseWriter, r *http.Request, log *callLog) {
	at := time.Now()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	t := talkOf(lastText(body))
	if t.numbered && log.add(called{t.n, at}) && t.again > 0 {
		t.delay = t.again
	}
	w.Header().Set("Content-Type", "text/event-stream")
	t.say(ctx, w, r)
}

// lastText is that of the last message, which is the user's.
func lastText(request []byte) (text string) {
	gjson.GetBytes(request, "messages").ForEach(func(_, m gjson.Result) bool {
		text = m.Get("content").Str
		return true
	})
	return text
}

// talk is what a message asks for: so many tokens by #tokens=N, after a pause of #delay=D before each. With #stamp each token is the time at
// which it was sent. With #again=D the pause is that when the message was heard before. Tokens are made as they are said: an answer that never ends is none to be made in advance.
type talk struct {
	n, tokens       int64
	numbered, stamp bool
	delay, again    time.Duration
}

func talkOf(text string) talk {
	pause := func(name string) time.Duration {
		_, rest, _ := strings.Cut(text, name)
		word, _, _ := strings.Cut(rest, " ")
		d, err := time.ParseDuration(word)
		if err != nil {
			return 0
		}
		return d
	}
	return talk{
		n: marked(text, "n"), tokens: marked(text, "tokens"), numbered: strings.Contains(text, "#n="), stamp: strings.Contains(text, "#stamp"),
		delay: pause("#delay="), again: pause("#again="),
	}
}

const (
	chunkHead = `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"bench","system_fingerprint":"fp_1","choices":[`
	chunkTail = `"},"logprobs":null,"finish_reason":null}]}` + "\n\n"
	// talkBuffer is how much of an answer leaves in one write when there is no pause.
	talkBuffer = 32 << 10
)

// say streams the answer. What is due at the same time leaves in one write, as each event by itself would be one more system call here and there, which
// measures the kernel.
func (t talk) say(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	flusher := http.NewResponseController(w)
	var timer *time.Timer
	var b []byte
	for i := range t.tokens {
		if t.delay > 0 {
			if timer == nil {
				timer = time.NewTimer(t.delay)
				defer timer.Stop()
			} else {
				timer.Reset(t.delay)
			}
			select {
			case <-timer.C:
			case <-r.Context().Done():
				return
			case <-ctx.Done():
				return
			}
		}
		word := i
		if t.stamp {
			word = time.Now().UnixNano()
		}
		b = append(b, chunkHead+`{"index":0,"delta":{"content":"`...)
		b = append(strconv.AppendInt(b, word, 10), ` `+chunkTail...)
		if t.delay == 0 && len(b) < talkBuffer {
			continue
		}
		if _, err := w.Write(b); err != nil || flusher.Flush() != nil {
			return
		}
		b = b[:0]
	}
	b = append(b, chunkHead+`{"index":0,"delta":{},"finish_reason":"stop"}]}`+"\n\n"+chunkHead+`],"usage":{"prompt_tokens":9,"completion_tokens":`...)
	b = append(strconv.AppendInt(b, t.tokens, 10), "}}\n\ndata: [DONE]\n\n"...)
	_, _ = w.Write(b) // who asked has left
}

// called is one call of the model: for which message, and when it had arrived.
type called struct {
	n  int64
	at time.Time
}

// callLog remembers all calls.
type callLog struct {
	mu    sync.Mutex
	all   []called
	heard map[int64]bool
}

// add says whether the message was heard before.
func (l *callLog) add(c called) (again bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, c)
	again = l.heard[c.n]
	l.heard[c.n] = true
	return again
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
