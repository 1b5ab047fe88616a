package campaign

import (
	"maps"
	"slices"
	"time"

	"bela/agents/protocol"
	"bela/event"
	"bela/experiment"
	"bela/measure"
)

const mib = 1 << 20

// nodeMeter makes rates of one node's cumulative samples.
type nodeMeter struct {
	node    string
	last    *protocol.Sample
	traffic map[instanceKey]reading // the last one of each process
}

// complete puts what was known before in the place of what could not be read, as of
// a machine that is out of file descriptors, and is 0. A counter that seemed to have
// begun anew would count in the next second what it has had since the machine was
// started; one of a whole machine does not begin anew while its agent lives.
func (m *nodeMeter) complete(h *protocol.HostSample) {
	if m.last == nil {
		return
	}
	before := m.last.Host
	if h.CPUs == 0 {
		*h = before
		return
	}
	for _, n := range []struct {
		now *int64
		was int64
	}{
		{&h.SoftnetDrops, before.SoftnetDrops}, {&h.SoftnetSqueezed, before.SoftnetSqueezed}, {&h.ListenOverflows, before.ListenOverflows},
		{&h.ListenDrops, before.ListenDrops}, {&h.TCPRetransmits, before.TCPRetransmits},
	} {
		*n.now = max(*n.now, n.was)
	}
}

// add takes the next sample; the first one, and one that is not newer than the
// last, yield nothing.
func (m *nodeMeter) add(s protocol.Sample) (event.NodeSample, bool) {
	before := m.last
	m.last = &s
	if before == nil || s.At <= before.At {
		return event.NodeSample{}, false
	}
	dt := float64(s.At-before.At) / 1e9
	n := event.NodeSample{
		Node: m.node, CPUs: s.Host.CPUs,
		CPU:    mcpu(s.Host.CPUBusyNS-before.Host.CPUBusyNS, dt),
		Steal:  mcpu(s.Host.StealNS-before.Host.StealNS, dt),
		Memory: float64(s.Host.MemoryUsed) / mib, MemoryTotal: float64(s.Host.MemoryTotal) / mib,
		NetIn:  float64(max(s.Host.NetIn-before.Host.NetIn, 0)) / dt, // below zero where an interface is gone
		NetOut: float64(max(s.Host.NetOut-before.Host.NetOut, 0)) / dt,
		Load1:  s.Host.Load1, AgentCPU: mcpu(s.Agent.CPUNS-before.Agent.CPUNS, dt),
		AgentMemory: float64(s.Agent.Memory) / mib,
	}
	if d := s.Devices; d != nil {
		n.Lateness = d.Lateness.Quantiles().P99
	}
	if c := s.Customers; c != nil {
		n.Latency = c.Latency.Quantiles().P99
	}
	healthRates(&n, before, &s, dt)
	for _, c := range s.Components {
		i := slices.IndexFunc(before.Components, func(b protocol.ComponentSample) bool {
			return b.Name == c.Name && b.Instance == c.Instance
		})
		if i < 0 {
			continue
		}
		rates := componentRates(before.Components[i], c, dt)
		m.trafficRates(&rates, c)
		n.Components = append(n.Components, rates)
	}
	return n, true
}

// componentRates makes rates of two samples of one instance. An instance that
// was restarted in between counts from 0 again.
func componentRates(before, c protocol.ComponentSample, dt float64) event.ComponentSample {
	if c.PID != before.PID {
		before = protocol.ComponentSample{}
	}
	out := event.ComponentSample{
		Component: c.Name, Instance: c.Instance,
		CPU:    mcpu(c.CPUNS-before.CPUNS, dt),
		Memory: float64(c.Memory) / mib, Restarts: c.Restarts,
	}
	pressureRates(&out, before.Group, c.Group, dt)
	if c.Counters != nil {
		var was protocol.Counters
		if before.Counters != nil {
			was, dt = *before.Counters, float64(c.CountedAt-before.CountedAt)/1e9
		}
		if dt <= 0 {
			return out // it has not told anything anew
		}
		out.Counted = true
		out.MessagesIn = float64(c.Counters.MessagesIn-was.MessagesIn) / dt
		out.MessagesOut = float64(c.Counters.MessagesOut-was.MessagesOut) / dt
		out.BytesIn = float64(c.Counters.BytesIn-was.BytesIn) / dt
		out.BytesOut = float64(c.Counters.BytesOut-was.BytesOut) / dt
		out.Dropped = float64(sum(c.Counters.Dropped)-sum(was.Dropped)) / dt
	}
	return out
}

