package main

import (
	"testing"

	"processor/internal/chat/llm/llmtest"
	"processor/internal/local/nodetest"
)

// TestTheConsole runs the suites of the console in a browser, each against a deployment of its own whose killed replicas come back.
func TestTheConsole(t *testing.T) {
	t.Parallel()
	const secret = "c29tZXRoaW5nIHNlY3JldA"
	for _, row := range []struct {
		suite string
		flags []string
	}{
		{"console.mjs", nil},
		{"console-edit.mjs", nil},
		{"console-look.mjs", nil},
		{"console-token.mjs", []string{"--http-token", secret}},
	} {
		t.Run(row.suite, func(t *testing.T) {
			t.Parallel()
			provider := llmtest.New(t)
			d := newDevs(t)
			d.environment = []string{"OPENAI_API_KEY=key", "OPENAI_BASE_URL=" + provider.OpenAIURL()}
			dev := d.start(append([]string{"--respawn", "--model", "openai/test", "--database-url", suite.Postgres(t)}, row.flags...)...)
			dev.out.until(t, "Try:")
			nodetest.Run(t, row.suite, map[string]string{
				"PROCESSOR_URL": "http://" + d.http, "PROVIDER_URL": provider.AnthropicURL(), "PROCESSOR_SECRET": secret, "GREETING": dev.out.String(),
			})
		})
	}
}
