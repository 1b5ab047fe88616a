package report

import (
	"testing"

	"bela/measure"
)

// The picture of a fault must have its dent and its marks in the seconds where
// they were.
func TestBars(t *testing.T) {
	healed, before := 5.5, 100.0
	faults := []measure.Fault{{Started: 3.2, Healed: &healed, RateBefore: &before}}
	var seconds []*int64
	for _, n := range []int64{0, 100, 100, 0, 0, 300, 50, 300, 100} {
		seconds = append(seconds, &n)
	}
	seconds = append(seconds, nil)
	if got, want := bars(seconds, faults, 1), "▁██×××▅██ "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	// Of two seconds in one sign the poorer shows, and a mark is never lost.
	if got, want := bars(seconds, faults, 2), "▁××▅█"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A fault that was never recovered from must not look like one that was.
func TestRecoveryField(t *testing.T) {
	two := 2.0
	for want, f := range map[string]measure.Fault{"2.00": {Recovery: &two}, "never": {NotRecovered: true}, missing: {}} {
		if got := recovery(f); got.Text != want {
			t.Errorf("%+v is shown as %q, want %q", f, got.Text, want)
		}
	}
}
