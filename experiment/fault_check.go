package experiment

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/hashicorp/hcl/v2"
)

// placeFaults finds the targets of a cell's faults, and reports those that hit
// nothing, at no time of the cell, or what another fault has in its hands.
func (l *loader) placeFaults(cell *Cell, specs []*faultSpec) []Fault {
	var faults []Fault
	held := map[string][]heldTarget{}
	for _, spec := range specs {
		if !spec.active || !spec.whole {
			continue
		}
		f := spec.Fault
		if !l.faultTargets(&f, spec, cell) || !l.faultTimes(f, spec, cell.Phases) {
			continue
		}
		l.faultAlone(f, spec, cell.Phases, held)
		faults = append(faults, f)
	}
	slices.SortStableFunc(faults, func(a, b Fault) int { return int(a.Begin(cell.Phases) - b.Begin(cell.Phases)) })
	return faults
}

// faultTargets fills in what a fault hits.
func (l *loader) faultTargets(f *Fault, spec *faultSpec, cell *Cell) bool {
	switch f.Kind {
	case FaultCut, FaultSlow:
		for i, group := range spec.between {
			f.Between[i] = l.nodesOf(group, 0)
		}
		if spec.between[0] == spec.between[1] && len(f.Between[0]) < 2 {
			l.m.error(spec.targetAt, fmt.Sprintf("fault %q: node.%s has one node, so there is nothing between", f.Name, spec.between[0]))
			return false
		}
		return true
	case FaultPressure, FaultDisk:
		f.Nodes = l.nodesOf(spec.group, spec.number)
		return true
	}
	on := l.nodesOf(spec.group, spec.number)
	present := false
	for _, c := range cell.Components {
		present = present || c.Name == spec.component
		for _, i := range c.Instances {
			hit := c.Name == spec.component && (spec.instance == 0 || spec.instance == i.Index)
			if hit || spec.component == "" && slices.Contains(on, i.Node) {
				f.Instances = append(f.Instances, FaultInstance{c.Name, i.Index, i.Node})
			}
		}
	}
	switch {
	case len(f.Instances) > 0:
		return true
	case spec.component == "":
		l.m.error(spec.targetAt, fmt.Sprintf("fault %q: no component of this cell runs on %s", f.Name, someOf(on)))
	case !present:
		l.m.error(spec.targetAt, fmt.Sprintf("fault %q: component %q is not in this cell, by its own when", f.Name, spec.component),
			"give the fault a when that leaves it out of such cells")
	default:
		l.m.error(spec.targetAt, fmt.Sprintf("fault %q: component %q has no instance %d in this cell", f.Name, spec.component, spec.instance))
	}
	return false
}

// nodesOf are the names of a group's nodes, or of the one with a number.
func (l *loader) nodesOf(group string, number int) []string {
	g := l.groups[group]
	var names []string
	for i := range g.Count {
		if number == 0 || number == i+1 {
			names = append(names, g.NodeName(i))
		}
	}
	return names
}

// faultTimes reports a fault that begins outside its phase, or ends after the
// cell's last.
func (l *loader) faultTimes(f Fault, spec *faultSpec, p Phases) bool {
	lengths := map[FaultPhase]time.Duration{FaultInWarmup: p.Warmup, FaultInMeasure: p.Measure, FaultInDrain: p.Drain}
	if length := lengths[f.Phase]; f.At >= length {
		l.m.error(spec.atAt, fmt.Sprintf("fault %q begins %s after the start of %s, which lasts %s", f.Name, show(f.At), f.Phase, show(length)),
			"legal: less than the phase lasts", `the argument phase may be "warmup", "measure" or "drain"`)
		return false
	}
	end, ends := f.End(p)
	if last := faultBase(FaultInDrain, p) + p.Drain; ends && end > last {
		l.m.error(spec.forAt, fmt.Sprintf("fault %q ends %s after the start of load, and the cell's drain ends after %s at most", f.Name, show(end), show(last)),
			"shorten for, or begin earlier")
		return false
	}
	return true
}

// heldTarget is a stretch of load in which a fault has a target.
type heldTarget struct {
	name       string
	at         hcl.Range
	begin, end time.Duration
}

// faultAlone reports that another fault has the same target at the same time:
// neither could be told from the other, nor healed without it.
func (l *loader) faultAlone(f Fault, spec *faultSpec, p Phases, held map[string][]heldTarget) {
	own := heldTarget{name: f.Name, at: spec.header, begin: f.Begin(p), end: math.MaxInt64}
	if end, ends := f.End(p); ends {
		own.end = max(end, own.begin+1)
	}
	said := false
	for _, target := range f.holds() {
		for _, other := range held[target] {
			if said || own.begin >= other.end || other.begin >= own.end {
				continue
			}
			said = true
			until := "for good"
			if other.end != math.MaxInt64 {
				until = "until " + show(other.end)
			}
			l.m.error(spec.atAt, fmt.Sprintf("fault %q begins at %s of load, when fault %q still has %s", f.Name, show(own.begin), other.name, target),
				fmt.Sprintf("fault %q has it from %s %s: %s", other.name, show(other.begin), until, place(other.at)))
		}
		held[target] = append(held[target], own)
	}
}

// holds names what only one fault at a time may have.
func (f Fault) holds() []string {
	var all []string
	switch f.Kind {
	case FaultCut:
		for _, a := range f.Between[0] {
			for _, b := range f.Between[1] {
				all = append(all, "the link "+min(a, b)+" ↔ "+max(a, b))
			}
		}
		slices.Sort(all)
		return slices.Compact(all)
	case FaultSlow:
		// One queueing discipline an interface.
		for _, node := range f.RootNodes() {
			all = append(all, "the network of "+node)
		}
		return all
	case FaultPressure:
		for _, node := range f.Nodes {
			if f.CPU > 0 {
				all = append(all, "the CPU of "+node)
			}
			if f.Memory > 0 {
				all = append(all, "the memory of "+node)
			}
		}
		return all
	case FaultDisk:
		for _, node := range f.Nodes {
			all = append(all, "the disk of "+node)
		}
		return all
	}
	for _, i := range f.Instances {
		all = append(all, fmt.Sprintf("%s-%d", i.Component, i.Instance))
	}
	return all
}
