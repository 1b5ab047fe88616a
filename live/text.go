package live

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxText bounds one piece of text from outside, in bytes.
const MaxText = 600

// sgr matches the sequences that set colours. Programs put them into their
// logs in good faith, so they vanish; every other escape stays visible.
var sgr = regexp.MustCompile(`\x1b\[[0-9;:]*m`)

// Clean makes text from outside harmless on a terminal and one line long: the
// result holds no control byte, no invalid UTF-8, and nothing that reorders or
// joins characters. What it takes out is shown as a visible stand-in, so that
// nothing is hidden from the operator.
func Clean(s string) string {
	if harmless(s) {
		return s
	}
	cut := false
	if len(s) > 4*MaxText {
		s, cut = s[:4*MaxText], true
	}
	s = sgr.ReplaceAllString(s, "")
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		i += n
		if b.Len()+utf8.UTFMax > MaxText {
			cut = true
			break
		}
		if r = standIn(r, n); r >= 0 {
			b.WriteRune(r)
		}
	}
	out := strings.TrimRight(b.String(), " ")
	if cut {
		out += "…"
	}
	return out
}

// harmless says that s is short printable ASCII, as nearly all text is.
func harmless(s string) bool {
	if len(s) > MaxText {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// standIn returns what is shown for a rune that took n bytes; -1 is nothing.
func standIn(r rune, n int) rune {
	switch {
	case r == utf8.RuneError && n <= 1:
		return unicode.ReplacementChar
	case r == '\n' || r == '\r' || r == '\t' || r == 0x2028 || r == 0x2029:
		return ' '
	case r < ' ':
		return 0x2400 + r // the control pictures: ESC is ␛
	case r == 0x7f:
		return 0x2421
	case r >= 0x80 && r < 0xa0: // C1: 0x9b alone is a CSI to some terminals
		return unicode.ReplacementChar
	case r == 0xfe0e || r == 0xfe0f, unicode.Is(unicode.Cf, r):
		// Direction marks, joiners and variation selectors: they make what is
		// read differ from what is there, and terminals disagree on widths.
		return -1
	case !unicode.IsPrint(r) && !unicode.IsMark(r):
		return unicode.ReplacementChar
	}
	return r
}

// Some joins names, the first few of them where there are more than most, and
// says how many it left out.
func Some(names []string, most int) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:most], ", ") + " and " + Count(int64(len(names)-most)) + " more"
}
