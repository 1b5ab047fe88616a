package measure

import (
	"math"
	"math/rand/v2"
	"testing"
)

// The interval is what a reader decides by: it must be the one that can be worked
// out by hand, and be missing where nothing can be said.
func TestRatioOf(t *testing.T) {
	for _, tt := range []struct {
		name                  string
		base, other           []float64
		low, high, confidence float64 // 0: none
	}{
		{"4 and 4: U = 0 alone is rare enough (2 of 70), so that nothing is cut off", []float64{10, 11, 12, 13}, []float64{20, 22, 24, 26}, 20.0 / 13, 2.6, 1 - 2.0/70},
		{"6 and 6: U up to 5 (2·19 of 924) is cut off", []float64{1, 1, 1, 1, 1, 1}, []float64{1, 2, 3, 4, 5, 6}, 1, 6, 1 - 2*19.0/924},
		{"a sixth of each side of 36: 5 cut off leave the 6th", []float64{1, 10, 100, 1000, 1e4, 1e5}, []float64{1, 10, 100, 1000, 1e4, 1e5}, 1e-3, 1e3, 1 - 2*19.0/924},
		{"3 and 3: 2 of 20 at best", []float64{1, 2, 3}, []float64{7, 8, 9}, 0, 0, 0},
		{"no ratio of zero", []float64{0, 1, 2, 3}, []float64{7, 8, 9, 10}, 0, 0, 0},
		{"nor to less", []float64{1, 2, 3, 4}, []float64{-7, 8, 9, 10}, 0, 0, 0},
		{"one that overflows is no number", []float64{1e-300, 2, 3, 4}, []float64{1e300, 8, 9, 10}, 0, 0, 0},
		{"nothing", nil, []float64{1}, 0, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := RatioOf(tt.base, tt.other, Alpha)
			if tt.low == 0 {
				if r != nil {
					t.Errorf("%+v, want none", *r)
				}
				return
			}
			if r == nil || math.Abs(r.Low/tt.low-1) > 1e-9 || math.Abs(r.High/tt.high-1) > 1e-9 || math.Abs(r.Confidence-tt.confidence) > 1e-9 {
				t.Errorf("%+v, want %g to %g at %g", r, tt.low, tt.high, tt.confidence)
			}
		})
	}
}

// A bar that crosses the line of no difference beside a finding that there is one,
// or the other way round, would contradict itself; and 95 % must be 95 %.
func TestRatioAgreesWithTheTest(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	m := metric(t, "latency_p50_ms")
	const rounds, truth = 2000, 1.2
	held := 0
	for range rounds {
		a, b := 4+random.IntN(9), 4+random.IntN(9)
		base, other := make([]float64, a), make([]float64, b)
		for i := range base {
			base[i] = math.Exp(0.3 * random.NormFloat64())
		}
		for i := range other {
			other[i] = truth * math.Exp(0.3*random.NormFloat64())
		}
		r, d := RatioOf(base, other, Alpha), Compare(base, other, m, Alpha)
		if apart := r.Low > 1 || r.High < 1; apart != (*d.P < Alpha) {
			t.Fatalf("%v beside %v: %+v, p %g", base, other, *r, *d.P)
		}
		if r.Low <= truth && truth <= r.High {
			held++
		}
	}
	if share := float64(held) / rounds; share < 0.94 {
		t.Errorf("the planted ratio lies in %.1f %% of the intervals, want 95 %% at least", 100*share)
	}
	many := make([]float64, 60)
	for i := range many {
		many[i] = 1 + random.Float64()
	}
	if r := RatioOf(many, many, Alpha); r == nil || r.Low >= 1 || r.High <= 1 || r.Low < 0.8 {
		t.Errorf("60 and 60 alike: %+v", r)
	}
}
