package measure

import (
	"math"
	"slices"
	"testing"
)

// A user reads the interval as where the median lies: it must be two of the
// samples, hold the confidence it states, and not be there with too few.
func TestMedianOf(t *testing.T) {
	for _, tt := range []struct {
		name       string
		samples    []float64
		value      float64
		low, high  float64 // both 0: no interval
		confidence float64
	}{
		{"one is its own median and shows no spread", []float64{7}, 7, 0, 0, 0},
		{"two: the middle", []float64{4, 2}, 3, 0, 0, 0},
		{"five: all of them hold the median with 1−2/2⁵ = 93.75 %, too little", []float64{5, 4, 3, 2, 1}, 3, 0, 0, 0},
		{"six: all of them hold it with 1−2/2⁶ = 96.875 %", []float64{6, 1, 5, 2, 4, 3}, 3.5, 1, 6, 0.96875},
		{"eight: the first to the seventh hold it with 246/256", []float64{8, 7, 6, 5, 4, 3, 2, 1}, 4.5, 1, 7, 246.0 / 256},
		{"six alike: no spread at all", []float64{2, 2, 2, 2, 2, 2}, 2, 2, 2, 0.96875},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := slices.Clone(tt.samples)
			m := MedianOf(tt.samples)
			if m == nil || m.N != len(tt.samples) || math.Abs(m.Value-tt.value) > 1e-9 || math.Abs(m.Confidence-tt.confidence) > 1e-9 {
				t.Fatalf("%+v, want median %g with confidence %g", m, tt.value, tt.confidence)
			}
			if none := tt.confidence == 0; none != (m.Low == nil) || none != (m.High == nil) {
				t.Fatalf("low %v, high %v", m.Low, m.High)
			}
			if m.Low != nil && (*m.Low != tt.low || *m.High != tt.high) {
				t.Errorf("[%g, %g], want [%g, %g]", *m.Low, *m.High, tt.low, tt.high)
			}
			if !slices.Equal(before, tt.samples) {
				t.Error("the samples were changed")
			}
		})
	}
	if m := MedianOf(nil); m != nil {
		t.Errorf("of nothing: %+v", m)
	}
}

// Invalid repetitions must not reach a median, and must not vanish unseen.
func TestCombinations(t *testing.T) {
	cell := func(number int, v Verdict, p50 *float64) Cell {
		return Cell{Number: number, Verdict: v, Latency: Quantiles{P50: p50}}
	}
	got := Combinations([]Cell{
		cell(2, Valid, number(20)), cell(1, Valid, number(1)), cell(1, Invalid, number(900)), cell(1, Degraded, number(3)),
		cell(1, Valid, nil), cell(1, "", number(800)), cell(1, Valid, number(math.Inf(1))),
	})
	if len(got) != 2 || got[0].Number != 1 || got[1].Number != 2 {
		t.Fatalf("%+v", got)
	}
	if got[0].Invalid != 2 || got[0].Degraded != 1 || len(got[0].Cells) != 4 {
		t.Errorf("%d invalid, %d degraded, %d used", got[0].Invalid, got[0].Degraded, len(got[0].Cells))
	}
	p50 := metric(t, "latency_p50_ms")
	if s := got[0].Samples(p50); !slices.Equal(s, []float64{1, 3}) {
		t.Errorf("samples %v, want those of the two repetitions that have one", s)
	}
}

func metric(t *testing.T, name string) Metric {
	t.Helper()
	for _, m := range CellMetrics() {
		if m.Name == name {
			return m
		}
	}
	t.Fatalf("no metric %s", name)
	return Metric{}
}

// A component's need is that of all its instances; a sum that leaves one out
// would read as a saving.
func TestComponentMetric(t *testing.T) {
	c := Cell{Components: []Component{
		{Component: "gateway", Instance: 1, CPUMean: number(10), CPUMax: number(30)},
		{Component: "gateway", Instance: 2, CPUMean: number(5)},
		{Component: "broker", Instance: 1, CPUMean: number(100)},
	}}
	ms := ComponentMetrics("gateway")
	if v := ms[0].Of(c); v == nil || *v != 15 {
		t.Errorf("%s is %v, want 10 + 5", ms[0], v)
	}
	if v := ms[1].Of(c); v != nil {
		t.Errorf("%s is %g, and one instance has none", ms[1], *v)
	}
	if v := ComponentMetrics("hub")[0].Of(c); v != nil {
		t.Errorf("a component that is not there uses %g", *v)
	}
	if c.Components[0].CPUMean == nil || *c.Components[0].CPUMean != 10 {
		t.Error("the cell was changed")
	}
}

// What is no sum must not be summed: with twice the gateways, messages of the same
// size would be reported twice as large, and an even load as uneven.
func TestComponentMetricThatIsNoSum(t *testing.T) {
	gateways := func(n int) Cell {
		var c Cell
		for i := range n {
			c.Components = append(c.Components, Component{
				Component: "gateway", Instance: i + 1, MaxOverMean: number(1.5),
				MessagesIn: number(100), MessageIn: number(1024), MessagesOut: number(100), MessageOut: number(700),
			})
		}
		return c
	}
	three := gateways(3)
	three.Components[1].MessagesIn, three.Components[1].MessageIn = number(300), number(512) // the busiest weighs most
	three.Components[2].MessagesIn, three.Components[2].MessageIn = number(0), nil           // the idle one nothing
	unknown := gateways(2)
	unknown.Components[1].MessagesIn, unknown.Components[1].MessageIn = nil, nil
	for name, c := range map[string]struct {
		metric string
		cell   Cell
		want   *float64
	}{
		"one":              {"in_message_B", gateways(1), number(1024)},
		"two alike":        {"in_message_B", gateways(2), number(1024)},
		"two handed on":    {"out_message_B", gateways(2), number(700)},
		"weighed":          {"in_message_B", three, number((100*1024 + 300*512) / 400.0)},
		"one unknown":      {"in_message_B", unknown, nil},
		"none there":       {"in_message_B", Cell{}, nil},
		"shares":           {"share_max_over_mean", gateways(2), number(1.5)},
		"shares of nobody": {"share_max_over_mean", Cell{}, nil},
	} {
		for _, m := range ComponentMetrics("gateway") {
			if m.Name != c.metric {
				continue
			}
			if v := m.Of(c.cell); (v == nil) != (c.want == nil) || v != nil && *v != *c.want {
				t.Errorf("%s: %s is %v, want %v", name, m, deref(v), deref(c.want))
			}
		}
	}
}

func deref(v *float64) any {
	if v == nil {
		return nil
	}
	return *v
}

// Drops of a cell whose books are not whole are unknown; 0 would be praise.
func TestDroppedIsNotTakenWithoutBooks(t *testing.T) {
	if v := metric(t, "dropped").Of(Cell{}); v != nil {
		t.Errorf("dropped is %g in a cell without books", *v)
	}
	if v := metric(t, "dropped").Of(Cell{Ledger: Ledger{Dropped: 3}, DropsPer5Min: number(9)}); v == nil || *v != 3 {
		t.Errorf("dropped is %v, want 3", v)
	}
}