func mcpu(ns int64, seconds float64) float64 { return float64(max(ns, 0)) / 1e6 / seconds }

func sum(counts map[string]int64) int64 {
	var n int64
	for _, c := range counts {
		n += c
	}
	return n
}

// window is the measured stretch of a cell in testbed time.
type window struct{ from, to int64 }

// holds reports whether the second that ended at the given time lies in the
// window.
func (w window) holds(at int64) bool {
	return at-int64(time.Second)/2 >= w.from && at-int64(time.Second)/2 < w.to
}

// instanceUse gathers one instance's cumulative counters over a cell.
type instanceUse struct {
	component string
	instance  int
	cpu       counter
	net       netUse
	limits    limitUse
	messages  messageUse
	memory    []float64 // MiB, in the measured window
	restarts  int
	dropped   map[string]int64
	pid       int
	earlier   map[string]int64 // dropped by processes that were killed
}

// useMeter gathers what every instance and every node used.
type useMeter struct {
	window    window
	instances []*instanceUse
	nodes     map[string]*nodeUse
	health    healthMeter
}

// nodeUse is how busy a node was, each second of the measured window, in
// percent of all its CPUs.
type nodeUse struct{ cpu, steal []float64 }

func newUseMeter(w window) *useMeter {
	return &useMeter{window: w, nodes: make(map[string]*nodeUse), health: make(healthMeter)}
}

func (m *useMeter) instance(component string, instance int) *instanceUse {
	for _, u := range m.instances {
		if u.component == component && u.instance == instance {
			return u
		}
	}
	u := &instanceUse{component: component, instance: instance}
	m.instances = append(m.instances, u)
	return u
}

// add takes a node's rates and the raw sample that they end with.
func (m *useMeter) add(n event.NodeSample, raw protocol.Sample) {
	inside := m.window.holds(raw.At)
	for _, c := range raw.Components {
		u := m.instance(c.Name, c.Instance)
		u.restarts = c.Restarts
		u.limits.add(raw.At, c.PID, u.pid != c.PID, c.Group, m.window.to)
		if u.pid != c.PID {
			u.pid, u.earlier = c.PID, u.dropped
		}
		u.cpu.add(raw.At, c.CPUNS, c.PID)
		if inside && c.Memory > 0 { // nothing that runs needs none: it was not read
			u.memory = append(u.memory, float64(c.Memory)/mib)
		}
		if c.Counters != nil {
			u.net.add(protocol.Traffic{At: c.CountedAt, Source: protocol.TrafficOwn, BytesIn: &c.Counters.BytesIn, BytesOut: &c.Counters.BytesOut}, c.PID)
			u.messages.add(c.CountedAt, c.PID, c.Counters)
			u.dropped = summed(u.earlier, c.Counters.Dropped) // also what was dropped outside the window
		}
		if c.Traffic != nil && c.Traffic.At-raw.At < int64(time.Second) { // else it was read before the node knew the testbed's time
			u.net.add(*c.Traffic, counting(c))
			if n := c.Traffic.Dropped; n != nil {
				u.dropped = summed(u.earlier, map[string]int64{c.Traffic.Source: *n})
			}
		}
	}
	m.health.add(n.Node, inside, n, raw)
	if !inside || n.CPUs == 0 {
		return
	}
	use := m.nodes[n.Node]
	if use == nil {
		use = new(nodeUse)
		m.nodes[n.Node] = use
	}
	use.cpu = append(use.cpu, n.CPU/float64(n.CPUs)/10)
	use.steal = append(use.steal, n.Steal/float64(n.CPUs)/10)
}

