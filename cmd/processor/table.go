package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"processor/internal/chat"
)

// OutputFlags choose between people and scripts.
type OutputFlags struct {
	JSON bool `name:"json" help:"Print one JSON object per line."`
}

// printJSON writes one line.
func printJSON(w io.Writer, v any) error {
	line, err := chat.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the output: %w", err)
	}
	_, err = w.Write(append(line, '\n'))
	return err
}

// list prints rows for scripts as they are, for people as a table.
func list[T any](w io.Writer, o OutputFlags, rows []T, heads []string, cells func(T) []string) error {
	if o.JSON {
		for _, row := range rows {
			if err := printJSON(w, row); err != nil {
				return err
			}
		}
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, strings.Join(heads, "\t"))
	for _, row := range rows {
		fmt.Fprintln(table, strings.Join(cells(row), "\t"))
	}
	return table.Flush()
}

// age is how long ago something was, in one unit.
func age(at, now time.Time) string {
	d := max(now.Sub(at), 0)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}
