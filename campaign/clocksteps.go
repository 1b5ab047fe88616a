package campaign

import (
	"slices"
	"time"

	"bela/measure"
)

// clockStep is a jump of a node's clock during a cell.
type clockStep struct {
	who   string   // the node, or the two of which one jumped
	nodes []string // the same, one by one
	at    int64    // testbed time by which it had come
	by    int64    // what the clock gained, in nanoseconds
}

// sameStep is how far apart two findings of one step can be: each lies between
// two probes.
const sameStep = int64(3 * time.Second)

// explainedBy says whether another finding is of the same step.
func (s clockStep) explainedBy(o clockStep) bool {
	return abs64(s.at-o.at) <= sameStep && slices.ContainsFunc(o.nodes, func(n string) bool { return slices.Contains(s.nodes, n) })
}

func abs64(n int64) int64 { return max(n, -n) }

// pairSteps are the jumps that nodes saw in each other's clocks. A step in the
// clocks of a pair is of one of the two. It is laid to the one whose every pair
// shows it at that time, if that is more than one pair; else nobody can tell,
// and both are named.
func pairSteps(pairs []measure.PairClock, clocks []measure.NodeClock) []clockStep {
	axes := make(map[string]measure.TimeAxis)
	for _, c := range clocks {
		axes[c.Node] = c.Applied
	}
	type seen struct {
		measure.PairClock
		at, by int64 // by: what the customer node gained on the device node
	}
	var all []seen
	of := make(map[string]int) // pairs by node
	for _, p := range pairs {
		if p.Fit.Samples > 0 {
			of[p.Device]++
			of[p.Customer]++
		}
		for _, s := range p.Fit.Steps {
			all = append(all, seen{p, axes[p.Device].Testbed(s.Before), s.By})
		}
	}
	// every says whether all pairs of a node show the step.
	every := func(node string, s seen) bool {
		shown := make(map[string]bool)
		for _, o := range all {
			if (o.Device == node || o.Customer == node) && abs64(o.at-s.at) <= sameStep && (o.by < 0) == (s.by < 0) {
				shown[o.Device+"\x00"+o.Customer] = true
			}
		}
		return of[node] > 1 && len(shown) == of[node]
	}
	var steps []clockStep
	for _, s := range all {
		step := clockStep{who: s.Device + " or " + s.Customer, nodes: []string{s.Device, s.Customer}, at: s.at, by: abs64(s.by)}
		switch device, customer := every(s.Device, s), every(s.Customer, s); {
		case device && !customer:
			step.who, step.nodes, step.by = s.Device, []string{s.Device}, -s.by
		case customer && !device:
			step.who, step.nodes, step.by = s.Customer, []string{s.Customer}, s.by
		}
		if !slices.ContainsFunc(steps, step.explainedBy) {
			steps = append(steps, step)
		}
	}
	return steps
}
