package experiment

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Fault is one `fault` block as it stands in one cell, with its targets found.
// Exactly the fields of its kind are set.
type Fault struct {
	Name string    `json:"name"` // the block's label; unique in the experiment
	Kind FaultKind `json:"kind"`
	// Phase is the one that At counts from: warmup, measure or drain.
	Phase FaultPhase    `json:"phase"`
	At    time.Duration `json:"at"`
	// For is how long the fault lasts; 0 for a kill that is not made good.
	For time.Duration `json:"for,omitempty"`

	// Instances are the targets of kill, pause and restart, in the order of the
	// cell's components.
	Instances []FaultInstance `json:"instances,omitempty"`

	// Between are the nodes on either side of a cut or a slow network.
	Between [2][]string   `json:"between,omitzero"`
	Delay   time.Duration `json:"delay,omitempty"`  // added to each packet, one way
	Jitter  time.Duration `json:"jitter,omitempty"` // the delay varies by it, either way
	Loss    float64       `json:"loss,omitempty"`   // share of the packets
	Rate    int64         `json:"rate_bit_s,omitempty"`

	// Nodes are the targets of pressure and disk.
	Nodes  []string `json:"nodes,omitempty"`
	CPU    int      `json:"cpu_mcpu,omitempty"` // thousandths of a core that are used up
	Memory int64    `json:"memory_bytes,omitempty"`
	Leave  int64    `json:"leave_bytes,omitempty"` // what is left free on the disk
}

// FaultKind is what a fault does.
type FaultKind string

// The kinds of faults.
const (
	FaultKill     FaultKind = "kill"     // SIGKILL; started again after For, where that is given
	FaultPause    FaultKind = "pause"    // SIGSTOP, and SIGCONT after For
	FaultRestart  FaultKind = "restart"  // asked to stop, started again after For
	FaultCut      FaultKind = "cut"      // no packet passes between two groups of nodes
	FaultSlow     FaultKind = "slow"     // delay, loss and rate of what passes between them
	FaultPressure FaultKind = "pressure" // a node's CPU and memory are used up
	FaultDisk     FaultKind = "disk"     // a node's disk is filled
)

// FaultKinds lists the kinds: the blocks that say what a fault does.
func FaultKinds() []FaultKind {
	return []FaultKind{FaultKill, FaultPause, FaultRestart, FaultCut, FaultSlow, FaultPressure, FaultDisk}
}

// FaultPhase is a phase in which faults may begin.
type FaultPhase string

// The phases in which there is load, or what is left of it.
const (
	FaultInWarmup  FaultPhase = "warmup"
	FaultInMeasure FaultPhase = "measure"
	FaultInDrain   FaultPhase = "drain"
)

// FaultInstance is a component's instance that a fault hits.
type FaultInstance struct {
	Component string `json:"component"`
	Instance  int    `json:"instance"` // from 1
	Node      string `json:"node"`
}

// Begin is when the fault begins, from the start of load.
func (f Fault) Begin(p Phases) time.Duration { return faultBase(f.Phase, p) + f.At }

// End is when it ends, from the start of load; false where it does not.
func (f Fault) End(p Phases) (time.Duration, bool) {
	if f.For == 0 && f.Kind != FaultRestart {
		return 0, false
	}
	return f.Begin(p) + f.For, true
}

// faultBase is where a phase begins, from the start of load. Warm-up takes whole
// seconds, so that seconds of load are seconds of the series.
func faultBase(phase FaultPhase, p Phases) time.Duration {
	warmup := (p.Warmup + time.Second - 1).Truncate(time.Second)
	switch phase {
	case FaultInWarmup:
		return 0
	case FaultInDrain:
		return warmup + p.Measure
	}
	return warmup
}

// RootNodes are the nodes on which the fault needs root; none for most kinds.
func (f Fault) RootNodes() []string {
	if f.Kind != FaultCut && f.Kind != FaultSlow {
		return nil
	}
	all := slices.Concat(f.Between[0], f.Between[1])
	slices.Sort(all)
	return slices.Compact(all)
}

// Target is what the fault hits, in words: "gateway-1", "iot ↔ worker".
func (f Fault) Target() string {
	switch f.Kind {
	case FaultCut, FaultSlow:
		return someOf(f.Between[0]) + " ↔ " + someOf(f.Between[1])
	case FaultPressure, FaultDisk:
		return someOf(f.Nodes)
	}
	var names []string
	for _, i := range f.Instances {
		names = append(names, fmt.Sprintf("%s-%d", i.Component, i.Instance))
	}
	return someOf(names)
}

// someOf lists at most four names.
func someOf(names []string) string {
	const most = 4
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}

// Does is what the fault does, in words: "cut iot-1 ↔ worker-1".
func (f Fault) Does() string {
	var how []string
	add := func(given bool, text string) {
		if given {
			how = append(how, text)
		}
	}
	add(f.Delay > 0, "delay "+show(f.Delay))
	add(f.Jitter > 0, "jitter "+show(f.Jitter))
	add(f.Loss > 0, "loss "+strconv.FormatFloat(100*f.Loss, 'g', 4, 64)+" %")
	add(f.Rate > 0, "rate "+showBitRate(f.Rate))
	add(f.CPU > 0, fmt.Sprintf("cpu %dm", f.CPU))
	add(f.Memory > 0, "memory "+showSize(f.Memory))
	add(f.Leave > 0, "leaving "+showSize(f.Leave))
	text := string(f.Kind) + " " + f.Target()
	if len(how) > 0 {
		text += ": " + strings.Join(how, ", ")
	}
	return text
}

// String is the whole fault in one line.
func (f Fault) String() string {
	text := fmt.Sprintf("%q at %s of %s: %s", f.Name, show(f.At), f.Phase, f.Does())
	switch {
	case f.For > 0 && (f.Kind == FaultKill || f.Kind == FaultRestart):
		text += ", started again after " + show(f.For)
	case f.For > 0:
		text += ", for " + show(f.For)
	case f.Kind == FaultKill:
		text += ", not started again"
	}
	return text
}
