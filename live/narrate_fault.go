package live

import (
	"fmt"
	"strings"
	"time"

	"bela/event"
)

// sayFault tells what was done to the testbed, and for how long.
func (s *State) sayFault(d event.FaultStarted) Note {
	text := fmt.Sprintf("%s  fault %q: %s", s.cellName(d.Position), Clean(d.Name), Clean(d.Text))
	if d.For > 0 {
		text += ", for " + Length(time.Duration(d.For*float64(time.Second)))
	}
	return Note{Text: text + measured(d.Measured), Tone: WarnTone, Lasting: true, Logged: true}
}

func (s *State) sayHealed(d event.FaultHealed) Note {
	text := fmt.Sprintf("%s  fault %q healed after %.1f s", s.cellName(d.Position), Clean(d.Name), d.Lasted)
	return Note{Text: text + measured(d.Measured), Tone: GoodTone, Lasting: true, Logged: true}
}

// measured is what nodes say of a fault, in brackets; of many the first.
func measured(all []string) string {
	const most = 3
	if len(all) == 0 {
		return ""
	}
	var said []string
	for _, m := range all[:min(len(all), most)] {
		said = append(said, Clean(m))
	}
	text := strings.Join(said, "; ")
	if more := len(all) - most; more > 0 {
		text += fmt.Sprintf("; and %s", Plural(more, "more node"))
	}
	return " (" + text + ")"
}
