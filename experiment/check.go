package experiment

import (
	"fmt"
	"sort"
)

// Facts are what a node has for devices and customers.
type Facts struct {
	// OpenFiles is how many files one process may hold open.
	OpenFiles int
	// EphemeralPorts is how many connections to one destination its local port
	// range allows from one source address.
	EphemeralPorts int
	MemoryBytes    int64 // memory available
	CPUs           int
	// Shared says that this node shares its machine with all other nodes for
	// which it is set, as in the loopback lab: their memory adds up. Each has
	// agents of its own, and an address, so open files and ports do not.
	Shared bool
}

// What devices and customers need. The memory was measured with the MQTT
// client that the agent uses, with its buffers, and rounded up.
const (
	filesPerAgent    = 64
	filesPerBroker   = 64
	bytesPerClient   = 48 << 10
	usualPorts       = 28_232 // net.ipv4.ip_local_port_range 32768–60999
	megabyte         = 1 << 20
	sharedMachine    = "the lab's machine"
	resourcePorts    = "local ports"
	resourceFiles    = "open files"
	resourceMemory   = "memory"
	suggestMoreNodes = "use more nodes, or fewer devices"
)

// Finding is a need of the plan that a node cannot meet.
type Finding struct {
	// Node is the node, or "the lab's machine" for what nodes share.
	Node string `json:"node"`
	// Cell is the number of the first cell with the largest need.
	Cell int `json:"cell"`
	// Resource is "local ports", "open files" or "memory" (in MiB).
	Resource string `json:"resource"`
	Need     int64  `json:"need"`
	Have     int64  `json:"have"`
	// Assumed says that Have is what machines usually have, since the node's
	// facts are not known yet.
	Assumed bool `json:"assumed,omitempty"`
	// Change says what to do about it.
	Change string `json:"change"`
}

// String is the finding in one line.
func (f Finding) String() string {
	assumed := ""
	if f.Assumed {
		assumed = " (assumed: its facts are not known yet)"
	}
	what := f.Resource
	if f.Resource == resourceMemory {
		what = "MiB of memory"
	}
	return fmt.Sprintf("%s: cell %d needs %s %s, and there are %s%s: %s",
		f.Node, f.Cell, grouped(f.Need), what, grouped(f.Have), assumed, f.Change)
}

// need is what one cell asks of one node.
type need struct {
	clients int            // devices and customers on the node
	to      map[string]int // connections by destination instance
	agents  int            // files of the agent itself
	brokers int            // the most connections that one broker process holds
}

// Check compares each node's load in each cell with what the node has, and
// reports the largest need that is not met, once a node and resource. facts
// returns false for a node that is not known yet; then only its local ports are
// checked, against what machines usually have.
func (p *Plan) Check(facts func(node string) (Facts, bool)) []Finding {
	worst := map[string]Finding{}
	note := func(f Finding) {
		key := f.Node + "\x00" + f.Resource
		if old, ok := worst[key]; f.Need > f.Have && (!ok || f.Need > old.Need) {
			worst[key] = f
		}
	}
	done := map[int]bool{}
	for i := range p.Cells {
		c := &p.Cells[i]
		if done[c.Number] {
			continue // a repetition of a cell needs the same again
		}
		done[c.Number] = true
		checkCell(c, c.needs(), facts, note)
	}
	findings := make([]Finding, 0, len(worst))
	for _, key := range sortedKeys(worst) {
		findings = append(findings, worst[key])
	}
	sort.SliceStable(findings, func(i, j int) bool { return findings[i].Cell < findings[j].Cell })
	return findings
}

// needs adds up what a cell asks of each node.
func (c *Cell) needs() map[string]*need {
	all := map[string]*need{}
	of := func(node string) *need {
		if all[node] == nil {
			all[node] = &need{to: map[string]int{}}
		}
		return all[node]
	}
	perInstance := map[string]int{}
	connect := func(shares []Share, via string) {
		targets := c.targets(via)
		for _, s := range shares {
			n := of(s.Node)
			n.clients += s.Count
			n.agents = filesPerAgent
			// Client i talks to instance i mod len.
			for k, target := range targets {
				count := inClass(s.First, s.Count, k, len(targets))
				n.to[target] += count
				perInstance[target] += count
			}
		}
	}
	connect(c.Devices.Shares, c.Devices.Via)
	connect(c.Customers.Shares, c.Customers.Via)
	for _, component := range c.Components {
		for _, i := range component.Instances {
			if load := perInstance[instanceName(component.Name, i.Index)]; load > 0 {
				n := of(i.Node)
				n.brokers = max(n.brokers, load+filesPerBroker)
			}
		}
	}
	return all
}

// targets are the instances of a component.
func (c *Cell) targets(via string) []string {
	for _, component := range c.Components {
		if component.Name != via {
			continue
		}
		var names []string
		for _, i := range component.Instances {
			names = append(names, instanceName(via, i.Index))
		}
		return names
	}
	return nil
}

func instanceName(component string, index int) string { return fmt.Sprintf("%s/%d", component, index) }

// inClass counts the numbers in [first, first+count) that leave k when divided
// by n.
func inClass(first, count, k, n int) int {
	upTo := func(end int) int { return (end - k + n - 1) / n } // of [0, end)
	return upTo(first+count) - upTo(first)
}

// checkCell compares one cell's needs with the facts.
func checkCell(c *Cell, needs map[string]*need, facts func(string) (Facts, bool), note func(Finding)) {
	var sharedBytes int64
	var shared Facts
	for _, node := range sortedKeys(needs) {
		n := needs[node]
		f, known := facts(node)
		if !known {
			f = Facts{EphemeralPorts: usualPorts}
		}
		for _, target := range sortedKeys(n.to) {
			note(Finding{
				Node: node, Cell: c.Number, Resource: resourcePorts, Need: int64(n.to[target]), Have: int64(f.EphemeralPorts),
				Assumed: !known, Change: suggestMoreNodes + ", or widen net.ipv4.ip_local_port_range",
			})
		}
		if !known {
			continue
		}
		note(Finding{
			Node: node, Cell: c.Number, Resource: resourceFiles, Need: max(int64(n.clients+n.agents), int64(n.brokers)), Have: int64(f.OpenFiles),
			Change: "raise the limit on open files (ulimit -n, LimitNOFILE), or " + suggestMoreNodes,
		})
		memory := int64(n.clients) * bytesPerClient
		if f.Shared {
			shared = f
			sharedBytes += memory
			continue
		}
		note(Finding{
			Node: node, Cell: c.Number, Resource: resourceMemory, Need: mebibytes(memory), Have: f.MemoryBytes / megabyte,
			Change: suggestMoreNodes,
		})
	}
	note(Finding{
		Node: sharedMachine, Cell: c.Number, Resource: resourceMemory, Need: mebibytes(sharedBytes), Have: shared.MemoryBytes / megabyte,
		Change: "use real machines, or fewer devices",
	})
}

// mebibytes rounds up.
func mebibytes(n int64) int64 { return (n + megabyte - 1) / megabyte }
