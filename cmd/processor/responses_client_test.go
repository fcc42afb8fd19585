package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/responses"

	"processor/internal/chat"
)

// official is OpenAI's client for Go, pointed at a replica.
type official struct {
	*deployment
	client openai.Client
}

func (d *deployment) official(address string) *official {
	d.t.Helper()
	transport := &http.Transport{}
	d.t.Cleanup(transport.CloseIdleConnections)
	return &official{d, openai.NewClient(
		option.WithBaseURL("http://"+address+"/v1"), option.WithAPIKey("none"), option.WithHTTPClient(&http.Client{Transport: transport}))}
}

// asking is a request for a response to a text.
func asking(text string) responses.ResponseNewParams {
	return responses.ResponseNewParams{Model: "test", Input: responses.ResponseNewParamsInputUnion{OfString: openai.String(text)}}
}

func (o *official) create(p responses.ResponseNewParams) *responses.Response {
	o.t.Helper()
	r, err := o.client.Responses.New(o.ctx, p)
	o.must(err)
	return r
}

func (o *official) get(id string) *responses.Response {
	o.t.Helper()
	r, err := o.client.Responses.Get(o.ctx, id, responses.ResponseGetParams{})
	o.must(err)
	return r
}

// streaming is a stream that is being read.
type streaming interface {
	Next() bool
	Current() responses.ResponseStreamEventUnion
	Err() error
	Close() error
}

// after is the stream of a response after an event, from the beginning for a negative number.
func (o *official) after(id string, number int64) streaming {
	o.t.Helper()
	query := responses.ResponseGetParams{}
	if number >= 0 {
		query.StartingAfter = param.NewOpt(number)
	}
	return o.client.Responses.GetStreaming(o.ctx, id, query)
}

// read reads a stream until an event holds, or to its end.
func (o *official) read(s streaming, until func(responses.ResponseStreamEventUnion) bool) (events []responses.ResponseStreamEventUnion) {
	o.t.Helper()
	for s.Next() {
		events = append(events, s.Current())
		if until != nil && until(s.Current()) {
			return events
		}
	}
	if until != nil {
		o.t.Fatalf("the stream ended after %d events: %v", len(events), s.Err())
	}
	o.must(s.Err())
	return events
}

func (o *official) all(s streaming) []responses.ResponseStreamEventUnion {
	o.t.Helper()
	defer s.Close()
	return o.read(s, nil)
}

func isDelta(e responses.ResponseStreamEventUnion) bool {
	return e.Type == "response.output_text.delta"
}

// raws are the events as they came.
func raws(events []responses.ResponseStreamEventUnion) []string {
	all := make([]string, len(events))
	for i, e := range events {
		all[i] = e.RawJSON()
	}
	return all
}

// end is the response in the last event of a stream.
func (o *official) end(events []responses.ResponseStreamEventUnion) responses.Response {
	o.t.Helper()
	if len(events) == 0 {
		o.t.Fatal("the stream has no events")
	}
	last := events[len(events)-1]
	switch last.Type {
	case "response.completed", "response.incomplete", "response.failed":
	default:
		o.t.Fatalf("the last event is %s", last.RawJSON())
	}
	return last.Response
}

// unvoided are the texts of the items that the final output has, added up from deltas.
func unvoided(events []responses.ResponseStreamEventUnion, final responses.Response) string {
	texts := map[string]string{}
	for _, e := range events {
		if isDelta(e) {
			texts[e.ItemID] += e.Delta
		}
	}
	var b strings.Builder
	for _, it := range final.Output {
		b.WriteString(texts[it.ID])
	}
	return b.String()
}

// chatOfResponse is the chat that a response is a turn of.
func chatOfResponse(id string) chat.ID {
	id = strings.TrimPrefix(id, "resp_")
	return chat.ID(id[:strings.LastIndexByte(id, '_')])
}

func fieldsOf(raw string) map[string]any {
	var v map[string]any
	if json.Unmarshal([]byte(raw), &v) != nil {
		return nil
	}
	return v
}

// control lets a suite in another language hold answers, and kill replicas. Its paths name chats.
func (d *deployment) control(replicas []*process) string {
	d.t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /held/{chat}", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-d.provider.Gate(r.PathValue("chat")).Arrived():
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("POST /open/{chat}", func(_ http.ResponseWriter, r *http.Request) { d.provider.Gate(r.PathValue("chat")).Open() })
	mux.HandleFunc("GET /owner/{chat}", func(w http.ResponseWriter, r *http.Request) {
		c, err := d.store.Get(r.Context(), chat.ID(r.PathValue("chat")))
		for _, p := range replicas {
			if work := p.worker(); err == nil && c.Worker != nil && work != nil && work.ID == *c.Worker {
				fmt.Fprint(w, p.http)
			}
		}
	})
	mux.HandleFunc("POST /kill/{address}", func(_ http.ResponseWriter, r *http.Request) {
		for _, p := range replicas {
			if p.http == r.PathValue("address") {
				p.kill()
			}
		}
	})
	server := httptest.NewServer(mux)
	d.t.Cleanup(server.Close)
	return server.URL
}
