package main

import (
	"context"
	"fmt"
	"net"
)

// HealthCmd asks a process on this machine how it is. Images without a shell have nothing else to ask with.
type HealthCmd struct {
	HTTP  string `name:"http" default:"127.0.0.1:8080" placeholder:"ADDRESS" help:"Where the replica serves HTTP."`
	Alive bool   `name:"alive" help:"Ask only whether it answers, not whether it takes work."`
}

// Run asks once.
func (c *HealthCmd) Run(ctx context.Context, std *Streams) error {
	path := "/readyz"
	if c.Alive {
		path = "/healthz"
	}
	address, err := reachable(c.HTTP)
	if err != nil {
		return usageError{err}
	}
	if err := probeHTTP(ctx, address, path); err != nil {
		return fmt.Errorf("%w: does a replica run here with --http %s?", err, c.HTTP)
	}
	_, err = fmt.Fprintln(std.Out, "ok")
	return err
}

// reachable makes an address to call of one to listen on.
func reachable(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("--http %q must be host:port", address)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}
