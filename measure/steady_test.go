package measure

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// medians makes a series: what at gives for each second, the first warmup of
// them in the warm-up, and a drain that must not matter.
func medians(warmup, seconds int, at func(int) *float64) []Second {
	var all []Second
	for t := range seconds {
		phase := "measure"
		if t < warmup {
			phase = "warmup"
		}
		all = append(all, Second{T: t, Phase: phase, P50: at(t)})
	}
	for t := range 5 {
		all = append(all, Second{T: seconds + t, Phase: "drain", P50: number(1e6)})
	}
	return all
}

// noisy is 5 ms with 6 % of noise, independent from second to second.
func noisy(seed uint64) func() float64 {
	random := rand.New(rand.NewPCG(seed, 0))
	return func() float64 { return 5 + 0.3*random.NormFloat64() }
}

// A percentile over a window that still holds the transient describes the
// length of the window. Each row plants what MSER-5 must find, or must not.
func TestWarmUp(t *testing.T) {
	plain := noisy(1)
	step := func(end int, high float64) func(int) *float64 {
		return func(t int) *float64 {
			if t < end {
				return number(high + plain())
			}
			return number(plain())
		}
	}
	silent := func(t int) *float64 { // 10 ms more for 40 s, and no noise
		if t < 40 {
			return number(15)
		}
		return number(5)
	}
	tests := []struct {
		name            string
		warmup, seconds int
		at              func(int) *float64
		short           bool
		least, most     int // bounds of the transient's length, in seconds
		noEnd           bool
	}{
		{"10 ms more for 40 s, measured from 10 s", 10, 120, step(40, 10), true, 40, 60, false},
		{"the same with warm-up enough", 60, 180, step(40, 10), false, 40, 90, false},
		{"a warm-up of a second too few is within a batch", 39, 120, step(40, 10), false, 40, 60, false},
		{"decays with 10 s: 10 ms, 3.7 ms after the warm-up", 10, 300, func(t int) *float64 {
			return number(plain() + 10*math.Exp(-float64(t)/10))
		}, true, 20, 150, false},
		{"begins fast, then slows: a cache that fills", 10, 120, func(t int) *float64 {
			if t < 30 {
				return number(1 + plain()/50)
			}
			return number(plain())
		}, true, 30, 60, false},
		{"a trend has no end", 10, 120, func(t int) *float64 { return number(float64(t)) }, true, 60, 60, true},
		{"all equal", 10, 120, func(int) *float64 { return number(0.1) }, false, 0, 0, false},
		{"a step of less than a tenth does not matter", 10, 120, func(t int) *float64 {
			if t < 40 {
				return number(1.05)
			}
			return number(1)
		}, false, 40, 40, false},
		{"one second of 300 ms in the window is no transient", 10, 120, func(t int) *float64 {
			if t == 47 {
				return number(300)
			}
			return number(5)
		}, false, 50, 50, false},
		{"every third second missing, and ten in a row", 10, 120, func(t int) *float64 {
			if t%3 == 0 || t >= 60 && t < 70 {
				return nil
			}
			return silent(t)
		}, true, 40, 40, false},
		{"not a number", 10, 120, func(t int) *float64 {
			if t%7 == 0 {
				return number(math.NaN())
			}
			return silent(t)
		}, true, 40, 40, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := CheckWarmUp(medians(tt.warmup, tt.seconds, tt.at))
			if w == nil {
				t.Fatal("not applied")
			}
			if w.Given != tt.warmup || w.Needed < tt.least || w.Needed > tt.most || w.NoEnd != tt.noEnd {
				t.Errorf("%+v, want a transient of %d to %d s", *w, tt.least, tt.most)
			}
			e := sound()
			e.WarmUp = w
			_, reasons := Judge(e)
			if short := len(reasons) == 1 && reasons[0].Code == "warmup_too_short"; short != tt.short {
				t.Errorf("%+v: reasons %+v, want too short: %v", *w, reasons, tt.short)
			}
		})
	}
}

// Where the series cannot carry the answer, none must be given.
func TestWarmUpIsNotApplied(t *testing.T) {
	high := func(until int) func(int) *float64 {
		return func(t int) *float64 {
			if t < until {
				return number(100)
			}
			return number(1)
		}
	}
	for name, series := range map[string][]Second{
		"29 s of load": medians(0, 29, high(10)),
		"40 s of load, 25 of them with a latency": medians(0, 40, func(t int) *float64 {
			if t >= 25 {
				return nil
			}
			return high(10)(t)
		}),
		"nothing arrived in the first 5 s measured": medians(10, 120, func(t int) *float64 {
			if t >= 10 && t < 15 {
				return nil
			}
			return high(40)(t)
		}),
		"no series": nil,
	} {
		if w := CheckWarmUp(series); w != nil {
			t.Errorf("%s: %+v", name, *w)
		}
	}
	if w := CheckWarmUp(medians(0, 30, high(10))); w == nil || w.Needed != 10 {
		t.Errorf("30 s of load are enough, and 10 s were planted: %+v", w)
	}
}

