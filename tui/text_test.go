package tui

import (
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"

	"bela/live"
)

// Text from nodes reaches the operator's terminal. If one of these came
// through, a component under test could set the window's title, hide what it
// wrote, or move the cursor.
func TestClean(t *testing.T) {
	for _, c := range []struct{ in, want, why string }{
		{"plain text", "plain text", "nearly everything is harmless and stays as it is"},
		{"\x1b[31mred\x1b[0m", "red", "colours are put there in good faith and vanish"},
		{"\x1b]0;evil\x07", "␛]0;evil␇", "a title is set by OSC: it stays visible, and does nothing"},
		{"\x1b[2Jgone", "␛[2Jgone", "clearing the screen"},
		{"\u009b2Jgone", "�2Jgone", "the same with a C1 control, which is a CSI by itself"},
		{"\x9b2J", "�2J", "the same as a raw byte, which is no UTF-8"},
		{"a\r\nb\tc\vd", "a  b c␋d", "one line stays one line"},
		{"user\u202egpj.exe", "usergpj.exe", "a direction override shows text in another order"},
		{"a\u200bb\ufeffc\u2066d", "abcd", "what has no width hides in names"},
		{"warn \u26a0\ufe0f", "warn ⚠", "a variation selector has terminals disagree on the width"},
		{"\x7f", "␡", "DEL"},
		{"größe 温度 ok", "größe 温度 ok", "letters of the world stay"},
		{"tail   ", "tail   ", "harmless"},
		{"\x00", "␀", "NUL"},
	} {
		if got := live.Clean(c.in); got != c.want {
			t.Errorf("clean(%q) = %q, want %q: %s", c.in, got, c.want, c.why)
		}
	}
}

// A log line of a megabyte must not fill the memory of the views.
func TestCleanIsBounded(t *testing.T) {
	for _, in := range []string{strings.Repeat("x", 1<<20), strings.Repeat("\x1b[31m", 1<<18), strings.Repeat("温", 1<<18), strings.Repeat("\xff", 1<<20)} {
		if got := live.Clean(in); len(got) > live.MaxText+utf8.UTFMax || !strings.HasSuffix(got, "…") {
			t.Errorf("clean of %d bytes (%.5q…) gives %d bytes, ending in %q", len(in), in, len(got), got[max(0, len(got)-6):])
		}
	}
}

// The lines above the dashboard are what stays: they must hold every word, and
// a path in them must be fit to be copied.
func TestWrap(t *testing.T) {
	for _, c := range []struct {
		text        string
		first, rest int
		want        []string
		why         string
	}{
		{"short", 20, 18, []string{"short"}, "fits"},
		{"results in results/a-b-c/d", 20, 18, []string{"results in", "results/a-b-c/d"}, "a path is not broken at its hyphens"},
		{"a  b", 20, 18, []string{"a  b"}, "spaces inside a line stay"},
		{"abcdefghij", 4, 3, []string{"abcd", "efg", "hij"}, "a word longer than any line is broken, not lost"},
		{"x abcdefghij", 4, 3, []string{"x", "abc", "def", "ghi", "j"}, "the same after another word"},
		{"温度温度", 3, 3, []string{"温", "度", "温", "度"}, "two columns each"},
		{"温", 1, 1, []string{"温"}, "no line is wide enough: it ends all the same"},
	} {
		if got := wrap(c.text, c.first, c.rest); !slices.Equal(got, c.want) {
			t.Errorf("wrap(%q, %d, %d) = %q, want %q: %s", c.text, c.first, c.rest, got, c.want, c.why)
		}
	}
}

func FuzzClean(f *testing.F) {
	for _, s := range []string{evil, "plain", "\x1b[0m\x1b", "\xc2\x9b", "\u202e\u2066", strings.Repeat("é", 400)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		out := live.Clean(in)
		if !utf8.ValidString(out) {
			t.Fatalf("not UTF-8: %q", out)
		}
		if len(out) > live.MaxText+utf8.UTFMax {
			t.Fatalf("%d bytes", len(out))
		}
		for _, r := range out {
			if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
				t.Fatalf("%q in %q", r, out)
			}
		}
		for _, l := range wrap(out, 9, 7) {
			if w := ansi.StringWidth(l); w > 9 {
				t.Fatalf("a line of wrap is %d wide: %q", w, l)
			}
		}
		for w := range 12 {
			if got := ansi.StringWidth(left(out, w)); got != w {
				t.Fatalf("left(%q, %d) is %d wide", out, w, got)
			}
		}
	})
}
