package campaign

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// One line of a hostile node must not fill events.jsonl.
func TestClip(t *testing.T) {
	t.Parallel()
	if got := clip(strings.Repeat("é", 1<<20)); len(got) > 4096+len(" …") || !utf8.ValidString(got) || !strings.HasSuffix(got, " …") {
		t.Errorf("%d bytes, ends with %q", len(got), got[len(got)-8:])
	}
	if got := clip("short"); got != "short" {
		t.Errorf("%q", got)
	}
}
