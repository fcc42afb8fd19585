package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// message is one of a chat, as the provider wants it.
type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// provider streams answers in the format of OpenAI.
type provider struct {
	url    string
	client *http.Client
}

// newProvider has the settings of processor's own client.
func newProvider(url string) *provider {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}
	return &provider{url: url + "/chat/completions", client: &http.Client{Transport: &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dialer.DialContext,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 4096,
		IdleConnTimeout:     90 * time.Second,
		DisableCompression:  true,
		WriteBufferSize:     1 << 10,
		ReadBufferSize:      2 << 10,
	}}}
}

type chunk struct {
	Choices []struct {
		Delta struct {
			Content string `json:"content"`
		} `json:"delta"`
	} `json:"choices"`
}

// stream makes one call and returns the whole answer.
func (p *provider) stream(ctx context.Context, history []message) (string, error) {
	body, err := json.Marshal(map[string]any{"model": "bench", "stream": true, "messages": history, "stream_options": map[string]bool{"include_usage": true}})
	if err != nil {
		return "", err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "text/event-stream")
	reply, err := p.client.Do(request)
	if err != nil {
		return "", err
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the provider answers %s", reply.Status)
	}
	return read(reply.Body)
}

// read reads events up to [DONE], and what little is behind it, so that the connection is used again.
func read(body io.Reader) (string, error) {
	var answer strings.Builder
	done := false
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !ok {
			continue
		}
		if string(data) == "[DONE]" {
			done = true
			continue
		}
		var c chunk
		if err := json.Unmarshal(data, &c); err != nil {
			return "", fmt.Errorf("read the answer: %w", err)
		}
		if len(c.Choices) > 0 {
			answer.WriteString(c.Choices[0].Delta.Content)
		}
	}
	if err := lines.Err(); err != nil {
		return "", err
	}
	if !done {
		return "", errors.New("the answer was cut off")
	}
	return answer.String(), nil
}
