package gateway

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"processor/internal/chat"
)

// origins are the web pages that may use the API. Browsers enforce it for what they read; what they only send is refused here, because
// published clients post JSON as plain text, which every page may.
type origins struct {
	all     bool
	local   bool
	allowed map[string]bool
	hosts   map[string]bool // of those that are allowed
	foreign *http.CrossOriginProtection
}

func newOrigins(list []string) (origins, error) {
	o := origins{allowed: map[string]bool{}, hosts: map[string]bool{}, foreign: http.NewCrossOriginProtection()}
	for _, origin := range list {
		if origin == "*" {
			o.all = true
			continue
		}
		u, err := url.Parse(origin)
		if err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != origin {
			return o, fmt.Errorf("%q is not an origin such as https://app.example.com, or *", origin)
		}
		if err := o.foreign.AddTrustedOrigin(origin); err != nil {
			return o, fmt.Errorf("%q is not an origin such as https://app.example.com: %w", origin, err)
		}
		o.allowed[origin], o.hosts[u.Hostname()] = true, true
	}
	return o, nil
}

// CheckOrigins refuses what are no origins.
func CheckOrigins(list []string) error {
	_, err := newOrigins(list)
	return err
}

// isHere reports whether a browser that was sent to host can only have meant this machine, or an origin that is allowed. What names no host is
// no browser.
func (o origins) isHere(host string) bool {
	name := strings.TrimSuffix(strings.ToLower((&url.URL{Host: host}).Hostname()), ".")
	return name == "" || name == "localhost" || strings.HasSuffix(name, ".localhost") || net.ParseIP(name) != nil || o.hosts[name]
}

// admit answers a browser's question whether a page may, and says in done that this was one. No cookies are involved, so a page never
// acts as somebody else.
func (o origins) admit(w http.ResponseWriter, r *http.Request) (done bool, err error) {
	if o.local && !o.all && !o.isHere(r.Host) {
		return false, chat.Errorf(chat.Forbidden, "", "only this machine may come here, by its address or as localhost: name others with --http-cors-origin, or set --http-token")
	}
	origin := r.Header.Get("Origin")
	header := w.Header()
	if len(o.allowed) > 0 && !o.all {
		header.Add("Vary", "Origin")
	}
	if origin != "" && (o.all || o.allowed[origin]) {
		header.Set("Access-Control-Allow-Origin", origin)
		if o.all {
			header.Set("Access-Control-Allow-Origin", "*")
		}
		header.Set("Access-Control-Expose-Headers", "*")
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
			header.Set("Access-Control-Allow-Methods", "GET, POST, PATCH, DELETE")
			if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
				header.Set("Access-Control-Allow-Headers", asked)
			}
			header.Set("Access-Control-Max-Age", "600")
			w.WriteHeader(http.StatusNoContent)
			return true, nil
		}
	}
	if !o.all && o.foreign.Check(r) != nil {
		return false, chat.Errorf(chat.Forbidden, "", "a page of another origin may not do this: see --http-cors-origin")
	}
	return false, nil
}
