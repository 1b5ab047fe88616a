package influx

import (
	"strings"

	"bela/event"
)

// measurementAnnotation has what was done to the testbed, for marks over the
// graphs of the other measurements.
const measurementAnnotation = "bela_annotation"

// fault makes one point of a fault's start or healing.
func (e *Encoder) fault(l *line, ev event.Event, f *event.Fault, state, text string) {
	cell := e.at(f.Position)
	l.open(measurementAnnotation)
	l.escaped(cell.head)
	l.escaped(cell.dims)
	l.tag("fault", f.Name)
	l.tag("kind", f.Does)
	l.escaped(cell.tail)
	l.escaped(e.run)
	l.tag("state", state)
	l.float("t_s", f.T)
	l.text("title", f.Name+" "+state)
	if len(f.Measured) > 0 {
		text += " (" + strings.Join(f.Measured, "; ") + ")"
	}
	l.text("text", text)
	l.close(ev)
}
