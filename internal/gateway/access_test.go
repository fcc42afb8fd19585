package gateway

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"processor/internal/chat"
)

func TestATokenIsReadWithOrWithoutATenant(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Token{
		"secret":            {Secret: "secret"},
		"c2VjcmV0cw==":      {Secret: "c2VjcmV0cw=="},
		"acme=secret":       {Tenant: "acme", Secret: "secret"},
		"acme=c2VjcmV0cw==": {Tenant: "acme", Secret: "c2VjcmV0cw=="},
		"a-b_C1=a.b~c+d/e":  {Tenant: "a-b_C1", Secret: "a.b~c+d/e"},
	} {
		got, err := ParseToken(text)
		if err != nil || got != want {
			t.Errorf("%s is read as %#v, %v", text, got, err)
		}
		if shown := fmt.Sprintf("%v %s", got, got); strings.Contains(shown, want.Secret) {
			t.Errorf("it prints as %s", shown)
		}
	}
	for _, text := range []string{"", "=", "=secret", "a b=secret", "sec ret", "acme=sec=ret", "acme=sécret", "a:b", strings.Repeat("t", 65) + "=secret"} {
		if got, err := ParseToken(text); err == nil {
			t.Errorf("%q is read as %#v", text, got)
		} else if text != "" && strings.Contains(err.Error(), "ret") {
			t.Errorf("the error repeats the token: %v", err)
		}
	}
}

func TestPagesOfAllowedOriginsMay(t *testing.T) {
	t.Parallel()
	const ours, theirs = "https://app.example.com", "https://evil.example"
	for _, bad := range []string{"", "app.example.com", "https://", "https://app.example.com/", "https://app.example.com/x", "null", "*.example.com"} {
		if CheckOrigins([]string{bad}) == nil {
			t.Errorf("%q is taken for an origin", bad)
		}
	}
	for _, test := range []struct {
		allowed []string
		method  string
		origin  string
		site    string // what the browser says of it
		want    string // Access-Control-Allow-Origin
		refused bool
	}{
		{nil, "POST", "", "", "", false}, // no browser
		{nil, "POST", "http://example.com", "same-origin", "", false},
		{nil, "POST", theirs, "cross-site", "", true},
		{nil, "GET", theirs, "cross-site", "", false}, // which the browser then hides
		{[]string{ours}, "POST", ours, "cross-site", ours, false},
		{[]string{ours}, "POST", theirs, "cross-site", "", true},
		{[]string{ours}, "DELETE", "null", "cross-site", "", true},
		{[]string{ours}, "POST", ours + ".evil.example", "cross-site", "", true},
		{[]string{"*"}, "POST", theirs, "cross-site", "*", false},
	} {
		o, err := newOrigins(test.allowed)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(test.method, "http://example.com/v1/chats", nil)
		for name, value := range map[string]string{"Origin": test.origin, "Sec-Fetch-Site": test.site} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		w := httptest.NewRecorder()
		done, err := o.admit(w, r)
		if got := w.Header().Get("Access-Control-Allow-Origin"); done || (err != nil) != test.refused || got != test.want {
			t.Errorf("%+v: %t %v, %q", test, done, err, got)
		}
	}
}

// TestAServerForThisMachineIsReachedByItsNamesOnly: a page of evil.example whose name points to 127.0.0.1 by now sends what looks like its own origin.
func TestAServerForThisMachineIsReachedByItsNamesOnly(t *testing.T) {
	t.Parallel()
	for host, here := range map[string]bool{
		"127.0.0.1:8080": true, "127.0.0.1": true, "[::1]:8080": true, "localhost:8080": true, "LOCALHOST": true, "localhost.:8080": true, "app.localhost:8080": true, "": true,
		"app.example.com:8080": true, "evil.example:8080": false, "localhost.evil.example": false, "evillocalhost": false, "127.0.0.1.evil.example:8080": false,
	} {
		for _, config := range []Config{
			{Local: true, Origins: []string{"https://app.example.com"}}, {Local: false}, {Local: true, Origins: []string{"*"}}, {Local: true, Tokens: []Token{{Secret: "s"}}},
		} {
			g, err := New((*chat.Service)(nil), nil, config)
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest("GET", "/openapi.json", nil)
			r.Host = host
			r.Header.Set("Origin", "http://"+host)
			r.Header.Set("Sec-Fetch-Site", "same-origin")
			_, err = g.origins.admit(httptest.NewRecorder(), r)
			if want := here || !config.Local || len(config.Tokens) > 0 || config.Origins[0] == "*"; (err == nil) != want {
				t.Errorf("%q with %+v: %v", host, config, err)
			}
		}
	}
}

func TestAPreflightIsAnsweredForAllowedOriginsOnly(t *testing.T) {
	t.Parallel()
	o, err := newOrigins([]string{"https://app.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	for origin, want := range map[string]bool{"https://app.example.com": true, "https://evil.example": false} {
		r := httptest.NewRequest("OPTIONS", "/v1/chats", nil)
		r.Header.Set("Origin", origin)
		r.Header.Set("Access-Control-Request-Method", "POST")
		r.Header.Set("Access-Control-Request-Headers", "authorization, content-type")
		w := httptest.NewRecorder()
		if done, _ := o.admit(w, r); done != want || (w.Header().Get("Access-Control-Allow-Headers") == "authorization, content-type") != want {
			t.Errorf("%s: %t %v", origin, done, w.Header())
		}
	}
}
