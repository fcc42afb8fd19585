package nodetest

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestASuiteWithTheInstalledPackagesAndTheBrowser(t *testing.T) {
	t.Parallel()
	Run(t, "smoke.mjs", nil)
}

func TestASuitePassesOnlyIfAllItsTestsDo(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ suite, failure, says string }{
		{"passes.mjs", "", "hears: word"},
		{"fails.mjs", "exit status 1", "one is two"},
		{"throws.mjs", "exit status 1", "thrown while loading"},
		{"empty.mjs", "no test ran", ""},
		{"skips.mjs", "of 2 tests 1 passed", ""},
		{"missing.mjs", "exit status 1", "missing.mjs"},
	} {
		t.Run(row.suite, func(t *testing.T) {
			t.Parallel()
			root, err := checkout()
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			err = node{root: root, out: &out}.run(t.Context(), filepath.Join("testdata", row.suite), map[string]string{"WORD": "word"})
			if got := message(err); !strings.HasPrefix(got, row.failure) || (row.failure == "") != (got == "") {
				t.Errorf("the suite ends with %q, want %q", got, row.failure)
			}
			if !strings.Contains(out.String(), row.says) {
				t.Errorf("its report does not say %q:\n%s", row.says, &out)
			}
		})
	}
}

func TestASuiteEndsWithItsContext(t *testing.T) {
	t.Parallel()
	root, err := checkout()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err = node{root: root, out: t.Output()}.run(ctx, filepath.Join("testdata", "hangs.mjs"), nil)
	if got := message(err); !strings.Contains(got, context.DeadlineExceeded.Error()) {
		t.Errorf("the suite ends with %q", got)
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
