package measure

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"
)

// channel makes probes between the controller and an agent whose clock is off.
type channel struct {
	r *rand.Rand
	// offset(t) is testbed minus local at testbed time t, in nanoseconds.
	offset      func(t int64) int64
	there, back func(r *rand.Rand) int64 // one-way delays
}

const epoch = int64(1_700_000_000_000_000_000)

func (c channel) probe(at int64) ProbeSample {
	arrive := at + c.there(c.r)
	leave := arrive + 5_000
	return ProbeSample{T1: at, T2: arrive - c.offset(arrive), T3: leave - c.offset(leave), T4: leave + c.back(c.r)}
}

func (c channel) probes(n int, every int64) []ProbeSample {
	out := make([]ProbeSample, n)
	for i := range out {
		out[i] = c.probe(epoch + int64(i)*every)
	}
	return out
}

func quiet(*rand.Rand) int64 { return 100_000 }

// queueing is a base delay with exponential waiting on top.
func queueing(wait float64) func(*rand.Rand) int64 {
	return func(r *rand.Rand) int64 { return 100_000 + int64(r.ExpFloat64()*wait) }
}

func linear(offset int64, drift float64) func(int64) int64 {
	return func(t int64) int64 { return offset + int64(drift*float64(t-epoch)) }
}

// One-way latency is only as good as the clock model: the true offset must lie
// within the stated error for every kind of path, and the error must be about
// half the smallest round trip, else cells are called degraded for nothing.
func TestFitClockRecoversOffsetAndDrift(t *testing.T) {
	paths := []struct {
		name        string
		there, back func(*rand.Rand) int64
		within      int64 // the stated error over the span must be below this
	}{
		{"quiet both ways: half of 200 µs", quiet, quiet, 105_000},
		{"queueing there: the way back still bounds", queueing(400_000), quiet, 140_000},
		{"queueing back", quiet, queueing(400_000), 140_000},
		{"queueing both ways", queueing(400_000), queueing(400_000), 180_000},
		{"asymmetric by 1 ms: the error must say so", func(*rand.Rand) int64 { return 1_100_000 }, quiet, 620_000},
	}
	for _, path := range paths {
		for _, drift := range []float64{0, 50e-6, -50e-6} {
			for _, offset := range []int64{0, 100e6, -100e6} {
				t.Run(path.name, func(t *testing.T) {
					c := channel{rand.New(rand.NewPCG(9, 9)), linear(offset, drift), path.there, path.back}
					samples := c.probes(400, 250e6) // 100 s
					fit, err := FitClock(samples)
					if err != nil {
						t.Fatal(err)
					}
					if len(fit.Steps) != 0 || fit.Error > path.within {
						t.Errorf("%d steps, error %d ns", len(fit.Steps), fit.Error)
					}
					if math.Abs(fit.Drift-drift) > 4e-6 {
						t.Errorf("drift %g, want %g", fit.Drift, drift)
					}
					for at := epoch - 20e9; at < epoch+120e9; at += 1e9 {
						truth := c.offset(at)
						got, bound := fit.At(at - truth)
						if abs(got-truth) > bound+2 {
							t.Fatalf("after %d s: offset %d ± %d, truth %d", (at-epoch)/1e9, got, bound, truth)
						}
					}
				})
			}
		}
	}
}

// A short burst of probes before a cell cannot know the drift. It must not
// invent one, and the error must grow with the time since.
func TestFitClockOfABurst(t *testing.T) {
	c := channel{rand.New(rand.NewPCG(2, 2)), linear(3e6, 20e-6), queueing(20_000), queueing(20_000)}
	fit, err := FitClock(c.probes(10, 1e6))
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(fit.Drift) > 100e-6 {
		t.Errorf("ten probes in 10 ms gave a drift of %g", fit.Drift)
	}
	for _, after := range []int64{0, 1e9, 60e9} {
		truth := c.offset(epoch + after)
		got, bound := fit.At(epoch + after - truth)
		if abs(got-truth) > bound {
			t.Errorf("%d s later: %d ± %d, truth %d", after/1e9, got, bound, truth)
		}
	}
	_, near := fit.At(epoch - 3e6)
	_, far := fit.At(epoch + 60e9 - 3e6)
	if far < near+10e6 {
		t.Errorf("the error grows from %d to %d ns in a minute of unknown drift", near, far)
	}
}

