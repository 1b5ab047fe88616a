package measure

import (
	"reflect"
	"testing"
)

func instance(name string, n int, node string, cpuMean, cpuP95, cpuMax, memMean, memMax float64) Component {
	return Component{Component: name, Instance: n, Node: node, CPUMean: &cpuMean, CPUP95: &cpuP95, CPUMax: &cpuMax, MemoryMean: &memMean, MemoryMax: &memMax}
}

// sizingCells: the second cell is harder on the CPU, the first on memory; its
// second gateway is the busier one; the third repetition of the second is an
// outlier that a median does not follow, and the invalid cell would be harder
// than all.
func sizingCells() []Combination {
	hard := func(repetition int, most float64) Cell {
		return Cell{Number: 2, Repetition: repetition, Verdict: Valid, Components: []Component{
			instance("gateway", 1, "worker-1", 90, 120, most/2, 40, 50),
			instance("gateway", 2, "worker-2", 101, 150, most, 41, 52),
			instance("broker", 1, "worker-1", 200, 220, 260, 70, 80),
		}}
	}
	return Combinations([]Cell{
		{Number: 1, Repetition: 1, Verdict: Degraded, Components: []Component{instance("gateway", 1, "worker-1", 10, 11, 12, 90, 100), instance("broker", 1, "worker-1", 20, 21, 22, 7, 8)}},
		hard(1, 200), hard(2, 200), hard(3, 900),
		{Number: 3, Repetition: 1, Verdict: Invalid, Components: []Component{instance("gateway", 1, "worker-1", 5000, 5000, 5000, 5000, 5000)}},
	})
}

// A limit that is too low kills what it was made for, and one from a wrong cell
// wastes machines: the arithmetic stands in the rows.
func TestRecommend(t *testing.T) {
	for _, test := range []struct {
		name string
		s    Sizing
		want []Requirement
	}{
		{"request from the mean, limit from the peak and 50 %, rounded up to 10",
			Sizing{SizingMean, 0.5, 10, 10}, []Requirement{
				// 101 → 110; 200 × 1.5 = 300; 90 → 90; 100 × 1.5 = 150
				{"gateway", 2, 101, 200, 90, 100, 2, 1, 110, 300, 90, 150},
				// 200 → 200; 260 × 1.5 = 390; 70 → 70; 80 × 1.5 = 120
				{"broker", 1, 200, 260, 70, 80, 2, 2, 200, 390, 70, 120},
			}},
		{"request from p95, no headroom, no rounding: the limit is not below the request",
			Sizing{SizingP95, 0, 0, 0}, []Requirement{
				{"gateway", 2, 150, 200, 100, 100, 2, 1, 150, 200, 100, 100},
				{"broker", 1, 220, 260, 80, 80, 2, 2, 220, 260, 80, 80},
			}},
	} {
		if got := Recommend(sizingCells(), test.s); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", test.name, got, test.want)
		}
	}
	if got := Recommend(nil, Sizing{}); got != nil {
		t.Errorf("of nothing: %+v", got)
	}
}

// How many fit is what machines are bought by.
func TestFits(t *testing.T) {
	r := Requirement{CPURequest: 110, CPULimit: 300, MemoryRequest: 90, MemoryLimit: 150}
	// 4000/110 = 36, 4096/90 = 45; 4000/300 = 13, 4096/150 = 27
	if got := r.Fits(Machine{CPU: 4000, Memory: 4096}); got != (Fit{36, 13}) {
		t.Errorf("got %+v", got)
	}
	rs := Recommend(sizingCells(), Sizing{SizingMean, 0.5, 10, 10})
	// 2×110+200, 2×300+390, 2×90+70, 2×150+120
	if got := Total(rs); got != (Requirement{Instances: 3, CPURequest: 420, CPULimit: 990, MemoryRequest: 250, MemoryLimit: 420}) {
		t.Errorf("total %+v", got)
	}
	nodes := TotalsByNode(sizingCells()[1].Cells[0], rs)
	if len(nodes) != 2 || nodes[0].Node != "worker-1" || nodes[0].Instances != 2 || nodes[0].Need.CPURequest != 310 || nodes[1].Need.MemoryLimit != 150 {
		t.Errorf("by node: %+v", nodes)
	}
}
