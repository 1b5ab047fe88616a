package tui

import (
	"strings"

	"github.com/charmbracelet/x/ansi"

	"bela/event"
	"bela/live"
)

// Picture draws the dashboard as plain text, as it stands after the given
// events, in at most height lines of at most width columns. The clock stands at
// the last event. Documentation shows it, so that it never shows what bela does
// not.
func Picture(events []event.Event, width, height int) string {
	s := live.New()
	for _, e := range events {
		if e.Data != nil {
			s.Handle(e)
		}
	}
	return strip(render(&s, viewport{}, width, height))
}

// strip takes the styles away, and what is blank at the ends of lines.
func strip(picture string) string {
	lines := strings.Split(ansi.Strip(picture), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, " ")
	}
	return strings.Join(lines, "\n")
}
