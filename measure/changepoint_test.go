package measure

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// steps is noise of spread 1 with levels that begin at places.
func steps(r *rand.Rand, n int, levels map[int]float64) []float64 {
	series, level := make([]float64, n), 0.0
	for i := range series {
		if to, ok := levels[i]; ok {
			level = to
		}
		series[i] = 100 + level + r.NormFloat64()
	}
	return series
}

// A step of four sigma is what a user sees with the eye: it must be found, alone,
// and beside the run that brought it.
func TestPlantedStep(t *testing.T) {
	t.Parallel()
	const tries = 100
	r := rand.New(rand.NewPCG(1, 1))
	found := 0
	for range tries {
		at := 5 + r.IntN(21)
		c := FindChanges(steps(r, 30, map[int]float64{at: 4}))
		if slices.ContainsFunc(c.Found, func(k Change) bool {
			return k.At >= at-1 && k.At <= at+1 && math.Abs(k.To-k.From-4) < 2.5
		}) {
			found++
		}
	}
	t.Logf("%d of %d planted steps found", found, tries)
	if found < tries*95/100 {
		t.Errorf("%d of %d planted steps found, want 95 %%", found, tries)
	}
}

// Where nothing changed, hardly ever may anything be said to: whatever the noise is
// like.
func TestNoise(t *testing.T) {
	t.Parallel()
	const tries = 300
	for name, noise := range map[string]func(*rand.Rand) float64{
		"normal":      func(r *rand.Rand) float64 { return r.NormFloat64() },
		"heavy tails": func(r *rand.Rand) float64 { return math.Exp(2 * r.NormFloat64()) },
		"mostly zero": func(r *rand.Rand) float64 { return float64(max(0, r.IntN(6)-4)) },
	} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(2, 2))
			alarms := 0
			for range tries {
				series := make([]float64, 10+r.IntN(31))
				for i := range series {
					series[i] = noise(r)
				}
				if len(FindChanges(series).Found) > 0 {
					alarms++
				}
			}
			t.Logf("%d false alarms in %d series", alarms, tries)
			if alarms > tries*5/100 {
				t.Errorf("%d false alarms in %d series, want 5 %% at most", alarms, tries)
			}
		})
	}
}

// Up and down again are two changes, each with its size.
func TestTwoSteps(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 3))
	found := 0
	const tries = 30
	for range tries {
		c := FindChanges(steps(r, 45, map[int]float64{15: 6, 30: -6}))
		near := func(i, at int, size float64) bool {
			k := c.Found[i]
			return k.At >= at-1 && k.At <= at+1 && math.Abs(k.To-k.From-size) < 2
		}
		if len(c.Found) == 2 && near(0, 15, 6) && near(1, 30, -12) {
			found++
		}
	}
	if found < tries*90/100 {
		t.Errorf("both steps and no other found in %d of %d series", found, tries)
	}
}

// A step that cannot be clearer must not be missed by the luck of the shuffles, at
// any length and with each level as short as half of it.
func TestClearStep(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(6, 6))
	for n := LeastRuns() + 1; n <= 40; n++ {
		for _, at := range []int{n / 2, (n + 1) / 2} {
			series := steps(r, n, map[int]float64{at: 1000})
			if c := FindChanges(series); !slices.ContainsFunc(c.Found, func(k Change) bool { return k.At == at }) {
				t.Errorf("%d runs, a step at %d: %+v", n, at, c.Found)
			}
		}
	}
}

