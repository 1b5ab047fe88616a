package tui

import (
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// cut shortens s to at most w columns, with an ellipsis where it was longer.
func cut(s string, w int) string {
	if w <= 0 {
		return ""
	}
	return ansi.Truncate(s, w, "…")
}

// left fits s into exactly w columns, at the left.
func left(s string, w int) string {
	s = cut(s, w)
	return s + spaces(w-ansi.StringWidth(s))
}

// right fits s into exactly w columns, at the right.
func right(s string, w int) string {
	s = cut(s, w)
	return spaces(w-ansi.StringWidth(s)) + s
}

func spaces(n int) string {
	if n <= 0 {
		return ""
	}
	return strings.Repeat(" ", n)
}

// wrap breaks text at spaces, into a first line of at most first columns and
// others of at most rest. A word that is longer than a line is broken, so that
// nothing is lost; a path that fits stays whole.
func wrap(text string, first, rest int) []string {
	first, rest = max(first, 1), max(rest, 1)
	var lines []string
	line, room := "", first
	flush := func() {
		lines = append(lines, strings.TrimRight(line, " "))
		line, room = "", rest
	}
	for i, word := range strings.Split(text, " ") {
		switch {
		case i == 0:
		case ansi.StringWidth(line)+1+ansi.StringWidth(word) > room && line != "":
			flush()
		case line != "":
			line += " "
		}
		for ansi.StringWidth(line)+ansi.StringWidth(word) > room {
			part := ansi.Truncate(word, room-ansi.StringWidth(line), "")
			if part == "" && line == "" {
				break // one character that is wider than the line
			}
			line += part
			word = word[len(part):]
			flush()
		}
		line += word
	}
	flush()
	return lines
}
