package measure

import (
	"cmp"
	"math"
	"slices"
)

// Sizing says how requests and limits follow from what was measured.
type Sizing struct {
	// Request is which number of an instance becomes its request.
	Request SizingBasis `json:"request_from"`
	// Headroom is added to the peak for the limit: 0.3 is 30 %.
	Headroom float64 `json:"headroom"`
	// CPUStep and MemoryStep are what numbers are rounded up to, in mCPU and MiB.
	CPUStep    float64 `json:"cpu_step_mcpu"`
	MemoryStep float64 `json:"memory_step_mib"`
}

// SizingBasis names the number that a request rests on.
type SizingBasis string

// The bases: the mean over the measured window, or the 95th percentile of its
// seconds (of memory, which has none, the peak).
const (
	SizingMean SizingBasis = "mean"
	SizingP95  SizingBasis = "p95"
)

// Requirement is what one component needs, an instance.
type Requirement struct {
	Component string `json:"component"`
	// Instances is the largest number that a cell ran.
	Instances int `json:"instances"`
	// What was measured of the busiest instance in the hardest cell: the basis of
	// the request, and the peak.
	CPUBasis    float64 `json:"measured_cpu_mcpu"`
	CPUPeak     float64 `json:"measured_cpu_mcpu_max"`
	MemoryBasis float64 `json:"measured_memory_mib"`
	MemoryPeak  float64 `json:"measured_memory_mib_max"`
	// CellCPU and CellMemory are the numbers of the cells that decided.
	CellCPU    int `json:"cell_cpu"`
	CellMemory int `json:"cell_memory"`

	CPURequest    float64 `json:"cpu_request_mcpu"`
	CPULimit      float64 `json:"cpu_limit_mcpu"`
	MemoryRequest float64 `json:"memory_request_mib"`
	MemoryLimit   float64 `json:"memory_limit_mib"`
}

// Recommend sizes each component by the hardest of the cells: of each
// combination the median over its repetitions counts, of its instances the
// busiest, and of the combinations the largest. The request is the basis, the
// limit the peak and the headroom, both rounded up; a limit is never below its
// request. Invalid cells do not count. Components stand in the order in which
// the cells name them; one of which nothing was measured is left out.
func Recommend(combinations []Combination, s Sizing) []Requirement {
	var out []Requirement
	for _, name := range componentNames(combinations) {
		r := Requirement{Component: name}
		for _, k := range combinations {
			r.Instances = max(r.Instances, instancesOf(k, name))
			cpu, memory := s.bases(k, name)
			if cpu.ok && (r.CellCPU == 0 || cpu.peak > r.CPUPeak) {
				r.CPUPeak, r.CellCPU = cpu.peak, k.Number
			}
			if memory.ok && (r.CellMemory == 0 || memory.peak > r.MemoryPeak) {
				r.MemoryPeak, r.CellMemory = memory.peak, k.Number
			}
			r.CPUBasis = max(r.CPUBasis, cpu.basis)
			r.MemoryBasis = max(r.MemoryBasis, memory.basis)
		}
		if r.CellCPU == 0 || r.CellMemory == 0 {
			continue
		}
		r.CPURequest, r.CPULimit = roundUp(r.CPUBasis, s.CPUStep), roundUp(r.CPUPeak*(1+s.Headroom), s.CPUStep)
		r.MemoryRequest, r.MemoryLimit = roundUp(r.MemoryBasis, s.MemoryStep), roundUp(r.MemoryPeak*(1+s.Headroom), s.MemoryStep)
		r.CPULimit, r.MemoryLimit = max(r.CPULimit, r.CPURequest), max(r.MemoryLimit, r.MemoryRequest)
		out = append(out, r)
	}
	return out
}

// roundUp rounds up to a multiple of step, and never to nothing.
func roundUp(v, step float64) float64 {
	if step <= 0 {
		return v
	}
	return max(math.Ceil(v/step-1e-9), 1) * step
}

func componentNames(combinations []Combination) []string {
	var names []string
	for _, k := range combinations {
		for _, c := range k.Cells {
			for _, i := range c.Components {
				if !slices.Contains(names, i.Component) {
					names = append(names, i.Component)
				}
			}
		}
	}
	return names
}

