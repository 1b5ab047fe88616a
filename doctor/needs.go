package doctor

import (
	"fmt"
	"maps"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"bela/experiment"
	"bela/nodes"
)

// need is the most that any cell of a plan asks of one node.
type need struct {
	cell int // the cell with the most connections

	clients     int // devices and customers
	connections int // from and to the node
	again       int // to one destination, by two cells that follow each other
	arrivals    int // connections to one port of the node, within the busiest second
	arrivesAt   string
	files       int // of all processes together

	processes int   // of bela and of components
	memory    int64 // bytes, of clients, books and the components' limits
	books     int64 // bytes of what the node writes down, in the largest cell

	platform bool // it runs built-in components, or may have to for another node

	limited []string // components with limits
	faults  []faultNeed
	ports   []port // to listen on
}

// port is one that a component will listen on.
type port struct {
	number   int
	instance string // "broker/1"
}

// way is one direction in which nodes must be able to connect.
type way struct {
	from, to string
	port     int
	why      string // "devices to broker/1"
}

// What things take. The memory of clients is what experiment.Check counts with.
const (
	bytesPerClient   = 48 << 10
	bytesPerMessage  = 1        // of the books: a few bits for each message and party
	bytesPerProcess  = 64 << 20 // an agent or a component without a limit of its own
	threadsPerTask   = 64       // of a process: its runtime's, and those in system calls
	filesPerProcess  = 64
	timeWaitSeconds  = 60 // how long Linux holds a local port back
	conntrackSeconds = 120
)

// needs works out, for each node, the most that the plan asks of it, and every
// way that must be open.
func needs(plan *experiment.Plan) (map[string]*need, []way) {
	all := make(map[string]*need)
	for _, g := range plan.Groups {
		for i := range g.Count {
			all[g.NodeName(i)] = &need{processes: 1}
		}
	}
	ways := make(map[way]bool)
	before := make(map[string]map[string]int) // connections of the cell before
	for i := range plan.Cells {
		c := newCellNeeds(&plan.Cells[i])
		for _, w := range c.ways {
			ways[w] = true
		}
		for name, n := range c.nodes {
			if all[name] == nil {
				all[name] = &need{processes: 1}
			}
			all[name].atLeast(n)
			for to, count := range c.to[name] {
				all[name].again = max(all[name].again, count+before[name][to])
			}
		}
		before = c.to
	}
	for _, g := range plan.Groups {
		takeOver(all, plan, g)
	}
	return all, sorted(ways)
}

// takeOver has a group's nodes need what they may have to run for one that is lost.
func takeOver(all map[string]*need, plan *experiment.Plan, g experiment.NodeGroup) {
	if plan.OnNodeLost != experiment.LossWithout {
		return
	}
	platform := false
	for i := range g.Count {
		platform = platform || all[g.NodeName(i)].platform
	}
	for i := range g.Count {
		all[g.NodeName(i)].platform = platform
	}
}

// standIns has each spare need what any node of its group does, and adds the ways
// that must be open to it and from it where it stands in for one of them.
func standIns(all map[string]*need, list []way, plan *experiment.Plan, spares []nodes.Target) []way {
	more := make(map[way]bool)
	for _, s := range spares {
		n := &need{processes: 1}
		for _, name := range groupOf(plan, s) {
			n.atLeast(all[name])
			for _, w := range list {
				if w.from != name && w.to != name {
					continue
				}
				if w.from == name {
					w.from = s.Name
				}
				if w.to == name {
					w.to = s.Name
				}
				more[w] = true
			}
		}
		all[s.Name] = n
	}
	return sorted(more, list...)
}

// groupOf names the nodes that a spare may stand in for.
func groupOf(plan *experiment.Plan, spare nodes.Target) []string {
	var names []string
	for _, g := range plan.Groups {
		for i := 0; g.Name == spare.Group && i < g.Count; i++ {
			names = append(names, g.NodeName(i))
		}
	}
	return names
}

// sorted lists ways in an order that is always the same.
func sorted(ways map[way]bool, list ...way) []way {
	list = slices.AppendSeq(slices.Clone(list), maps.Keys(ways))
	slices.SortFunc(list, func(a, b way) int { return strings.Compare(a.String(), b.String()) })
	return list
}

// String names both ends and the direction.
func (w way) String() string { return fmt.Sprintf("%s → %s:%d (%s)", w.from, w.to, w.port, w.why) }

// atLeast raises a need to that of one more cell.
func (n *need) atLeast(c *need) {
	if c.connections > n.connections {
		n.connections, n.cell = c.connections, c.cell
	}
	if c.arrivals > n.arrivals {
		n.arrivals, n.arrivesAt = c.arrivals, c.arrivesAt
	}
	n.clients = max(n.clients, c.clients)
	n.again = max(n.again, c.again)
	n.files = max(n.files, c.files)
	n.processes = max(n.processes, c.processes)
	n.memory = max(n.memory, c.memory)
	n.books = max(n.books, c.books)
	n.platform = n.platform || c.platform
	n.withFaults(c.faults)
	for _, name := range c.limited {
		if !slices.Contains(n.limited, name) {
			n.limited = append(n.limited, name)
		}
	}
	for _, p := range c.ports {
		if !slices.ContainsFunc(n.ports, func(o port) bool { return o.number == p.number }) {
			n.ports = append(n.ports, p)
		}
	}
}

