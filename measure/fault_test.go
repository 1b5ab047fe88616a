package measure_test

import (
	"testing"

	"bela/measure"
)

// arrivals makes seconds of what arrived; -1 is a second that nobody reported.
func arrivals(counts ...int64) []measure.FaultSecond {
	seconds := make([]measure.FaultSecond, len(counts))
	for i, n := range counts {
		none := int64(0)
		seconds[i].Dropped = &none
		if n >= 0 {
			seconds[i].Arrived = &n
		}
	}
	return seconds
}

func at(v float64) *float64 { return &v }

// A recovery that is told wrongly is the one number for which faults are done.
func TestRecovery(t *testing.T) {
	none := -1.0
	for name, c := range map[string]struct {
		started      float64
		healed       *float64
		seconds      []int64
		recovery     float64 // from healing; none where there is none
		fromStart    float64
		notRecovered bool
	}{
		// 100/s, cut from 4.0 to 6.0; second 6 is back at once.
		"at once": {4, at(6), []int64{100, 100, 100, 100, 0, 0, 100, 100, 100, 100}, 0, 2, false},
		// Healed within second 6, which has half; 7 is the first whole one: 7 − 6.5.
		"within a second": {4, at(6.5), []int64{100, 100, 100, 100, 0, 0, 50, 100, 100, 100}, 0.5, 3, false},
		// What had piled up arrives, then it stalls again: 3 seconds in a row are 9, 10, 11.
		"burst and stall": {4, at(6), []int64{100, 100, 100, 100, 0, 0, 300, 100, 40, 100, 100, 100}, 3, 5, false},
		// 96 of 100 are 95 %, 94 are not.
		"share": {4, at(5), []int64{100, 100, 100, 100, 0, 94, 96, 96, 96, 96}, 1, 2, false},
		// An undisturbed second of this load has 80: so may one that is back.
		"uneven": {4, at(5), []int64{120, 80, 110, 90, 0, 85, 85, 85}, 0, 1, false},
		// Bursts and silence: no second shows anything.
		"bursts": {4, at(5), []int64{400, 0, 0, 0, 0, 400, 0, 0}, none, none, false},
		// The fault changed nothing.
		"no dent": {4, at(6), []int64{100, 100, 100, 100, 100, 100, 100, 100, 100}, 0, 0, false},
		// It never came back, with time enough to see it.
		"never": {4, at(5), []int64{100, 100, 100, 100, 0, 10, 10, 10, 10}, none, none, true},
		// It may have come back: two seconds prove nothing.
		"too late": {4, at(6), []int64{100, 100, 100, 100, 0, 0, 100, 100}, none, none, false},
		// A second that nobody reported is not one that was back.
		"not reported": {3, at(4), []int64{100, 100, 100, 0, -1, 100, 100, 100}, 1, 2, false},
		// One of two gateways stayed dead, and the other took over within 2 s.
		"stays dead, taken over": {4, nil, []int64{100, 100, 100, 100, 50, 80, 100, 100, 100}, none, 2, false},
		"stays dead, unnoticed":  {4, nil, []int64{100, 100, 100, 100, 100, 100, 100, 100}, none, 0, false},
		"stays dead":             {4, nil, []int64{100, 100, 100, 100, 0, 0, 0, 0, 0}, none, none, true},
		// Nothing arrived before: there is nothing to come back to.
		"nothing before": {0, at(1), []int64{0, 100, 100, 100}, none, none, false},
	} {
		t.Run(name, func(t *testing.T) {
			faults := []measure.Fault{{Started: c.started, Healed: c.healed}}
			measure.AssessFaults(faults, arrivals(c.seconds...), len(c.seconds))
			f := faults[0]
			check := func(what string, got *float64, want float64) {
				if want == none && got != nil || want != none && (got == nil || *got < want-1e-9 || *got > want+1e-9) {
					t.Errorf("%s is %v, want %v", what, text(got), want)
				}
			}
			check("recovery", f.Recovery, c.recovery)
			check("recovery from the start", f.RecoveryFromStart, c.fromStart)
			if f.NotRecovered != c.notRecovered {
				t.Errorf("not recovered: %v", f.NotRecovered)
			}
		})
	}
}

func text(v *float64) any {
	if v == nil {
		return "none"
	}
	return *v
}

