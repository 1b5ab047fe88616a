package live

import (
	"strings"
	"testing"

	"bela/event"
	"bela/measure"
)

// What helps is told of the results that stand. A cell that a spare has mended is
// not one to measure again, and an operator who is told so does it for nothing.
func TestHelpsAreOfTheLastAttempt(t *testing.T) {
	t.Parallel()
	refs := []event.CellRef{{Position: 1, Number: 1, Attempt: 1}, {Position: 2, Number: 2, Attempt: 1}}
	s := New()
	s.Handle(event.Event{Data: event.RunStarted{Cells: refs}})
	finish := func(ref event.CellRef, codes ...string) {
		result := measure.Cell{Position: ref.Position, Verdict: measure.Invalid}
		for _, code := range codes {
			result.Reasons = append(result.Reasons, measure.Reason{Code: code})
		}
		s.Handle(event.Event{Data: event.CellFinished{Cell: ref, Result: result}})
	}
	finish(refs[0], "node_lost", "cpu_saturated")
	refs[0].Attempt = 2
	finish(refs[0], "generator_late")
	finish(refs[1], "generator_late", "cpu_saturated")
	var told []string
	for _, n := range s.Handle(event.Event{Data: event.RunFinished{}}) {
		if _, help, ok := strings.Cut(n.Text, "what helps against "); ok {
			code, _, _ := strings.Cut(help, ":")
			told = append(told, code)
		}
	}
	if got := strings.Join(told, " "); got != "generator_late cpu_saturated" {
		t.Errorf("helps against %q", got)
	}
}