// A clock that somebody sets during a cell must be found, and both parts of the
// cell still be corrected.
func TestFitClockFindsAStep(t *testing.T) {
	for _, by := range []int64{5e6, -5e6, 400e6, -400e6} {
		at := epoch + 40e9
		c := channel{rand.New(rand.NewPCG(3, 3)), func(t int64) int64 {
			o := linear(1e6, 10e-6)(t)
			if t >= at {
				o += by
			}
			return o
		}, queueing(50_000), queueing(50_000)}
		fit, err := FitClock(c.probes(400, 250e6))
		if err != nil {
			t.Fatal(err)
		}
		if len(fit.Steps) != 1 || abs(fit.Steps[0].By-by) > 400_000 {
			t.Fatalf("step of %d: found %+v", by, fit.Steps)
		}
		for s := int64(0); s < 100; s++ {
			truth := c.offset(epoch + s*1e9)
			got, bound := fit.At(epoch + s*1e9 - truth)
			if abs(got-truth) > bound+2 {
				t.Errorf("step of %d, second %d: %d ± %d, truth %d", by, s, got, bound, truth)
			}
		}
	}
}

// A clock that is being slewed bends without jumping: that is no step.
func TestFitClockOfAWanderingClock(t *testing.T) {
	c := channel{rand.New(rand.NewPCG(4, 4)), func(t int64) int64 {
		x := float64(t-epoch) / 1e9
		return int64(2e6 * math.Sin(x/20)) // up to 100 ppm
	}, queueing(20_000), queueing(20_000)}
	fit, err := FitClock(c.probes(400, 250e6))
	if err != nil {
		t.Fatal(err)
	}
	if len(fit.Steps) != 0 || len(fit.segments) < 2 {
		t.Errorf("%d steps in %d stretches", len(fit.Steps), len(fit.segments))
	}
	for s := int64(1); s < 99; s++ {
		truth := c.offset(epoch + s*1e9)
		got, bound := fit.At(epoch + s*1e9 - truth)
		if abs(got-truth) > bound {
			t.Errorf("second %d: %d ± %d, truth %d", s, got, bound, truth)
		}
	}
}

// Impossible timestamps must be left out and counted; nothing usable is an error.
func TestFitClockRejects(t *testing.T) {
	c := channel{rand.New(rand.NewPCG(5, 5)), linear(0, 0), quiet, quiet}
	bad := ProbeSample{T1: epoch, T2: epoch, T3: epoch + 100, T4: epoch + 50}
	fit, err := FitClock(append(c.probes(5, 1e9), bad))
	if err != nil || fit.Rejected != 1 || fit.Samples != 5 || fit.RoundTrip != 200_000 {
		t.Errorf("%+v, %v", fit, err)
	}
	if _, err := FitClock([]ProbeSample{bad}); err == nil {
		t.Error("no usable probe and no error")
	}
	if _, err := FitClock(nil); err == nil {
		t.Error("no probe and no error")
	}
}

// What the run directory keeps of a fit must still give the line.
func TestClockFitFromJSON(t *testing.T) {
	c := channel{rand.New(rand.NewPCG(6, 6)), linear(7e6, 30e-6), quiet, quiet}
	fit, err := FitClock(c.probes(50, 1e9))
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(fit)
	if err != nil {
		t.Fatal(err)
	}
	var back ClockFit
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{epoch, epoch + 25e9} {
		want, _ := fit.At(at)
		got, bound := back.At(at)
		if abs(got-want) > 1 || bound != fit.Error {
			t.Errorf("%d ± %d, want %d", got, bound, want)
		}
	}
}

// Timestamps come from another machine: no values may crash the fit or keep it
// from ending.
func FuzzFitClock(f *testing.F) {
	f.Add(epoch, epoch+100, epoch+200, epoch+300, int64(1e9), int64(5))
	f.Add(int64(0), int64(1)<<62, int64(1)<<62, int64(1), int64(-1), int64(-1))
	f.Fuzz(func(t *testing.T, t1, t2, t3, t4, every, jump int64) {
		var samples []ProbeSample
		for i := range int64(8) {
			samples = append(samples, ProbeSample{t1 + i*every, t2 + i*every + i*i*jump, t3 + i*every + i*i*jump, t4 + i*every})
		}
		fit, err := FitClock(samples)
		if err != nil {
			return
		}
		if fit.Samples+fit.Rejected != len(samples) || fit.Error < 0 || math.IsNaN(fit.Drift) {
			t.Fatalf("%+v", fit)
		}
		fit.At(t2)
	})
}

func BenchmarkFitClock(b *testing.B) {
	steady := channel{rand.New(rand.NewPCG(9, 9)), linear(1e6, 5e-6), queueing(400_000), queueing(400_000)}
	wandering := channel{rand.New(rand.NewPCG(9, 9)), func(t int64) int64 {
		return int64(5e6 * math.Sin(float64(t-epoch)/200e9))
	}, queueing(20_000), queueing(20_000)}
	for name, c := range map[string]channel{"steady": steady, "wandering": wandering} {
		samples := c.probes(4096, 1e9)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				if _, err := FitClock(samples); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
