package main

import (
	"cmp"
	"fmt"
	"os"
	"strings"
)

// greeting is what dev prints when everything runs. Both get further than one thinks, so the database's password is
// not in it, only where it is.
func (d *dev) greeting() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n  %-10s %s\n", "NATS", d.natsURL)
	fmt.Fprintf(&b, "  %-10s %s\n", "Postgres", redactURL(d.database))
	if d.password != "" {
		fmt.Fprintf(&b, "  %-10s its password is in %s\n", "", d.password)
	}
	if d.http != nil {
		fmt.Fprintf(&b, "  %-10s http://%s\n", "HTTP", d.http.Addr())
	}
	for _, r := range d.replicas {
		fmt.Fprintf(&b, "  %-10s %s\n", r.name, r.line())
	}
	fmt.Fprint(&b, "\nTry:\n\n", d.suggestions(), "\n")
	return b.String()
}

// line is where a replica is, or how it ended.
func (r *devReplica) line() string {
	pid, starts, ended, _ := r.state()
	facts := []string{fmt.Sprintf("pid %d", pid)}
	if pid == 0 {
		facts = []string{cmp.Or(ended, "starting")}
	}
	if r.http != "" {
		facts = append(facts, "http://"+r.http)
	}
	if starts > 1 {
		facts = append(facts, fmt.Sprintf("started %d times", starts))
	}
	return strings.Join(facts, ", ")
}

// suggestions are commands to try, as they work from here.
func (d *dev) suggestions() string {
	program, where := os.Args[0], ""
	if d.natsURL != "nats://127.0.0.1:4222" {
		where = " --nats-url " + d.natsURL
	}
	lines := fmt.Sprintf("  %s send%s \"$(seq -s ' ' 400)\"\n  %s watch%s\n", program, where, program, where)
	for _, r := range d.replicas {
		if pid, _, _, _ := r.state(); pid != 0 {
			return lines + fmt.Sprintf("  kill -9 %d        # %s in mid-answer; `%s workers` says who answers\n", pid, r.name, program)
		}
	}
	return lines + fmt.Sprintf("  %s ls%s\n", program, where)
}