// cellNeeds adds up one cell.
type cellNeeds struct {
	cell  *experiment.Cell
	nodes map[string]*need
	to    map[string]map[string]int // node → destination → connections
	ways  []way
}

func newCellNeeds(cell *experiment.Cell) *cellNeeds {
	c := &cellNeeds{cell: cell, nodes: make(map[string]*need), to: make(map[string]map[string]int)}
	for _, component := range cell.Components {
		c.component(component)
	}
	c.faultsOf(cell.Faults)
	messages := cell.Devices.Rate * cell.Phases.Measure.Seconds()
	c.clients(cell.Devices.Shares, cell.Devices.Via, "devices", cell.Devices.Ramp, messages)
	received := messages * float64(cell.Devices.Count) / float64(max(cell.Customers.Count, 1))
	if cell.Customers.Receive == experiment.ReceiveAll {
		received = messages * float64(cell.Devices.Count)
	}
	c.clients(cell.Customers.Shares, cell.Customers.Via, "customers", 0, received)
	return c
}

func (c *cellNeeds) of(node string) *need {
	if c.nodes[node] == nil {
		c.nodes[node] = &need{cell: c.cell.Number, processes: 1, memory: bytesPerProcess}
	}
	return c.nodes[node]
}

func instanceName(component string, index int) string { return component + "/" + strconv.Itoa(index) }

// component counts a component's instances and the ways to what they link to.
func (c *cellNeeds) component(component experiment.Component) {
	written := c.cell.Devices.Rate * float64(c.cell.Devices.Count) * c.cell.Phases.Measure.Seconds() * bytesPerMessage
	for _, i := range component.Instances {
		n := c.of(i.Node)
		n.processes++
		n.platform = n.platform || component.BuiltIn()
		n.files += filesPerProcess
		n.memory += max(component.Limits.Memory, bytesPerProcess)
		n.books += int64(min(written, math.MaxInt32))
		if component.Limits.CPU > 0 || component.Limits.Memory > 0 {
			n.limited = append(n.limited, component.Name)
		}
		if i.Port > 0 {
			n.ports = append(n.ports, port{i.Port, instanceName(component.Name, i.Index)})
		}
		for _, target := range component.Links {
			for _, t := range c.instances(target) {
				c.connect(i.Node, t, target, 1, instanceName(component.Name, i.Index))
			}
		}
	}
}

// instances are those of a component that listen.
func (c *cellNeeds) instances(component string) []experiment.Instance {
	var list []experiment.Instance
	for _, x := range c.cell.Components {
		if x.Name == component {
			for _, i := range x.Instances {
				if i.Port > 0 {
					list = append(list, i)
				}
			}
		}
	}
	return list
}

// connect counts connections from a node to an instance.
func (c *cellNeeds) connect(from string, to experiment.Instance, component string, count int, who string) {
	if count == 0 {
		return
	}
	instance := instanceName(component, to.Index)
	c.ways = append(c.ways, way{from, to.Node, to.Port, who + " to " + instance})
	if c.to[from] == nil {
		c.to[from] = make(map[string]int)
	}
	c.to[from][net.JoinHostPort(to.Node, strconv.Itoa(to.Port))] += count
	for _, node := range []string{from, to.Node} {
		c.of(node).connections += count
		c.of(node).files += count
	}
}

// clients counts devices or customers; each has a number of messages in its books.
func (c *cellNeeds) clients(shares []experiment.Share, via, who string, ramp time.Duration, messages float64) {
	targets := c.instances(via)
	if len(targets) == 0 {
		return
	}
	all := 0
	for _, s := range shares {
		all += s.Count
		n := c.of(s.Node)
		n.clients += s.Count
		n.memory += int64(s.Count) * (bytesPerClient + int64(min(messages*bytesPerMessage, math.MaxInt32)))
		for k, target := range targets {
			// Client i talks to instance i mod len.
			c.connect(s.Node, target, via, inClass(s.First, s.Count, k, len(targets)), who)
		}
	}
	for k, target := range targets {
		n := c.of(target.Node)
		arrivals := int(math.Ceil(float64(inClass(0, all, k, len(targets))) / max(ramp.Seconds(), 1)))
		if arrivals > n.arrivals {
			n.arrivals, n.arrivesAt = arrivals, instanceName(via, target.Index)
		}
	}
}

// inClass counts the numbers in [first, first+count) that leave k when divided
// by n.
func inClass(first, count, k, n int) int {
	upTo := func(end int) int { return (end - k + n - 1) / n } // of [0, end)
	return upTo(first+count) - upTo(first)
}
