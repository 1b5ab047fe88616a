package measure

import (
	"math"
	"slices"
	"testing"
)

// CPU and memory in components.csv are these: a wrong p95 is a wrong limit.
func TestSummarize(t *testing.T) {
	twenty := make([]float64, 20)
	for i := range twenty {
		twenty[i] = float64(20 - i)
	}
	tests := []struct {
		name           string
		in             []float64
		mean, p95, top float64
	}{
		{"one sample is all of them", []float64{3}, 3, 3, 3},
		{"rank ⌈0.95·20⌉ = 19", twenty, 10.5, 19, 20},
		{"rank ⌈0.95·3⌉ = 3", []float64{1, 9, 2}, 4, 9, 9},
		{"what is not a number is left out", []float64{math.NaN(), 2, math.Inf(1)}, 2, 2, 2},
	}
	for _, tt := range tests {
		s := Summarize(tt.in)
		if s.Mean == nil || *s.Mean != tt.mean || *s.P95 != tt.p95 || *s.Max != tt.top {
			t.Errorf("%s: %+v", tt.name, s)
		}
	}
	if s := Summarize([]float64{math.NaN()}); s.Mean != nil || s.P95 != nil || s.Max != nil || s.Count != 0 {
		t.Errorf("nothing summarized as %+v", s)
	}
}

// Throughput and CPU come from cumulative counters whose readings do not fall
// on the window's edges, and which begin again when a process restarts.
func TestRate(t *testing.T) {
	s := int64(1e9)
	tests := []struct {
		name     string
		readings []Reading
		from, to int64
		want     float64
		ok       bool
	}{
		{"edges on readings: 20 in 2 s", []Reading{{0, 0}, {s, 10}, {2 * s, 20}}, 0, 2 * s, 10, true},
		{"edges between: 5 of 10, 10, 15 of 30 in 2 s", []Reading{{0, 0}, {s, 10}, {2 * s, 20}, {3 * s, 50}}, s / 2, 5 * s / 2, 15, true},
		{"restart: 10, then 4 from zero, then 6", []Reading{{0, 100}, {s, 110}, {2 * s, 4}, {3 * s, 10}}, 0, 3 * s, 20.0 / 3, true},
		{"two readings at one time add nothing", []Reading{{0, 0}, {s, 10}, {s, 10}, {2 * s, 20}}, 0, 2 * s, 10, true},
		{"the window begins before the readings", []Reading{{s, 0}, {2 * s, 10}}, 0, 2 * s, 0, false},
		{"the window ends after the readings", []Reading{{0, 0}, {s, 10}}, 0, 2 * s, 0, false},
		{"one reading is no rate", []Reading{{0, 5}}, 0, 1, 0, false},
		{"an empty window", []Reading{{0, 0}, {s, 10}}, 5, 5, 0, false},
	}
	for _, tt := range tests {
		got, ok := Rate(tt.readings, tt.from, tt.to)
		if ok != tt.ok || math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("%s: %g %v, want %g %v", tt.name, got, ok, tt.want, tt.ok)
		}
	}
	rates := Rates([]Reading{{0, 0}, {s, 10}, {2 * s, 3}, {4 * s, 23}, {5 * s, 99}}, s, 4*s)
	if !slices.Equal(rates, []float64{3, 10}) {
		t.Errorf("rates %v: want the restart's 3 and 20 in 2 s", rates)
	}
}
