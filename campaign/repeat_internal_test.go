package campaign

import (
	"fmt"
	"math"
	"testing"

	"bela/experiment"
	"bela/measure"
)

// samples are the repetitions of one cell with these latencies; below 0 is a
// repetition without one.
func samples(number int, verdict measure.Verdict, p99 ...float64) []measure.Cell {
	var all []measure.Cell
	for i, v := range p99 {
		c := measure.Cell{Number: number, Repetition: i + 1, Verdict: verdict}
		if v >= 0 {
			c.Latency.P99 = &v
		}
		all = append(all, c)
	}
	return all
}

// A run that stops too early gives numbers that the next run contradicts; one
// that never stops costs a night. Each row is what the repetitions so far say.
func TestWidest(t *testing.T) {
	join := func(parts ...[]measure.Cell) (all []measure.Cell) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	for _, tt := range []struct {
		name  string
		cells []measure.Cell
		reach float64
		wide  string
	}{
		{"six from 96 to 104 around 100: ±4 %", samples(1, measure.Valid, 96, 98, 100, 100, 102, 104), 0.04, "[]"},
		{"the farther side counts: 90 is 10 % below 100", samples(1, measure.Valid, 90, 99, 100, 100, 101, 101), 0.10, "[1]"},
		{"five have no interval", samples(1, measure.Valid, 100, 100, 100, 100, 100), math.Inf(1), "[1]"},
		{"degraded numbers hold with their reservation", samples(1, measure.Degraded, 100, 100, 100, 100, 100, 100), 0, "[]"},
		{"invalid ones do not count", samples(1, measure.Invalid, 100, 100, 100, 100, 100, 100), math.Inf(1), "[1]"},
		{"nor does a repetition without the number", samples(1, measure.Valid, 100, 100, 100, 100, 100, -1), math.Inf(1), "[1]"},
		{"alike around zero", samples(1, measure.Valid, 0, 0, 0, 0, 0, 0), 0, "[]"},
		{"a median of zero with a spread has no share", samples(1, measure.Valid, 0, 0, 0, 0, 0, 1), math.Inf(1), "[1]"},
		{"every cell must be known, not the average of them", join(samples(1, measure.Valid, 1, 1, 1, 1, 1, 1),
			samples(2, measure.Valid, 10, 10, 10, 10, 10, 12), samples(3, measure.Valid, 1, 1, 1, 1, 1, 1.5)), 0.5, "[2 3]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reach, wide := widest(&experiment.Repeat{Until: "latency_p99_ms", Within: 0.05, AtLeast: 6, AtMost: 10}, tt.cells)
			if fmt.Sprint(wide) != tt.wide || reach != tt.reach && math.Abs(reach-tt.reach) > 1e-9 {
				t.Errorf("±%g, wide: %v; want ±%g, %s", reach, wide, tt.reach, tt.wide)
			}
		})
	}
}

// Before at_least repetitions nothing is asked; without a repeat block never.
func TestEnoughAsksInTime(t *testing.T) {
	alike := samples(1, measure.Valid, 1, 1, 1, 1, 1, 1, 1)
	plan := &experiment.Plan{}
	r := &runner{Config: Config{Plan: plan}, results: alike}
	if enough, err := r.enough(7, 7); enough || err != nil {
		t.Errorf("a fixed number of repetitions was cut short: %v %v", enough, err)
	}
	plan.Repeat = &experiment.Repeat{Until: "latency_p99_ms", Within: 0.05, AtLeast: 8, AtMost: 10}
	if enough, err := r.enough(7, 7); enough || err != nil {
		t.Errorf("the run ended before at_least: %v %v", enough, err)
	}
}

// The operator must be told which cells are not known well enough.
func TestNumbered(t *testing.T) {
	for want, cells := range map[string][]int{
		"cell 3":           {3},
		"cells 1 and 4":    {1, 4},
		"cells 1, 2 and 9": {1, 2, 9},
		"cells 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 more": {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12},
	} {
		if got := numbered(cells); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