// Drops belong to the fault in whose time they were due, and each counts once.
func TestFaultDrops(t *testing.T) {
	seconds := arrivals(100, 100, 100, 100, 0, 0, 40, 100, 100, 100, 0, 100, 100, 100)
	for i, n := range []int64{1, 0, 0, 0, 100, 90, 30, 5, 0, 0, 60, 0, 0, 7} {
		seconds[i].Dropped = &n
	}
	// Second 13 is after the last proof, and second 0 before the first fault.
	faults := []measure.Fault{{Started: 4, Healed: at(6)}, {Started: 10, Healed: at(11)}}
	all := measure.AssessFaults(faults, seconds, 13)
	for i, want := range [][2]int64{{190, 35}, {60, 0}} {
		f := faults[i]
		if f.DroppedDuring == nil || f.DroppedAfter == nil || *f.DroppedDuring != want[0] || (i == 0 && *f.DroppedAfter != want[1]) {
			t.Errorf("fault %d: %+v, want %v", i, f, want)
		}
	}
	if all == nil || *all != 285 {
		t.Errorf("all drops: %v, want 285", all)
	}
	if r := faults[0].Recovery; r == nil || *r != 1 {
		t.Errorf("recovery %v, want 1 s: second 7 is back, and 10 is another fault's", text(r))
	}
	if low := faults[0].RateLowest; low == nil || *low != 0 {
		t.Errorf("the poorest second had %v", text(low))
	}
	quiet := []int{0, 1, 2, 3, 7, 8, 9}
	for second := range 10 {
		want := false
		for _, q := range quiet {
			want = want || q == second
		}
		if measure.Quiet(faults, second) != want {
			t.Errorf("second %d is quiet: %v", second, !want)
		}
	}
	seconds[5].Dropped = nil
	if measure.AssessFaults(faults, seconds, 13) != nil || faults[0].DroppedDuring != nil {
		t.Error("drops that are not known are told")
	}
}

// The latency of what was due during a fault is not mixed with what was before.
func TestFaultLatency(t *testing.T) {
	seconds := arrivals(10, 10, 10, 0, 20, 10, 10, 10)
	for i, ms := range []int64{1, 1, 1, 900, 30, 1, 1, 1} {
		h := new(measure.Histogram)
		for range 100 {
			h.Record(ms * 1_000_000)
		}
		seconds[i].Latency = h
	}
	faults := []measure.Fault{{Started: 3.2, Healed: at(3.9)}}
	measure.AssessFaults(faults, seconds, len(seconds))
	f := faults[0]
	near := func(got *float64, want float64) bool { return got != nil && *got > 0.97*want && *got < 1.03*want }
	if !near(f.P99Before, 1) || !near(f.P99During, 900) || !near(f.P99After, 30) {
		t.Errorf("p99 before %v, during %v, after %v; want 1, 900 and 30 ms", text(f.P99Before), text(f.P99During), text(f.P99After))
	}
}

// What an expectation is held against in cells with and without faults.
func TestLongestRecovery(t *testing.T) {
	if r := measure.LongestRecovery(nil); r == nil || *r != 0 {
		t.Errorf("without faults: %v", text(r))
	}
	faults := []measure.Fault{{Healed: at(1), Recovery: at(2), RecoveryFromStart: at(3)}, {RecoveryFromStart: at(7)}}
	if r := measure.LongestRecovery(faults); r == nil || *r != 7 {
		t.Errorf("2 after healing, and 7 of one that stayed dead: %v", text(r))
	}
	faults = append(faults, measure.Fault{Healed: at(1)})
	if r := measure.LongestRecovery(faults); r != nil || measure.Unrecovered(faults) != 1 {
		t.Errorf("one was not recovered from: %v, %d", text(r), measure.Unrecovered(faults))
	}
}

// The latency before a fault is what it is held against. If that of another fault's
// seconds were in it, the second of two faults would seem to cost nothing.
func TestLatencyBeforeAFaultIsOfQuietSeconds(t *testing.T) {
	seconds := arrivals(100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100)
	for i := range seconds {
		seconds[i].Latency = new(measure.Histogram)
		ms := int64(1)
		if i == 3 || i == 4 || i == 9 {
			ms = 500
		}
		seconds[i].Latency.RecordN(ms*1e6, 100)
	}
	faults := []measure.Fault{{Started: 3, Healed: at(4)}, {Started: 9, Healed: at(10)}}
	measure.AssessFaults(faults, seconds, len(seconds))
	for i, f := range faults {
		if f.P99Before == nil || *f.P99Before > 1.01 || f.P99During == nil || *f.P99During < 499 {
			t.Errorf("fault %d: p99 %v ms before and %v during, want 1 and 500", i, text(f.P99Before), text(f.P99During))
		}
	}
}