func instancesOf(k Combination, name string) int {
	most := 0
	for _, c := range k.Cells {
		n := 0
		for _, i := range c.Components {
			if i.Component == name {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

// sized is the basis and the peak of a component's busiest instance in a
// combination.
type sized struct {
	basis, peak float64
	ok          bool
}

func (s Sizing) bases(k Combination, name string) (cpu, memory sized) {
	type numbers struct{ cpuBasis, cpuPeak, memoryBasis, memoryPeak []float64 }
	instances := map[int]*numbers{}
	for _, c := range k.Cells {
		for _, i := range c.Components {
			if i.Component != name {
				continue
			}
			n := instances[i.Instance]
			if n == nil {
				n = &numbers{}
				instances[i.Instance] = n
			}
			keep := func(to *[]float64, v *float64) {
				if v != nil {
					*to = append(*to, *v)
				}
			}
			if s.Request == SizingP95 {
				keep(&n.cpuBasis, i.CPUP95)
				keep(&n.memoryBasis, i.MemoryMax)
			} else {
				keep(&n.cpuBasis, i.CPUMean)
				keep(&n.memoryBasis, i.MemoryMean)
			}
			keep(&n.cpuPeak, i.CPUMax)
			keep(&n.memoryPeak, i.MemoryMax)
		}
	}
	for _, n := range instances {
		cpu.take(n.cpuBasis, n.cpuPeak)
		memory.take(n.memoryBasis, n.memoryPeak)
	}
	return cpu, memory
}

// take keeps an instance's medians where they are the largest yet.
func (s *sized) take(basis, peak []float64) {
	if len(basis) == 0 || len(peak) == 0 {
		return
	}
	s.basis, s.peak, s.ok = max(s.basis, middle(basis)), max(s.peak, middle(peak)), true
}

func middle(samples []float64) float64 {
	sorted := slices.Sorted(slices.Values(samples))
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// Machine is a size of machine to fill.
type Machine struct {
	CPU    float64 `json:"cpu_mcpu"`
	Memory float64 `json:"memory_mib"`
}

// Fit is how many of something a machine takes.
type Fit struct {
	// ByRequests may be promised, as a scheduler counts; ByLimits can all reach
	// their limits at once.
	ByRequests int `json:"by_requests"`
	ByLimits   int `json:"by_limits"`
}

// Fits is how many instances of a requirement a machine takes, with nothing else
// on it.
func (r Requirement) Fits(m Machine) Fit {
	return Fit{
		ByRequests: int(min(m.CPU/r.CPURequest, m.Memory/r.MemoryRequest)),
		ByLimits:   int(min(m.CPU/r.CPULimit, m.Memory/r.MemoryLimit)),
	}
}

// Total sums requirements, each times its instances; its Component is empty.
func Total(rs []Requirement) Requirement {
	var t Requirement
	for _, r := range rs {
		n := float64(r.Instances)
		t.Instances += r.Instances
		t.CPURequest += n * r.CPURequest
		t.CPULimit += n * r.CPULimit
		t.MemoryRequest += n * r.MemoryRequest
		t.MemoryLimit += n * r.MemoryLimit
	}
	return t
}

// NodeTotal is what the components that ran on a node need together.
type NodeTotal struct {
	Node      string      `json:"node"`
	Instances int         `json:"instances"`
	Need      Requirement `json:"need"`
}

// TotalsByNode sums the requirements over the nodes on which the cell's
// instances ran, in the order of the nodes' names.
func TotalsByNode(c Cell, rs []Requirement) []NodeTotal {
	byNode := map[string]*NodeTotal{}
	for _, i := range c.Components {
		at := slices.IndexFunc(rs, func(r Requirement) bool { return r.Component == i.Component })
		if at < 0 {
			continue
		}
		n := byNode[i.Node]
		if n == nil {
			n = &NodeTotal{Node: i.Node}
			byNode[i.Node] = n
		}
		one := rs[at]
		one.Instances = 1
		n.Need = Total([]Requirement{{Instances: 1, CPURequest: n.Need.CPURequest, CPULimit: n.Need.CPULimit,
			MemoryRequest: n.Need.MemoryRequest, MemoryLimit: n.Need.MemoryLimit}, one})
		n.Instances++
		n.Need.Instances = n.Instances
	}
	var out []NodeTotal
	for _, n := range byNode {
		out = append(out, *n)
	}
	slices.SortFunc(out, func(a, b NodeTotal) int { return cmp.Compare(a.Node, b.Node) })
	return out
}