// counting is the process whose traffic is counted; 0 is any: a foreign one may
// go on with what it had counted before it was started again.
func counting(c protocol.ComponentSample) int {
	if c.Traffic.Source != protocol.TrafficSockets {
		return 0
	}
	return c.PID
}

// summed adds counts up by their names.
func summed(a, b map[string]int64) map[string]int64 {
	if len(a) == 0 {
		return b
	}
	all := maps.Clone(a)
	for name, n := range b {
		all[name] += n
	}
	return all
}

// components are the rows of components.csv, in the order of the plan.
func (m *useMeter) components(cell experiment.Cell) []measure.Component {
	var rows []measure.Component
	for _, c := range cell.Components {
		for _, i := range c.Instances {
			row := measure.Component{Component: c.Name, Instance: i.Index, Node: i.Node}
			m.instance(c.Name, i.Index).fill(&row, m.window)
			rows = append(rows, row)
		}
	}
	measure.SetBalance(rows)
	return rows
}

func (u *instanceUse) fill(row *measure.Component, w window) {
	const nsPerMCPU = 1e6 // nanoseconds of CPU a second
	// A second at the window's edge belongs to it when most of it does.
	half := int64(time.Second) / 2
	cpu := measure.Summarize(measure.Rates(u.cpu.readings, w.from-half, w.to+half))
	row.CPUP95, row.CPUMax = scaled(cpu.P95, nsPerMCPU), scaled(cpu.Max, nsPerMCPU)
	if row.CPUMean = scaled(rate(u.cpu.readings, w), nsPerMCPU); row.CPUMean == nil {
		row.CPUMean = scaled(cpu.Mean, nsPerMCPU)
	}
	memory := measure.Summarize(u.memory)
	row.MemoryMean, row.MemoryMax = memory.Mean, memory.Max
	row.NetIn, row.NetOut, row.NetSource = u.net.in.rate(w), u.net.out.rate(w), u.net.source
	u.limits.fill(row, w)
	u.messages.fill(row, w)
	row.Restarts = u.restarts
}

// throughput sums the instances of a kind: bytes in and out a second; nil where
// the cell has no such component or one instance was not counted, as one that
// died: a sum without it would be too small.
func (m *useMeter) throughput(cell experiment.Cell, kind experiment.Kind) (in, out *float64) {
	var allIn, allOut []*float64
	for _, c := range cell.Components {
		if !stands(c, kind) {
			continue
		}
		for _, i := range c.Instances {
			u := m.instance(c.Name, i.Index)
			allIn, allOut = append(allIn, u.net.in.rate(m.window)), append(allOut, u.net.out.rate(m.window))
		}
	}
	return total(allIn), total(allOut)
}

// drops are the drops that components counted themselves.
func (m *useMeter) drops() map[string]map[string]int64 {
	all := make(map[string]map[string]int64)
	for _, u := range m.instances {
		for reason, n := range u.dropped {
			if n == 0 {
				continue
			}
			if all[u.component] == nil {
				all[u.component] = make(map[string]int64)
			}
			all[u.component][reason] += n
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

// load is how busy each node was, for the verdict.
func (m *useMeter) load() []measure.NodeLoad {
	var all []measure.NodeLoad
	for _, name := range slices.Sorted(maps.Keys(m.nodes)) {
		cpu, steal := measure.Summarize(m.nodes[name].cpu), measure.Summarize(m.nodes[name].steal)
		if cpu.Mean != nil {
			all = append(all, measure.NodeLoad{Node: name, CPU: *cpu.Mean, Steal: *steal.Mean})
		}
	}
	return all
}

func rate(readings []measure.Reading, w window) *float64 {
	r, ok := measure.Rate(readings, w.from, w.to)
	if !ok {
		return nil
	}
	return &r
}

func scaled(v *float64, by float64) *float64 {
	if v == nil {
		return nil
	}
	s := *v / by
	return &s
}