func TestFindChanges(t *testing.T) {
	t.Parallel()
	repeat := func(values ...float64) (series []float64) {
		for i := 0; i+1 < len(values); i += 2 {
			series = append(series, slices.Repeat([]float64{values[i]}, int(values[i+1]))...)
		}
		return series
	}
	for _, tt := range []struct {
		name   string
		series []float64
		tooFew bool
		at     []int
		// change is the first one's, in percent; NaN where there is none to give
		change float64
	}{
		{"nothing", nil, true, nil, 0},
		{"five runs", repeat(1, 2, 100, 3), true, nil, 0},
		{"nine runs cannot reach the level", repeat(1, 4, 100, 5), true, nil, 0},
		{"constant", repeat(7, 40), false, nil, 0},
		{"no more than rounding", repeat(0.1+0.2, 20, 0.3, 20), false, nil, 0},
		{"ties on both sides", repeat(10, 8, 15, 8), false, []int{8}, 50},
		{"down from below zero", repeat(-2, 8, -3, 8), false, []int{8}, -50},
		{"drops begin", repeat(0, 9, 3, 9), false, []int{9}, math.NaN()},
		{"large numbers", repeat(1.7e308, 8, -1.7e308, 8), false, []int{8}, -200},
		{"a small step on a large number", repeat(1e9, 8, 1e9+100, 8), false, []int{8}, 1e-5},
		{"one run out of line is no level", repeat(1, 15, 9, 1, 1, 15), false, nil, 0},
		{"not a number", append(repeat(1, 8, 2, 8), math.NaN()), false, nil, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := slices.Clone(tt.series)
			c := FindChanges(tt.series)
			var at []int
			for _, k := range c.Found {
				at = append(at, k.At)
			}
			if c.TooFew != tt.tooFew || !slices.Equal(at, tt.at) {
				t.Fatalf("too few %t, changes at %v; want %t, %v", c.TooFew, at, tt.tooFew, tt.at)
			}
			if len(at) > 0 {
				k := c.Found[0]
				switch {
				case math.IsNaN(tt.change) != (k.Relative == nil):
					t.Errorf("relative %v", k.Relative)
				case k.Relative != nil && math.Abs(*k.Relative*100-tt.change) > 1e-6*math.Abs(tt.change):
					t.Errorf("changed by %g %%, want %g", *k.Relative*100, tt.change)
				}
				if k.P <= 0 || k.P > ChangeAlpha {
					t.Errorf("p = %g", k.P)
				}
			}
			for range 3 {
				if again := FindChanges(tt.series); !slices.EqualFunc(c.Found, again.Found, func(a, b Change) bool { return a.At == b.At && a.P == b.P }) {
					t.Error("another answer for the same series")
				}
			}
			if !slices.EqualFunc(before, tt.series, func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }) {
				t.Error("the series was changed")
			}
		})
	}
}

// The statistic is found with sums kept over ranks; it must be what its formula says.
func TestEnergyStatistic(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(4, 4))
	for range 50 {
		n := 10 + r.IntN(20)
		series := make([]float64, n)
		order := make([]int, n)
		for i := range series {
			series[i], order[i] = math.Round(10*r.NormFloat64()), i // with ties
		}
		e := newEnergy(series)
		got, at := e.best(order)
		mean := func(a, b []float64, pairs float64) float64 {
			var sum float64
			for _, x := range a {
				for _, y := range b {
					sum += math.Abs(x - y)
				}
			}
			return sum / pairs
		}
		most := math.Inf(-1)
		var there float64
		for m := leastStretch; m <= n-leastStretch; m++ {
			x, y := e.values[:m], e.values[m:]
			fx, fy := float64(len(x)), float64(len(y))
			q := fx * fy / (fx + fy) * (2*mean(x, y, fx*fy) - mean(x, x, fx*(fx-1)) - mean(y, y, fy*(fy-1)))
			most = max(most, q)
			if m == at {
				there = q
			}
		}
		if math.Abs(got-most) > 1e-9 || math.Abs(there-most) > 1e-9 {
			t.Fatalf("%g at %d, by the formula %g there and %g at most", got, at, there, most)
		}
	}
}

func BenchmarkFindChanges1000Runs(b *testing.B) {
	series := steps(rand.New(rand.NewPCG(5, 5)), 1000, map[int]float64{500: 2})
	for b.Loop() {
		FindChanges(series)
	}
}
