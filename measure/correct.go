package measure

import (
	"cmp"
	"math"
	"slices"
)

// TimeAxis is a testbed time axis as an agent is told of it:
//
//	testbed = local + Offset + Drift × (local − At)
type TimeAxis struct {
	At     int64   `json:"at_ns"`     // local time
	Offset int64   `json:"offset_ns"` // testbed minus local
	Drift  float64 `json:"drift"`     // seconds a second
}

// Local is the agent's own time at a testbed time that it stamped.
func (a TimeAxis) Local(testbed int64) int64 {
	return a.At + int64(float64(testbed-a.Offset-a.At)/(1+a.Drift))
}

// Testbed is the testbed time that the agent takes a local time for.
func (a TimeAxis) Testbed(local int64) int64 {
	return local + a.Offset + int64(math.Round(a.Drift*float64(local-a.At)))
}

// NodeClock is what a cell knows of one node's clock.
type NodeClock struct {
	Node string
	// Applied is the axis on which the node's agent stamped its times.
	Applied TimeAxis
	// Fit is the clock as all the probes show it after the cell. Read back, it
	// holds the last line alone: FitClock makes the whole of Probes.
	Fit ClockFit
	// Probes are all those that the fit was made of, from before the cell to
	// after it, in the order in which they were taken.
	Probes []ProbeSample
}

// PairClock is what two nodes that messages pass between know of each other's
// clocks without the controller.
type PairClock struct {
	// Device is the node that answered, Customer the one that asked: T1 and T4
	// are on its clock.
	Device, Customer string
	Fit              ClockFit // what must be added to the device node's time to have the customer node's
	Probes           []ProbeSample
}

// Correction moves latencies by what the clocks at both ends were off. Of the
// ways in which two clocks are known against each other, over the controller or
// directly, it takes the one with the smaller error.
type Correction struct {
	axes  map[string]nodeAxis
	pairs map[[2]string]ClockFit
}

type nodeAxis struct {
	applied TimeAxis
	fit     ClockFit
	known   bool // there is a fit; else only what was applied
}

// NewCorrection is the correction by these clocks, as their Fit has them. A
// clock without a usable probe, whose Fit has no samples, corrects nothing by
// itself.
func NewCorrection(nodes []NodeClock, pairs []PairClock) Correction {
	c := Correction{axes: make(map[string]nodeAxis, len(nodes)), pairs: make(map[[2]string]ClockFit, len(pairs))}
	for _, n := range nodes {
		c.axes[n.Node] = nodeAxis{n.Applied, n.Fit, n.Fit.Samples > 0}
	}
	for _, p := range pairs {
		if p.Fit.Samples > 0 {
			c.pairs[[2]string{p.Device, p.Customer}] = p.Fit
		}
	}
	return c
}

// Residual is what must be added to a testbed time t that a node's agent took to
// have the controller's, and how far that can be off, both in nanoseconds. It is
// false for a node of whose clock nothing is known.
func (c Correction) Residual(node string, t int64) (correction, uncertainty int64, ok bool) {
	a := c.axes[node]
	if !a.known {
		return 0, 0, false
	}
	local := a.applied.Local(t)
	offset, uncertainty := a.fit.At(local)
	return local + offset - t, uncertainty, true
}

// Shift is what must be added to latencies from a device's node to a customer's
// that were taken at the device's testbed times between from and to, and how far
// the sum can be off for any of them, both in nanoseconds. It is what the clocks
// were apart in the middle; the uncertainty covers what they parted until the
// ends, by drift or by a jump.
func (c Correction) Shift(device, customer string, from, to int64) (shift, uncertainty int64) {
	if device == customer {
		return 0, 0 // both ends read the same clock
	}
	shift, uncertainty, known := over(from, to, func(t int64) (int64, int64, bool) { return c.overController(device, customer, t) })
	direct, bound, ok := over(from, to, func(t int64) (int64, int64, bool) { return c.directly(device, customer, t) })
	if ok && (bound < uncertainty || !known) {
		return direct, bound
	}
	return shift, uncertainty
}

// over looks at a correction in the middle and at both ends of a stretch of time.
func over(from, to int64, at func(int64) (shift, uncertainty int64, ok bool)) (shift, uncertainty int64, ok bool) {
	shift, uncertainty, ok = at(from + (to-from)/2)
	for _, t := range []int64{from, to} {
		other, bound, _ := at(t)
		uncertainty = max(uncertainty, abs(other-shift)+bound)
	}
	return shift, uncertainty, ok
}

