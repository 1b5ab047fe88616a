package store

import (
	"errors"
	"strings"
	"testing"
)

// What is to be done about a damaged file depends on which it is; advice that
// does not fit it sends its reader astray.
func TestCorruptAdvice(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"run/plan.json":              "start the run anew",
		"run/cells/003/summary.json": "move the cell's directory away and run it again with bela resume",
	} {
		if s := (&CorruptError{Path: path, Err: errors.New("cut")}).Error(); !strings.Contains(s, path+" is corrupt: cut; restore the file from a copy, or "+want) {
			t.Errorf("%s: %s", path, s)
		}
	}
	if s := (&CorruptError{Path: "run/journal.jsonl", Line: 3, Err: errors.New("cut")}).Error(); !strings.Contains(s, "journal.jsonl:3") || !strings.Contains(s, "move it away") {
		t.Error(s)
	}
}
