package main

import (
	"context"
	"fmt"

	"processor/internal/store"
)

// MigrateCmd brings the schema up to date.
type MigrateCmd struct {
	Check bool `name:"check" help:"Only say whether there is something to do; exit code 1 when there is."`

	DatabaseFlags `group:"Database"`
	LogFlags      `group:"Log"`
}

// Validate is called by the command line's parser.
func (c *MigrateCmd) Validate() error { return c.require() }

// Run migrates. Several at once are harmless.
func (c *MigrateCmd) Run(ctx context.Context, std *Streams) error {
	if !c.Check {
		if err := store.Migrate(ctx, c.DatabaseURL, c.Logger(std.Err)); err != nil {
			return fmt.Errorf("%w: check --database-url, and that this user may create a schema", err)
		}
	}
	state, err := store.CheckURL(ctx, c.DatabaseURL)
	if err != nil {
		return err
	}
	if err := state.Err(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(std.Out, "the schema is at version %d, nothing is left to do\n", state.Applied)
	return err
}
