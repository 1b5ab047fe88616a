package influx

import (
	"fmt"
	"strings"

	"bela/event"
)

// measurementAnnotation has what was done on the testbed, for marks over the
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

// The kinds of marks that are not faults.
const (
	kindCell  = "cell"
	kindPhase = "phase"
)

// cellStarted makes one point of the beginning of a cell.
func (e *Encoder) cellStarted(l *line, ev event.Event, c *event.CellRef) {
	title := fmt.Sprintf("cell %d", c.Number)
	if c.Repetition > 1 {
		title += fmt.Sprintf(", repetition %d", c.Repetition)
	}
	if c.Attempt > 1 {
		title += fmt.Sprintf(", attempt %d", c.Attempt)
	}
	var dims []string
	for _, d := range c.Dimensions {
		dims = append(dims, d.Name+" "+dimensionText(d.Value))
	}
	e.mark(l, ev, c.Position, kindCell, "", title, strings.Join(dims, ", "))
}

// phaseStarted makes one point of the beginning of a phase.
func (e *Encoder) phaseStarted(l *line, ev event.Event, d *event.PhaseStarted) {
	text := "takes " + d.Limit.String()
	if !d.Fixed {
		text = "ends within " + d.Limit.String()
	}
	e.mark(l, ev, d.Position, kindPhase, string(d.Phase), string(d.Phase), text)
}

func (e *Encoder) mark(l *line, ev event.Event, position int, kind, phase, title, text string) {
	cell := e.at(position)
	l.open(measurementAnnotation)
	l.escaped(cell.head)
	l.escaped(cell.dims)
	l.tag("kind", kind)
	l.tag("phase", phase)
	l.escaped(cell.tail)
	l.escaped(e.run)
	l.text("title", title)
	l.text("text", text)
	l.close(ev)
}