// A verdict that noise alone can change is worth little: of 1000 cells without
// any transient at most 3 % may be called short of warm-up.
func TestWarmUpOfNoise(t *testing.T) {
	for _, length := range []int{30, 60, 310} {
		wrong, found := 0, 0
		for seed := range uint64(1000) {
			next := noisy(seed)
			w := CheckWarmUp(medians(10, length, func(int) *float64 { return number(next()) }))
			if w == nil {
				t.Fatal("not applied")
			}
			if w.Needed > w.Given {
				found++
			}
			e := sound()
			e.WarmUp = w
			if verdict, _ := Judge(e); verdict != Valid {
				wrong++
			}
		}
		if wrong > 30 {
			t.Errorf("%d s: %d of 1000 cells of pure noise are degraded", length, wrong)
		}
		t.Logf("%d s: MSER-5 alone ends a transient after the warm-up in %d of 1000, the rule applies in %d", length, found, wrong)
	}
}

// wandering is 5 ms with noise of this standard deviation whose neighbouring
// seconds are correlated by rho: a first-order autoregression.
func wandering(seed uint64, deviation, rho float64) func() float64 {
	random := rand.New(rand.NewPCG(seed, 1))
	x := random.NormFloat64()
	return func() float64 {
		x = rho*x + math.Sqrt(1-rho*rho)*random.NormFloat64()
		return 5 + deviation*x
	}
}

func tooShort(series []Second) bool {
	e := sound()
	e.WarmUp = CheckWarmUp(series)
	_, reasons := Judge(e)
	return len(reasons) > 0
}

// Latency remembers: a queue that is long now is long a second later. Where that
// makes slow waves, a cell without any transient must not be called short of
// warm-up, in more than one cell of twenty, whatever the length, and however
// large the noise.
func TestWarmUpOfSlowNoise(t *testing.T) {
	for _, rho := range []float64{0, 0.5, 0.8, 0.9} {
		for _, length := range []int{30, 60, 120, 310} {
			for _, deviation := range []float64{0.3, 1} {
				wrong := 0
				for seed := range uint64(1000) {
					next := wandering(seed, deviation, rho)
					if tooShort(medians(10, length, func(int) *float64 { return number(next()) })) {
						wrong++
					}
				}
				t.Logf("ρ %.1f, %3d s, ±%.1f ms: %d of 1000", rho, length, deviation, wrong)
				if wrong > 50 {
					t.Errorf("ρ %.1f, %d s, ±%.1f ms: %d of 1000 steady cells are degraded", rho, length, deviation, wrong)
				}
			}
		}
	}
}

// And what really is a transient must be found, in the same noise: here one that
// still is 8 and more of the noise's standard deviations when measuring begins.
func TestWarmUpFindsTransientsInSlowNoise(t *testing.T) {
	for _, rho := range []float64{0, 0.5, 0.9} {
		for _, planted := range []struct {
			length       int
			size, decays float64 // ms at the start of load, s
		}{
			{60, 30, 6}, {120, 10, 10}, {120, 30, 6}, {310, 10, 10}, {310, 10, 30}, {310, -4, 20}, {600, 8, 40},
		} {
			found := 0
			for seed := range uint64(1000) {
				next := wandering(seed, 0.3, rho)
				if tooShort(medians(10, planted.length, func(t int) *float64 {
					return number(next() + planted.size*math.Exp(-float64(t)/planted.decays))
				})) {
					found++
				}
			}
			t.Logf("ρ %.1f, %3d s: %g ms, decaying with %g s: found in %d of 1000", rho, planted.length, planted.size, planted.decays, found)
			if found < 950 {
				t.Errorf("ρ %.1f, %d s: %g ms that decay with %g s are found in %d of 1000 cells", rho, planted.length, planted.size, planted.decays, found)
			}
		}
	}
}

// The reason must name both values, for they say what to write into the file.
func TestWarmUpTooShortNamesBoth(t *testing.T) {
	for _, tt := range []struct {
		w    WarmUp
		want string
	}{
		{WarmUp{Given: 10, Needed: 40, First: 15, Steady: 5, Spread: 0.5}, "the warm-up is 10 s and the transient 40 s (MSER-5): the median latency is 15 ms in the first 5 s measured and 5 ms after the transient"},
		{WarmUp{Given: 10, Needed: 60, NoEnd: true, First: 15, Steady: 5, Spread: 0.5}, "the warm-up is 10 s and the transient more than 60 s (MSER-5): the median latency is 15 ms in the first 5 s measured and 5 ms later"},
	} {
		e := sound()
		e.WarmUp = &tt.w
		_, reasons := Judge(e)
		if len(reasons) != 1 || !strings.HasPrefix(reasons[0].Text, tt.want) {
			t.Errorf("reasons %+v, want %q", reasons, tt.want)
		}
	}
}
