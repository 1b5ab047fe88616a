package main

import (
	"strings"
	"unicode"
)

// printable takes out of a text what would steer a terminal or show the text in
// another order: parts of it come from other machines.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' || unicode.Is(unicode.Bidi_Control, r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}
