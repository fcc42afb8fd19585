package wire

import (
	"context"
	"net"
	"net/http"
)

type tokenKey struct{}

// WithToken notes which of the configured tokens a request has, by a name that is not the token.
func WithToken(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, tokenKey{}, name)
}

// clientOf tells clients apart: by their token and their address. What a proxy says of others' addresses is not believed, since anybody
// can say it.
func clientOf(r *http.Request) string {
	name, _ := r.Context().Value(tokenKey{}).(string)
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return name + " " + host
}
