package measure

import (
	"math/rand/v2"
	"testing"
)

// A node with customers may be the one whose clock is set. Its peers' probes are
// then in an order that no clock tells, and the step must be found all the same,
// with both parts of the cell inside the stated error.
func TestFitClockPairFindsAStepOfTheAskingClock(t *testing.T) {
	for _, by := range []int64{5e6, -5e6, 3e9, -3e9} {
		r := rand.New(rand.NewPCG(11, 11))
		asking := func(truth int64) int64 { // the clock that jumps
			if truth >= epoch+40e9 {
				return truth + by
			}
			return truth
		}
		way := queueing(50_000)
		var samples []ProbeSample
		for i := range int64(100) {
			sent := epoch + i*1e9
			received := sent + way(r)
			left := received + 5_000
			samples = append(samples, ProbeSample{asking(sent), received, left, asking(left + way(r))})
		}
		fit, err := FitClockPair(samples)
		if err != nil {
			t.Fatal(err)
		}
		if len(fit.Steps) != 1 || abs(fit.Steps[0].By-by) > 400_000 {
			t.Fatalf("step of %d: found %+v", by, fit.Steps)
		}
		for i := range int64(198) {
			truth := epoch + i*5e8
			got, bound := fit.At(truth)
			if want := asking(truth) - truth; abs(got-want) > bound+2 {
				t.Errorf("step of %d, %d ms: %d ± %d, truth %d", by, i*500, got, bound, want)
			}
		}
	}
}

// Of two ways in which two clocks are known, the better one must be taken, and
// the worse one where there is no other; the latency comes out right each time.
func TestCorrectionTakesTheBetterWay(t *testing.T) {
	const seconds = 60
	device := channel{rand.New(rand.NewPCG(1, 12)), linear(-100e6, 50e-6), nil, nil} // testbed minus local
	customer := channel{rand.New(rand.NewPCG(2, 12)), linear(100e6, -50e-6), nil, nil}
	far := func(c channel) []ProbeSample { // 30 ms there and 6 ms back
		c.there, c.back = func(*rand.Rand) int64 { return 30e6 }, func(*rand.Rand) int64 { return 6e6 }
		return c.probes(seconds, 1e9)
	}
	local := func(c channel, truth int64) int64 { return truth - c.offset(truth) }
	pair := func(way int64) []ProbeSample {
		var out []ProbeSample
		for i := range int64(seconds) {
			at := epoch + i*1e9
			out = append(out, ProbeSample{local(customer, at), local(device, at+way), local(device, at+way+5000), local(customer, at+2*way+5000)})
		}
		return out
	}
	nodes := []NodeClock{{Node: "iot", Probes: far(device)}, {Node: "customer", Probes: far(customer)}}
	for i := range nodes {
		fit, err := FitClock(nodes[i].Probes)
		if err != nil {
			t.Fatal(err)
		}
		nodes[i].Fit, nodes[i].Applied = fit, TimeAxis{fit.Epoch, fit.Offset, 0}
	}
	books := func() LatencyBooks { // each message takes 1 ms
		b := LatencyBooks{Start: epoch, From: epoch, To: epoch + seconds*1e9, Sources: []string{"iot"}, ServiceSeconds: 10}
		var slices []LatencySlice
		for s := range int32(seconds) {
			h := new(Histogram)
			for i := range int64(10) {
				sent := epoch + int64(s)*1e9 + i*1e8
				h.Record(nodes[1].Applied.Testbed(local(customer, sent+1e6)) - nodes[0].Applied.Testbed(local(device, sent)))
			}
			slices = append(slices, LatencySlice{Second: s, Latency: h})
		}
		b.Nodes = []NodeLatencies{{Node: "customer", Latency: slices}}
		return b
	}()
	for _, test := range []struct {
		why   string
		pairs []PairClock
		least int64 // the stated error
		most  int64
	}{
		{"no pair: half of both round trips, 18 ms each", nil, 35e6, 40e6},
		{"a pair of 2×50 µs, and what 100 ppm make in half a second", []PairClock{{Device: "iot", Customer: "customer", Probes: pair(50_000)}}, 50_000, 200_000},
		{"a pair that is farther than the controller", []PairClock{{Device: "iot", Customer: "customer", Probes: pair(200e6)}}, 35e6, 40e6},
		{"a pair that never answered", []PairClock{{Device: "iot", Customer: "customer"}}, 35e6, 40e6},
		{"a pair of others", []PairClock{{Device: "customer", Customer: "iot", Probes: pair(50_000)}}, 35e6, 40e6},
	} {
		got := RecomputeLatencies(nodes, test.pairs, books)
		if got.Error < test.least || got.Error > test.most {
			t.Errorf("%s: the error is %d ns, want %d to %d", test.why, got.Error, test.least, test.most)
		}
		low, _ := got.Latency.Min()
		high, _ := got.Latency.Max()
		// A bucket of the histogram is 0.8 % of its value wide: here of 1 ms plus
		// what the clocks were off when it was recorded.
		const bucket = 400_000
		if low < 1e6-got.Error-bucket || high > 1e6+got.Error+bucket || got.Latency.Count() != 10*seconds {
			t.Errorf("%s: %d latencies from %d to %d ns, want 1 ms ± %d", test.why, got.Latency.Count(), low, high, got.Error)
		}
	}
}
