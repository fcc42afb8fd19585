package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"processor/internal/chat"
)

// webCall carries out an operation over HTTP, at whichever replica the dice name.
func (c *client) webCall(ctx context.Context, op string, in, out any) error {
	raw, err := json.Marshal(in)
	if err != nil {
		return err
	}
	var named struct {
		Chat chat.ID `json:"chat"`
	}
	if err := json.Unmarshal(raw, &named); err != nil {
		return err
	}
	method, path := http.MethodPost, "/v1/chats"
	switch op {
	case "create":
	case "get":
		method, path, raw = http.MethodGet, path+"/"+string(named.Chat), nil
	case "messages":
		method, path, raw = http.MethodGet, path+"/"+string(named.Chat)+"/messages?limit=200", nil
	case "send":
		path += "/" + string(named.Chat) + "/messages"
	case "delete":
		method, path, raw = http.MethodDelete, path+"/"+string(named.Chat), nil
	default:
		path += "/" + string(named.Chat) + "/" + op
	}
	r, err := http.NewRequestWithContext(ctx, method, c.replica()+path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	response, err := c.crowd.web.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode < 300 {
		return json.NewDecoder(response.Body).Decode(out)
	}
	return refusalIn(response)
}

// refusalIn reads why a request was refused. An answer that does not say so tells nothing.
func refusalIn(response *http.Response) error {
	var body struct {
		Error *chat.Error `json:"error"`
	}
	if err := json.NewDecoder(response.Body).Decode(&body); err != nil || body.Error == nil {
		return fmt.Errorf("status %s", response.Status)
	}
	return body.Error
}

// replica is the way to one that runs, or ran just now.
func (c *client) replica() string {
	names := chaosSlots()
	return c.urls[linkOf(names[c.dice.IntN(len(names))], "http")]
}

// online counts what went over HTTP: requests that were accepted, and messages that pages showed.
func (h history) online() (requests, messages int) {
	for _, r := range h.Requests {
		if r.Web && r.Result == accepted {
			requests++
		}
	}
	for _, w := range h.Watches {
		if w.Web {
			messages += len(w.known())
		}
	}
	return requests, messages
}

// place is a cursor, taken apart so that places can be compared.
type place [4]int64

func placeOf(cursor string) (p place) {
	_, _ = fmt.Sscanf(cursor, "%d-%d-%d-%d", &p[0], &p[1], &p[2], &p[3]) // what is no cursor is before all
	return p
}

// page is what a browser shows of one chat: it goes on from its cursor, at another replica each time.
type page struct {
	*viewing
	cursor string
	deltas []webDelta
}

type webDelta struct {
	at   place
	text string
}

// webFrame is one event of a stream.
type webFrame struct {
	id, event string
	data      []byte
}

// browse is the life of a watcher over HTTP, whose every reload is another replica's.
func (c *client) browse() {
	for !c.stopped() {
		id := c.any()
		if id == "" {
			if !c.pause(20*time.Millisecond, 100*time.Millisecond) {
				return
			}
			continue
		}
		p := &page{viewing: &viewing{watch: &watch{Who: c.who, Web: true, Chat: id}, current: true}}
		c.begin(p.viewing)
		for reloads := c.dice.IntN(5); reloads >= 0 && !p.gone() && !c.stopped(); reloads-- {
			c.visit(p, 500*time.Millisecond+upTo(c.dice, 3*time.Second))
		}
		c.linger(p)
		p.leave()
	}
}

// linger stays with the page that is open when the run is over.
func (c *client) linger(p *page) {
	for c.stopped() && !p.gone() {
		select {
		case <-c.leave:
			p.mu.Lock()
			defer p.mu.Unlock()
			p.Alive, p.Left = true, p.showing()
			return
		default:
			c.visit(p, 5*time.Second)
		}
	}
}

// visit reads the stream for a while, or until it ends. It comes early when everybody leaves.
func (c *client) visit(p *page, length time.Duration) {
	ctx, cancel := context.WithTimeout(c.ctx, length)
	defer cancel()
	left := make(chan struct{})
	defer close(left)
	go func() {
		select {
		case <-c.leave:
			cancel()
		case <-left:
		}
	}()
	if err := c.stream(ctx, p); err != nil && ctx.Err() == nil {
		c.hold(ctx, 20*time.Millisecond+upTo(c.dice, 200*time.Millisecond))
	}
}

func (c *client) hold(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func (c *client) stream(ctx context.Context, p *page) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.replica()+"/v1/chats/"+string(p.Chat)+"/events", nil)
	if err != nil {
		return err
	}
	if p.cursor != "" {
		r.Header.Set("Last-Event-ID", p.cursor)
	}
	response, err := c.crowd.web.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		err := refusalIn(response)
		if resultOf(err) == refused {
			p.end(err)
		}
		return err
	}
	if p.cursor == "" { // from the beginning: a page that was loaded anew shows nothing yet
		p.clear()
	}
	return readWebFrames(response.Body, p.take)
}

// readWebFrames reads events until the stream ends or take refuses one.
func readWebFrames(body io.Reader, take func(webFrame) error) error {
	lines := bufio.NewReader(body)
	for f := (webFrame{}); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			return err
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch field {
		case "id":
			f.id = value
		case "event":
			f.event = value
		case "data":
			f.data = append(f.data, value...)
		case "":
			if f.data == nil {
				continue
			}
			if err := take(f); err != nil {
				return err
			}
			f = webFrame{}
		}
	}
}

// webEvent is the part of an event that a page needs.
type webEvent struct {
	chat.Event
	From string `json:"from"`
}

func (p *page) take(f webFrame) error {
	var e webEvent
	if err := json.Unmarshal(f.data, &e); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cursor = cmp.Or(f.id, p.cursor)
	switch f.event {
	case "delta":
		p.deltas = append(p.deltas, webDelta{placeOf(f.id), e.Delta.Text})
		return nil
	case "void":
		from := placeOf(e.From)
		p.deltas = slices.DeleteFunc(p.deltas, func(d webDelta) bool { return slices.Compare(d.at[:], from[:]) >= 0 })
	}
	s := sight{At: time.Now(), Type: chat.EventType(f.event), Number: e.Number, Version: e.Version, Status: e.Status}
	if s.Type == chat.RemovedEvent { // with what is removed goes the answer to it
		s.From, s.ID, p.deltas = e.RemovedFrom, math.MaxInt64, nil
	}
	if e.Message != nil {
		s.ID, s.Role, s.Finish, s.Text = *e.Message.ID, e.Message.Role, e.Message.Finish, e.Message.Text()
		if s.Role == chat.Assistant {
			s.Shown, p.deltas = p.showing(), nil
		}
	}
	p.Seen = append(p.Seen, s)
	if f.event == "deleted" || f.event == "reset" {
		p.Gone = true
		return errors.New("the chat is gone")
	}
	return nil
}

// showing is what is on the page of the answer that is not committed.
func (p *page) showing() string {
	var b strings.Builder
	for _, d := range p.deltas {
		b.WriteString(d.text)
	}
	return b.String()
}

func (p *page) gone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.Gone
}

func (p *page) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Gone, p.Err = true, err.Error()
}

func (p *page) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Seen, p.deltas = nil, nil
}

func (p *page) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current = false
}
