package doctor

import (
	"time"

	"bela/agents/protocol"
	"bela/nodes"
	"bela/provision"
)

// exam is what was seen of one node. What could not be looked at is nil, and
// the judging of it is left out.
type exam struct {
	target  nodes.Target
	spare   bool // it stands in for nobody yet
	address string
	err     error // why the node could not be reached or used at all

	holder      *provision.Holder
	facts       *nodes.Facts
	unusable    error // why no agent can be brought there
	leftovers   []string
	programSize int64 // bytes, of what a run would push

	inspection *protocol.Inspection
	toolbox    *toolbox
	clock      *clockReading
	listeners  map[int]protocol.Listener // by port
	ways       []tried
	untried    int // ways whose other end does not listen

	// onLab says that the node shares this machine with the controller and all
	// others; first is set for one of them.
	onLab, first bool
}

// clockReading is a node's clock against the controller's.
type clockReading struct {
	offset, bound time.Duration // node minus controller, and how far that may be off
	// drift is how fast the two part, in parts per million, and driftBound how
	// far that may be off.
	drift, driftBound float64
}

// tried is a way and what came of it.
type tried struct {
	way
	spare   bool   // the other end is one
	address string // of the other end: host:port
	result  protocol.Way
}

// desk collects the findings about one node.
type desk struct {
	node  string
	spare bool
	list  []Finding
}

func (d *desk) add(s Severity, check, what, why, fix string) *Finding {
	if d.spare && s == Error {
		s, why = Warning, spareWhy
	}
	d.list = append(d.list, Finding{Node: d.node, Check: check, Severity: s, What: what, Why: why, Fix: fix})
	return &d.list[len(d.list)-1]
}

// spareWhy is why it matters that a spare is not fit.
const spareWhy = "a run begins without it, but a node that is lost would have no use of this spare"

// labMachine is how findings name what the lab's nodes share.
const labMachine = "the lab's machine"

// judge holds what was seen of a node against what the plan needs of it.
func judge(e *exam, n *need) []Finding {
	d := &desk{node: e.target.Name, spare: e.spare}
	if !access(d, e) || e.inspection == nil {
		return d.list
	}
	for _, check := range []func(*desk, *exam, *need){
		disk, memory, tasks, systemFiles, limits,
		listening, ways, localPorts, queues, conntrack,
		clocks, undone, faults,
	} {
		check(d, e, n)
	}
	if e.onLab && !e.first { // the same machine again
		return d.list
	}
	if e.onLab {
		d.node = labMachine
	}
	for _, check := range []func(*desk, *exam){settings, swap, neighbours} {
		check(d, e)
	}
	return d.list
}
