package main

import (
	"strings"
	"testing"
	"time"
)

func TestDevHandsListsOnAsTheirVariableHasThem(t *testing.T) {
	t.Parallel()
	for want, value := range map[string]any{"a,t=b": []httpToken{"a", "t=b"}, "": []string(nil), "30s": 30 * time.Second, "1GiB": size(1 << 30), "7": 7} {
		if got := asVariable(value); got != want {
			t.Errorf("%v is handed on as %q", value, got)
		}
	}
}

func TestBadHTTPFlagsAreRefusedWithoutRepeatingAToken(t *testing.T) {
	t.Parallel()
	for _, f := range []HTTPFlags{
		{HTTPStreamsPerClient: 0},
		{HTTPStreamsPerClient: 1, HTTPToken: []httpToken{"a b-secret"}},
		{HTTPStreamsPerClient: 1, HTTPToken: []httpToken{"x=y=b-secret"}},
		{HTTPStreamsPerClient: 1, HTTPToken: []httpToken{"b-secret", "t=b-secret"}},
		{HTTPStreamsPerClient: 1, HTTPCORSOrigin: []string{"example.com"}},
	} {
		if err := f.Validate(); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%d tokens, origins %v: %v", len(f.HTTPToken), f.HTTPCORSOrigin, err)
		}
	}
}
