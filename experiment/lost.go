package experiment

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// NodeLoss says what becomes of a run when one of its nodes is lost and does not
// come back.
type NodeLoss string

// What becomes of a run that lost a node.
const (
	// LossSpare: a spare of its group takes its place, and without one the run
	// ends. It is the default, also as the empty text.
	LossSpare NodeLoss = "spare"
	// LossWithout: a spare takes its place, and without one the group's other
	// nodes do its work.
	LossWithout NodeLoss = "without"
	LossStop    NodeLoss = "stop" // the run ends
)

// The lease of an agent and how long it keeps what it measured, unless given.
const (
	DefaultLease = 2 * time.Minute
	DefaultKeep  = 30 * time.Minute
)

// lossPolicy reads on_node_lost, after the node blocks.
func (l *loader) lossPolicy(r *reader) {
	policy, given := r.choice("on_node_lost", string(LossSpare), string(LossWithout), string(LossStop))
	if !given {
		return
	}
	l.plan.OnNodeLost = NodeLoss(policy)
	spares := slices.ContainsFunc(l.plan.Groups, func(g NodeGroup) bool { return len(g.Spares) > 0 })
	if l.plan.OnNodeLost == LossSpare && !spares {
		r.wrong("on_node_lost", `"spare" needs spares, and no node block has any`, `give a node block spares = ["10.2.0.19"]`, `or write "without" or "stop"`)
	}
}

// leases reads how long agents go on alone.
func (s *SSH) leases(r *reader) {
	s.Lease, _ = r.length("lease", 5*time.Second, time.Hour)
	s.Keep, _ = r.length("keep", time.Second, 24*time.Hour)
}

// AgentLease is how long an agent goes on, and a link may be away.
func (s SSH) AgentLease() time.Duration {
	if s.Lease > 0 {
		return s.Lease
	}
	return DefaultLease
}

// AgentKeep is how long an agent then keeps what it measured.
func (s SSH) AgentKeep() time.Duration {
	if s.Keep > 0 {
		return s.Keep
	}
	return DefaultKeep
}

// Without gives the cell as it can run when nodes of its groups are gone: the
// others of the same group take their instances, devices and customers. notes
// say what moved; without any, the cell is as it was. The error names what has
// no node left.
func (c Cell) Without(groups []NodeGroup, gone []string) (reduced Cell, notes []string, err error) {
	c.Components = slices.Clone(c.Components)
	for i := range c.Components {
		c.Components[i].Instances = slices.Clone(c.Components[i].Instances)
	}
	left := make(map[string][]string)
	for _, g := range groups {
		for i := range g.Count {
			if name := g.NodeName(i); !slices.Contains(gone, name) {
				left[g.Name] = append(left[g.Name], name)
			}
		}
	}
	for i := range c.Components {
		moved, err := c.moveInstances(&c.Components[i], left, gone)
		if err != nil {
			return c, nil, err
		}
		notes = append(notes, moved...)
	}
	share := func(what, group string, count int, shares *[]Share) error {
		i := slices.IndexFunc(*shares, func(s Share) bool { return slices.Contains(gone, s.Node) })
		if i < 0 {
			return nil
		}
		nodes := left[group]
		if len(nodes) == 0 {
			return fmt.Errorf("the %s run on node group %q, which has no node left", what, group)
		}
		notes = append(notes, fmt.Sprintf("without node %s: the %d %s run on %s", (*shares)[i].Node, count, what, strings.Join(nodes, ", ")))
		*shares = spread(nodes, count)
		return nil
	}
	if err := share("devices", c.Devices.Group, c.Devices.Count, &c.Devices.Shares); err != nil {
		return c, nil, err
	}
	if err := share("customers", c.Customers.Group, c.Customers.Count, &c.Customers.Shares); err != nil {
		return c, nil, err
	}
	return c, notes, nil
}

// moveInstances puts a component's instances on the nodes that are left, those
// with the fewest of them first, and gives each a port that is free there.
func (c Cell) moveInstances(component *Component, left map[string][]string, gone []string) (notes []string, err error) {
	for i := range component.Instances {
		in := &component.Instances[i]
		if !slices.Contains(gone, in.Node) {
			continue
		}
		nodes := left[component.Group]
		if len(nodes) == 0 {
			return nil, fmt.Errorf("component %q runs on node group %q, which has no node left", component.Name, component.Group)
		}
		on := func(node string) (n int) {
			for _, other := range component.Instances {
				if other.Node == node {
					n++
				}
			}
			return n
		}
		to := slices.MinFunc(nodes, func(a, b string) int { return on(a) - on(b) })
		notes = append(notes, fmt.Sprintf("without node %s: %s-%d runs on %s", in.Node, component.Name, in.Index, to))
		c.movePorts(component, in, to)
	}
	return notes, nil
}

// movePorts puts an instance on a node, with ports that are free there.
func (c Cell) movePorts(component *Component, in *Instance, to string) {
	main, named := in.Port, in.Ports
	in.Port, in.Ports = 0, nil
	if main > 0 {
		in.Port = c.freePort(to, component.Port)
	}
	in.Node = to
	for _, name := range sortedKeys(named) {
		port := in.Port
		if named[name] != main { // else it is the main one's name
			port = c.freePort(to, component.Ports[name])
		}
		in.Ports = set(in.Ports, name, port)
	}
}

// freePort is the first port from one on that no instance has on a node. There
// is one: a node has fewer instances than there are ports.
func (c Cell) freePort(node string, port int) int {
	for taken := true; taken; {
		taken = slices.ContainsFunc(c.Components, func(o Component) bool {
			return slices.ContainsFunc(o.Instances, func(i Instance) bool { return i.Node == node && i.has(port) })
		})
		if taken {
			port++
		}
	}
	return port
}

// has says whether a port is one of the instance's.
func (i Instance) has(port int) bool {
	if i.Port == port {
		return true
	}
	for _, named := range i.Ports {
		if named == port {
			return true
		}
	}
	return false
}

// spread splits devices or customers evenly into contiguous ranges, the first
// nodes taking what does not divide.
func spread(nodes []string, count int) []Share {
	var shares []Share
	first := 0
	for i, node := range nodes {
		n := count / len(nodes)
		if i < count%len(nodes) {
			n++
		}
		if n > 0 {
			shares = append(shares, Share{Node: node, First: first, Count: n})
		}
		first += n
	}
	return shares
}