// overController adds the two nodes' errors. It is false where not both clocks
// are known; what is known is corrected all the same.
func (c Correction) overController(device, customer string, t int64) (shift, uncertainty int64, ok bool) {
	there, e1, one := c.Residual(customer, t)
	here, e2, other := c.Residual(device, t)
	return there - here, e1 + e2, one && other
}

// directly turns the device node's local time at t into the customer node's, and
// that into what its agent would have stamped: the difference to t is what the
// two axes were apart.
func (c Correction) directly(device, customer string, t int64) (shift, uncertainty int64, ok bool) {
	fit, known := c.pairs[[2]string{device, customer}]
	from, a := c.axes[device]
	to, b := c.axes[customer]
	if !known || !a || !b {
		return 0, 0, false
	}
	local := from.applied.Local(t)
	offset, uncertainty := fit.At(local)
	return t - to.applied.Testbed(local+offset), uncertainty, true
}

// LatencyBooks is what the customers' agents recorded in a cell, before any
// clock was corrected.
type LatencyBooks struct {
	// Start is the testbed time of the start of load; the measured window is
	// From up to To. Nanoseconds.
	Start, From, To int64
	// Sources are the nodes with devices, as LatencySlice.Source counts them.
	Sources []string
	Nodes   []NodeLatencies
	// ServiceSeconds is how many seconds one slice of service times has.
	ServiceSeconds int
}

// NodeLatencies is what one customers' agent recorded.
type NodeLatencies struct {
	Node string
	// Latency is by intended second, warm-up included; Service is of measured
	// messages only.
	Latency, Service []LatencySlice
}

// Latencies are a cell's, corrected.
type Latencies struct {
	Latency *Histogram // of the measured window
	Service *Histogram
	// Thirds are the first, second and last third of the window.
	Thirds [3]Histogram
	// Seconds are those of load, warm-up included, ascending by T.
	Seconds []LatencySecond
	// Error is the largest uncertainty of a latency, in nanoseconds.
	Error int64
}

// LatencySecond is one intended second's latencies.
type LatencySecond struct {
	T       int // since the start of load
	Latency *Histogram
}

// Latencies corrects the books of a cell, each slice by what the clocks were off
// in its middle. Slices whose source is not among Sources stay as they are. The
// same books and the same clocks give the same result, in a cell as later from
// what is stored of it.
func (c Correction) Latencies(b LatencyBooks) Latencies {
	out := Latencies{Latency: new(Histogram), Service: new(Histogram)}
	seconds := make(map[int32]*Histogram)
	corrected := func(s LatencySlice, node string, length int64) (h *Histogram, uncertainty int64) {
		if s.Source < 0 || s.Source >= len(b.Sources) {
			return s.Latency.Shifted(0), 0
		}
		from := b.Start + int64(s.Second)*1e9
		shift, uncertainty := c.Shift(b.Sources[s.Source], node, from, from+length*1e9)
		return s.Latency.Shifted(shift), uncertainty
	}
	for _, n := range b.Nodes {
		for _, s := range n.Latency {
			h, uncertainty := corrected(s, n.Node, 1)
			out.Error = max(out.Error, uncertainty)
			if seconds[s.Second] == nil {
				seconds[s.Second] = new(Histogram)
			}
			seconds[s.Second].Merge(h)
			if third, in := b.third(s.Second); in {
				out.Latency.Merge(h)
				out.Thirds[third].Merge(h)
			}
		}
		for _, s := range n.Service {
			h, _ := corrected(s, n.Node, int64(b.ServiceSeconds))
			out.Service.Merge(h)
		}
	}
	for t, h := range seconds {
		out.Seconds = append(out.Seconds, LatencySecond{int(t), h})
	}
	slices.SortFunc(out.Seconds, func(a, b LatencySecond) int { return cmp.Compare(a.T, b.T) })
	return out
}

// third says in which third of the measured window a second of load lies.
func (b LatencyBooks) third(s int32) (int, bool) {
	from := int64(s)*1e9 - (b.From - b.Start)
	length := b.To - b.From
	if from < 0 || from >= length {
		return 0, false
	}
	return int(3 * from / length), true
}

// RecomputeLatencies fits all clocks anew from their probes and corrects the
// books with them: what a cell reported, from what is stored of it.
func RecomputeLatencies(nodes []NodeClock, pairs []PairClock, b LatencyBooks) Latencies {
	nodes, pairs = slices.Clone(nodes), slices.Clone(pairs)
	for i := range nodes {
		nodes[i].Fit, _ = FitClock(nodes[i].Probes) // without a usable probe there are no samples
	}
	for i := range pairs {
		pairs[i].Fit, _ = FitClockPair(pairs[i].Probes)
	}
	return NewCorrection(nodes, pairs).Latencies(b)
}
