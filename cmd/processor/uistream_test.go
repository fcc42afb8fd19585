package main

import (
	"fmt"
	"strings"
	"testing"

	"processor/internal/local/nodetest"
)

// TestTheAISDKsClientsWorkUnmodified runs the published clients before four replicas, two of which they kill.
func TestTheAISDKsClientsWorkUnmodified(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	var urls, pids []string
	for _, name := range []string{"a", "b", "c", "d"} {
		p := d.startHTTP(name)
		urls, pids = append(urls, "http://"+p.http), append(pids, fmt.Sprint(p.cmd.Process.Pid))
	}
	nodetest.Run(t, "uistream.mjs", map[string]string{"PROCESSOR_URLS": strings.Join(urls, ","), "PROCESSOR_PIDS": strings.Join(pids, ",")})
}
