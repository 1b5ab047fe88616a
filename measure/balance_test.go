package measure

import (
	"math"
	"testing"
)

// If this failed, an uneven load would pass for an even one, or the other way round.
func TestSpread(t *testing.T) {
	for _, tt := range []struct {
		name       string
		loads      []float64
		over, cv   float64
		firstShare float64
	}{
		{"one alone", []float64{7}, 1, 0, 1},
		{"even", []float64{50, 50, 50, 50}, 1, 0, 0.25},
		// Mean 2, deviations 1 and -1: standard deviation 1, over the mean 0.5.
		{"three to one", []float64{3, 1}, 1.5, 0.5, 0.75},
		// Mean 100, deviations 200 and twice -100: √(60000/3) = 141.4.
		{"one carries all", []float64{300, 0, 0}, 3, math.Sqrt2, 1},
		{"the unit does not matter", []float64{3e9, 1e9}, 1.5, 0.5, 0.75},
	} {
		b, ok := Spread(tt.loads)
		if !ok || math.Abs(b.MaxOverMean-tt.over) > 1e-12 || math.Abs(b.CV-tt.cv) > 1e-12 || math.Abs(b.Shares[0]-tt.firstShare) > 1e-12 {
			t.Errorf("%s: %+v, %v; want max over mean %v, cv %v, first share %v", tt.name, b, ok, tt.over, tt.cv, tt.firstShare)
		}
	}
	for _, loads := range [][]float64{nil, {0, 0}, {1, -1}, {math.NaN()}, {math.Inf(1)}, {math.MaxFloat64, math.MaxFloat64}} {
		if b, ok := Spread(loads); ok {
			t.Errorf("%v is spread as %+v", loads, b)
		}
	}
}

// If this failed, instances of one component would be weighed against another's.
func TestSetBalance(t *testing.T) {
	f := func(v float64) *float64 { return &v }
	rows := []Component{
		{Component: "broker", MessagesIn: f(40)},
		{Component: "gateway", MessagesIn: f(30)}, {Component: "gateway", MessagesIn: f(10)},
		{Component: "process"},
		{Component: "hub", MessagesIn: f(1)}, {Component: "hub"},
	}
	SetBalance(rows)
	if *rows[0].Share != 1 || *rows[1].Share != 0.75 || *rows[2].Share != 0.25 || *rows[2].MaxOverMean != 1.5 || *rows[1].ShareCV != 0.5 {
		t.Errorf("%+v", rows)
	}
	for _, r := range rows[3:] {
		if r.Share != nil || r.MaxOverMean != nil || r.ShareCV != nil {
			t.Errorf("%s was not counted in full, and has a balance", r.Component)
		}
	}
}
