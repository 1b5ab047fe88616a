package campaign

import (
	"testing"

	"bela/measure"
)

// A user looks for the node whose clock was set. If the wrong one were named, or
// one out of two that could both have been, they would look in vain.
func TestPairStepsNameTheNode(t *testing.T) {
	pair := func(device, customer string, by ...int64) measure.PairClock {
		p := measure.PairClock{Device: device, Customer: customer, Fit: measure.ClockFit{Samples: 60}}
		for i, b := range by {
			if b != 0 {
				p.Fit.Steps = append(p.Fit.Steps, measure.ClockStep{After: int64(i) * 20e9, Before: int64(i)*20e9 + 1e9, By: b})
			}
		}
		return p
	}
	tests := []struct {
		why   string
		pairs []measure.PairClock
		want  map[string]int64 // what each gained
	}{
		{"nothing", []measure.PairClock{pair("iot-1", "customer-1")}, map[string]int64{}},
		{"all that ask iot-2 saw it, and nobody else", []measure.PairClock{
			pair("iot-1", "customer-1"), pair("iot-1", "customer-2"), pair("iot-2", "customer-1", -10e6), pair("iot-2", "customer-2", -10e6),
		}, map[string]int64{"iot-2": 10e6}},
		{"customer-1 saw it in all", []measure.PairClock{
			pair("iot-1", "customer-1", -7e6), pair("iot-2", "customer-1", -7e6), pair("iot-1", "customer-2"), pair("iot-2", "customer-2"),
		}, map[string]int64{"customer-1": -7e6}},
		{"one pair: either", []measure.PairClock{pair("iot-1", "customer-1", 5e6)}, map[string]int64{"iot-1 or customer-1": 5e6}},
		{"two nodes, one after the other", []measure.PairClock{
			pair("iot-1", "customer-1", -3e6, 0), pair("iot-1", "customer-2", -3e6, 4e6), pair("iot-2", "customer-1", 0, 0), pair("iot-2", "customer-2", 0, 4e6),
		}, map[string]int64{"iot-1": 3e6, "customer-2": 4e6}},
	}
	for _, test := range tests {
		got := make(map[string]int64)
		for _, s := range pairSteps(test.pairs, nil) {
			got[s.who] = s.by
		}
		if len(got) != len(test.want) {
			t.Errorf("%s: %v, want %v", test.why, got, test.want)
		}
		for who, by := range test.want {
			if got[who] != by {
				t.Errorf("%s: %v, want %v", test.why, got, test.want)
			}
		}
	}
}
