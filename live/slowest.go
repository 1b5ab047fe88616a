package live

import (
	"fmt"

	"bela/event"
)

// Delay is what a node holds up, and by what.
type Delay struct {
	Node string
	Ms   float64 // milliseconds
	Why  string  // "sends 3.2 ms late at p99"
}

// leastDelay is what is worth naming, in milliseconds.
const leastDelay = 1.0

// Slowest names the node that holds the most up now: of each node the largest of
// how late its devices send and how long its agent waits for a CPU, both at p99
// of the last second, and what the hypervisor took of each CPU in that second.
// It is false where no node reaches 1 ms.
func (s *State) Slowest() (Delay, bool) {
	var top Delay
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if !s.Fresh(n.SampledAt) {
			continue
		}
		if d := delayOf(n.Name, &n.Sample); d.Ms > top.Ms {
			top = d
		}
	}
	return top, top.Ms >= leastDelay
}

func delayOf(node string, n *event.NodeSample) Delay {
	d := Delay{Node: node}
	if v, ok := deref(n.Lateness); ok && v > d.Ms {
		d.Ms, d.Why = v, fmt.Sprintf("sends %s late at p99", Millis(&v))
	}
	if v, ok := deref(n.AgentScheduling); ok && v > d.Ms {
		d.Ms, d.Why = v, fmt.Sprintf("its agent waits %s for a CPU at p99", Millis(&v))
	}
	if n.CPUs > 0 {
		// mCPU are milliseconds of CPU a second.
		if v := n.Steal / float64(n.CPUs); v > d.Ms {
			d.Ms, d.Why = v, fmt.Sprintf("its host took %.1f %% of its CPUs", v/10)
		}
	}
	return d
}

// Errors are what a node's kernel and its agent's connections lost or had to do
// again in a second: packets and connections that found no room, segments sent
// again, connections that broke.
func Errors(n *event.NodeSample) float64 {
	return n.SoftnetDrops + n.ListenDrops + n.TCPRetransmits + float64(n.ConnectionsLost)
}
