package tui

import (
	"testing"

	"bela/live"
)

// A sparkline's columns hold whole seconds by their number, so that a peak
// keeps its shape as it moves to the left.
func TestColumns(t *testing.T) {
	var history []live.Second
	for i := range 90 {
		history = append(history, live.Second{T: i, Published: float64(i)})
	}
	r := measureRow{at: func(p live.Second) (float64, bool) { return p.Published, true }}
	got := columns(history, 30, r) // two seconds a column
	if got[29] != 88.5 || got[28] != 86.5 || got[0] != 30.5 {
		t.Errorf("the means of 88+89, 86+87 and 30+31 are %v, %v and %v", got[29], got[28], got[0])
	}
	r.peak = true
	if got := columns(history, 30, r); got[29] != 89 {
		t.Errorf("the peak of 88 and 89 is %v", got[29])
	}
	if got := columns(history[:3], 60, r); got[59] != 2 || got[57] != 0 || got[56] != -1 {
		t.Errorf("three seconds in sixty columns: %v", got[55:])
	}
	if got := sparkline([]float64{-1, 0, 50, 100}); got != " ▁▅█" {
		t.Errorf("sparkline %q", got)
	}
}
