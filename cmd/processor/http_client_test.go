package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"processor/internal/chat"
)

// web is a client of the HTTP API. Whatever the native API answers is held against /openapi.json.
type web struct {
	*deployment
	base   string
	token  string
	client *http.Client
	api    *openAPI
}

// over is a client of a replica's HTTP.
func (d *deployment) over(address string) *web {
	d.t.Helper()
	w := &web{deployment: d, base: "http://" + address, client: &http.Client{Transport: &http.Transport{}}}
	d.t.Cleanup(w.client.CloseIdleConnections)
	w.api = readOpenAPI(d.t, w.text("GET", "/openapi.json"))
	return w
}

// as is the client with a token.
func (w *web) as(token string) *web {
	other := *w
	other.token = token
	return &other
}

// overHTTP makes a replica in the test's process serve HTTP.
func overHTTP(d *deployment, flags HTTPFlags) (with inside, address string) {
	d.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	d.must(err)
	if flags.HTTPStreamsPerClient == 0 {
		flags.HTTPStreamsPerClient = 1000
	}
	return inside{change: func(r *replica) { r.settings.http, r.settings.api = ln, flags }}, ln.Addr().String()
}

// reply is one answer.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// refusal is the error that the answer has.
func (r reply) refusal() chat.Error {
	var body struct {
		Error chat.Error `json:"error"`
	}
	if json.Unmarshal(r.body, &body) != nil || body.Error.Code == "" {
		return chat.Error{Code: "none", Message: string(r.body)}
	}
	return body.Error
}

func (w *web) request(method, path, body string) *http.Request {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.ctx, method, w.base+path, strings.NewReader(body))
	w.must(err)
	if body == "" {
		r.Body, r.ContentLength = http.NoBody, 0
	}
	if w.token != "" {
		r.Header.Set("Authorization", "Bearer "+w.token)
	}
	return r
}

// send carries out a request and reads the whole answer.
func (w *web) carry(r *http.Request) reply {
	w.t.Helper()
	response, err := w.client.Do(r)
	w.must(err)
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	w.must(err)
	got := reply{response.StatusCode, response.Header, raw}
	if w.api != nil {
		w.api.check(w.t, r, got)
	}
	return got
}

func (w *web) do(method, path, body string) reply {
	w.t.Helper()
	return w.carry(w.request(method, path, body))
}

func (w *web) text(method, path string) string {
	w.t.Helper()
	return string(w.do(method, path, "").body)
}

// get decodes an answer that must have the status.
func answerOf[Out any](w *web, status int, method, path, body string) Out {
	w.t.Helper()
	var out Out
	got := w.do(method, path, body)
	if got.status != status {
		w.t.Fatalf("%s %s: %d %s", method, path, got.status, got.body)
	}
	w.must(json.Unmarshal(got.body, &out))
	return out
}

// openAPI is the document, with its schemas compiled when they are needed.
type openAPI struct {
	compiler *jsonschema.Compiler
	routes   map[string][]string // the methods of each path
}

func readOpenAPI(t *testing.T, text string) *openAPI {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	a := &openAPI{compiler: jsonschema.NewCompiler(), routes: map[string][]string{}}
	a.compiler.AssertFormat()
	if err := a.compiler.AddResource("http://x/openapi.json", doc); err != nil {
		t.Fatal(err)
	}
	for path, item := range doc.(map[string]any)["paths"].(map[string]any) {
		for key := range item.(map[string]any) {
			if key != "parameters" {
				a.routes[path] = append(a.routes[path], strings.ToUpper(key))
			}
		}
	}
	return a
}

// pathOf is the document's path for an address of the native API, empty for another.
func (a *openAPI) pathOf(address string) string {
	if a.routes[address] != nil {
		return address
	}
	parts := strings.Split(address, "/")
	if len(parts) < 4 || parts[1] != "v1" || parts[2] != "chats" {
		return ""
	}
	parts[3] = "{id}"
	if path := strings.Join(parts, "/"); a.routes[path] != nil {
		return path
	}
	return ""
}

// check holds an answer against what the document says of its route and status.
func (a *openAPI) check(t *testing.T, r *http.Request, got reply) {
	t.Helper()
	path := a.pathOf(r.URL.Path)
	if path == "" || got.status == http.StatusMethodNotAllowed || r.Method == http.MethodOptions || r.Method == http.MethodHead {
		return
	}
	step := strings.NewReplacer("~", "~0", "/", "~1")
	kind := "application/json"
	pointer := "/paths/" + step.Replace(path) + "/" + strings.ToLower(r.Method) + "/responses/" + fmt.Sprint(got.status)
	if got.status >= 400 {
		a.valid(t, r, "/components/schemas/Error", got.body)
		if _, err := a.compiler.Compile("http://x/openapi.json#" + pointer); err != nil {
			t.Errorf("%s %s is answered with %d, which the document does not have: %s", r.Method, r.URL.Path, got.status, got.body)
		}
		return
	}
	if have := got.header.Get("Content-Type"); have != kind {
		if !strings.HasPrefix(have, "text/event-stream") {
			t.Errorf("%s %s has the type %q", r.Method, r.URL.Path, have)
		}
		return
	}
	a.valid(t, r, pointer+"/content/"+step.Replace(kind)+"/schema", got.body)
}

func (a *openAPI) valid(t *testing.T, r *http.Request, pointer string, body []byte) {
	t.Helper()
	schema, err := a.compiler.Compile("http://x/openapi.json#" + (&url.URL{Path: pointer}).EscapedPath())
	if err != nil {
		t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
		return
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err == nil {
		err = schema.Validate(v)
	}
	if err != nil {
		t.Errorf("%s %s is answered with what the document does not allow: %v\n%.2000s", r.Method, r.URL.Path, err, body)
	}
}
