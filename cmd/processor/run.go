package main

import (
	"context"
	"errors"
)

// Run runs a replica until it is told to stop.
func (c *RunCmd) Run(_ context.Context, _ *Streams) error {
	if _, err := c.worker(); err != nil {
		return err
	}
	return errors.New("not wired yet")
}
