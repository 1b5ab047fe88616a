package tui

import (
	"fmt"
	"strings"
	"time"

	"bela/event"
)

// sayFault tells what was done to the testbed, and for how long.
func (s *state) sayFault(d event.FaultStarted) note {
	text := fmt.Sprintf("%s  fault %q: %s", s.cellName(d.Position), clean(d.Name), clean(d.Text))
	if d.For > 0 {
		text += ", for " + length(time.Duration(d.For*float64(time.Second)))
	}
	return note{Text: text + measured(d.Measured), Tone: warnTone, Lasting: true, Logged: true}
}

func (s *state) sayHealed(d event.FaultHealed) note {
	text := fmt.Sprintf("%s  fault %q healed after %.1f s", s.cellName(d.Position), clean(d.Name), d.Lasted)
	return note{Text: text + measured(d.Measured), Tone: goodTone, Lasting: true, Logged: true}
}

// measured is what nodes say of a fault, in brackets; of many the first.
func measured(all []string) string {
	const most = 3
	if len(all) == 0 {
		return ""
	}
	var said []string
	for _, m := range all[:min(len(all), most)] {
		said = append(said, clean(m))
	}
	text := strings.Join(said, "; ")
	if more := len(all) - most; more > 0 {
		text += fmt.Sprintf("; and %s", plural(more, "more node"))
	}
	return " (" + text + ")"
}
