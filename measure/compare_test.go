package measure

import (
	"math"
	"testing"
)

// A claim must be made where the repetitions carry it, and nowhere else.
func TestCompare(t *testing.T) {
	latency, rate, bytes := metric(t, "latency_p50_ms"), metric(t, "delivered_msg_s"), metric(t, "broker_in_Bps")
	yes, no := true, false
	for _, tt := range []struct {
		name        string
		metric      Metric
		base, other []float64
		finding     Finding
		tooFew      bool
		p           float64 // where not too few
		change      *float64
		improved    *bool
	}{
		{"4 and 4 apart: 2 of C(8,4) = 70 orders are as extreme", latency, []float64{10, 11, 12, 13}, []float64{4, 5, 6, 7}, Lower, false, 2.0 / 70, number(-6.0 / 11.5), &yes},
		{"the same the other way is worse", latency, []float64{4, 5, 6, 7}, []float64{10, 11, 12, 13}, Higher, false, 2.0 / 70, number(6.0 / 5.5), &no},
		{"a higher delivered rate is better", rate, []float64{4, 5, 6, 7}, []float64{10, 11, 12, 13}, Higher, false, 2.0 / 70, number(6.0 / 5.5), &yes},
		{"bytes have no better direction", bytes, []float64{4, 5, 6, 7}, []float64{10, 11, 12, 13}, Higher, false, 2.0 / 70, number(6.0 / 5.5), nil},
		{"interleaved: U = 6, and 24 of 70 orders have at most 6", latency, []float64{1, 3, 5, 7}, []float64{2, 4, 6, 8}, NoEvidence, false, 48.0 / 70, number(0.25), nil},
		{"3 and 3 apart: 2 of 20 at best", latency, []float64{1, 2, 3}, []float64{7, 8, 9}, NoEvidence, true, 0, number(3), nil},
		{"3 and 5 apart: 2 of 56", latency, []float64{1, 2, 3}, []float64{7, 8, 9, 10, 11}, Higher, false, 2.0 / 56, number(3.5), &no},
		{"one and one: the difference is shown, and nothing is claimed", latency, []float64{2}, []float64{3}, NoEvidence, true, 0, number(0.5), nil},
		{"all alike: nothing to test", latency, []float64{5, 5, 5, 5}, []float64{5, 5, 5, 5}, NoEvidence, false, 1, number(0), nil},
		{"30 alike, where p is no longer exact", latency, make([]float64, 30), make([]float64, 30), NoEvidence, false, 1, number(0), nil},
		{"no drops, then some: no percentage of 0", metric(t, "dropped"), []float64{0, 0, 0, 0}, []float64{5, 6, 7, 8}, Higher, false, 2.0 / 70, nil, &no},
		{"one side without numbers", latency, []float64{1, 2}, nil, NotMeasured, false, 0, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := Compare(tt.base, tt.other, tt.metric, Alpha)
			if d.Finding != tt.finding || d.TooFew != tt.tooFew {
				t.Errorf("%q, too few %v; want %q, %v", d.Finding, d.TooFew, tt.finding, tt.tooFew)
			}
			if tested := !tt.tooFew && tt.finding != NotMeasured; tested != (d.P != nil) {
				t.Errorf("p is %v", d.P)
			} else if tested && math.Abs(*d.P-tt.p) > 1e-9 {
				t.Errorf("p is %g, want %g", *d.P, tt.p)
			}
			if (d.Change == nil) != (tt.change == nil) || d.Change != nil && math.Abs(*d.Change-*tt.change) > 1e-9 {
				t.Errorf("change %v, want %v", d.Change, tt.change)
			}
			if (d.Improved == nil) != (tt.improved == nil) || d.Improved != nil && *d.Improved != *tt.improved {
				t.Errorf("improved %v, want %v", d.Improved, tt.improved)
			}
		})
	}
}

// A level that is stricter must claim less.
func TestCompareAlpha(t *testing.T) {
	base, other := []float64{1, 2, 3, 4}, []float64{5, 6, 7, 8}
	if d := Compare(base, other, metric(t, "latency_p50_ms"), 0.01); d.Finding != NoEvidence || !d.TooFew {
		t.Errorf("%q: 4 and 4 cannot reach 0.01", d.Finding)
	}
}

// Cells held against the wrong cell make every number of a comparison wrong.
func TestMatch(t *testing.T) {
	cs := func(rows ...[]Dimension) []Combination {
		out := make([]Combination, len(rows))
		for i, r := range rows {
			out[i] = Combination{Number: i + 1, Dimensions: r}
		}
		return out
	}
	at := func(devices any, rest ...Dimension) []Dimension {
		return append([]Dimension{{"devices", devices}}, rest...)
	}
	qos := func(v any) Dimension { return Dimension{"qos", v} }
	codec := func(v any) Dimension { return Dimension{"codec", v} }
	for _, tt := range []struct {
		name                string
		base, other         []Combination
		shared              int
		pairs               [][2]int
		baseOnly, otherOnly int
	}{
		{"the same matrix in another order, by values and not by number",
			cs(at(1.0, qos(0.0)), at(100.0, qos(0.0))), cs([]Dimension{qos(0.0), {"devices", 100.0}}, []Dimension{qos(0.0), {"devices", 1.0}}), 2, [][2]int{{1, 2}, {2, 1}}, 0, 0},
		{"a value that only one has", cs(at(1.0), at(100.0)), cs(at(100.0), at(500.0)), 1, [][2]int{{2, 1}}, 1, 1},
		{"a dimension of the other's own", cs(at(1.0)), cs(at(1.0, codec("json")), at(1.0, codec("msgpack"))), 1, [][2]int{{1, 1}, {1, 2}}, 0, 0},
		{"neither has dimensions", cs(nil), cs(nil), 0, [][2]int{{1, 1}}, 0, 0},
		{"nothing shared", cs(at(1.0)), cs([]Dimension{codec("json")}), 0, nil, 1, 1},
		{"one has none", cs(at(1.0)), cs(nil), 0, nil, 1, 1},
		{"nothing measured", cs(at(1.0)), nil, 1, nil, 1, 0},
		{"a table's text is a number's", cs(at(1000000.0)), cs(at("1000000")), 1, [][2]int{{1, 1}}, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := Match(tt.base, tt.other)
			if len(m.Shared) != tt.shared || len(m.BaseOnly) != tt.baseOnly || len(m.OtherOnly) != tt.otherOnly || len(m.Pairs) != len(tt.pairs) {
				t.Fatalf("%+v", m)
			}
			for i, p := range m.Pairs {
				if p.Base.Number != tt.pairs[i][0] || p.Other.Number != tt.pairs[i][1] {
					t.Errorf("pair %d is %d with %d, want %v", i, p.Base.Number, p.Other.Number, tt.pairs[i])
				}
			}
		})
	}
}
