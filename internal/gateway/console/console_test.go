package console

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func serve(t *testing.T) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	if err := Register(mux); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server
}

func get(t *testing.T, url, tag string) (status int, header http.Header, text string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("If-None-Match", tag)
	r.Header.Set("Range", "bytes=99999999-") // of no use, and no harm
	reply, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply.StatusCode, reply.Header, string(body)
}

func TestThePageIsAtTheRootAndItsPartsAreKeptUntilTheyChange(t *testing.T) {
	t.Parallel()
	server := serve(t)
	for path, kind := range map[string]string{
		"/": "text/html; charset=utf-8", "/console/app.js": "text/javascript; charset=utf-8", "/console/style.css": "text/css; charset=utf-8",
		"/console/icon.svg": "image/svg+xml",
	} {
		status, header, body := get(t, server.URL+path, "")
		if got := header.Get("Content-Type"); status != http.StatusOK || got != kind || body == "" {
			t.Errorf("%s: %d, %q, %d bytes", path, status, got, len(body))
		}
		if again, _, _ := get(t, server.URL+path, header.Get("ETag")); again != http.StatusNotModified {
			t.Errorf("%s is sent again to whoever has it: %d", path, again)
		}
		if got := header.Get("Content-Security-Policy"); !strings.HasPrefix(got, "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';") {
			t.Errorf("%s: the policy is %q", path, got)
		}
	}
	for _, path := range []string{"/index.html", "/console/", "/console/nothing.js", "/console/../console.go"} {
		if status, _, _ := get(t, server.URL+path, ""); status != http.StatusNotFound {
			t.Errorf("%s: %d", path, status)
		}
	}
}

// TestNothingTurnsTextIntoMarkup reads the scripts for what could, and the page for what its policy refuses anyway.
func TestNothingTurnsTextIntoMarkup(t *testing.T) {
	t.Parallel()
	files, err := assets.ReadDir("assets")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d assets: %v", len(files), err)
	}
	for _, f := range files {
		raw, err := assets.ReadFile("assets/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, way := range []string{
			"innerHTML", "outerHTML", "insertAdjacentHTML", "setHTML", "document.write", "DOMParser", "createContextualFragment", "srcdoc", "eval(", "new Function",
			"javascript:", "<script>", "<style", " style=\"", "onclick=", "http://", "https://",
		} {
			text := strings.ReplaceAll(string(raw), "http://www.w3.org/2000/svg", "")
			if strings.Contains(text, way) {
				t.Errorf("%s has %q", f.Name(), way)
			}
		}
	}
}
