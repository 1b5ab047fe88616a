package campaign

import (
	"maps"
	"slices"

	"bela/agents/protocol"
	"bela/event"
	"bela/measure"
)

// healthRates adds to a node's second what its host and its agent noticed about
// themselves.
func healthRates(n *event.NodeSample, before, s *protocol.Sample, dt float64) {
	rate := func(before, now int64) float64 { return float64(gained(before, now)) / dt }
	b, h := before.Host, s.Host
	n.RunQueue = h.RunQueue
	n.SoftnetDrops, n.SoftnetSqueezed = rate(b.SoftnetDrops, h.SoftnetDrops), rate(b.SoftnetSqueezed, h.SoftnetSqueezed)
	n.ListenOverflows, n.ListenDrops = rate(b.ListenOverflows, h.ListenOverflows), rate(b.ListenDrops, h.ListenDrops)
	n.TCPRetransmits = rate(b.TCPRetransmits, h.TCPRetransmits)
	n.AgentGCPause = rate(before.Agent.GCPauseNS, s.Agent.GCPauseNS) / 1e6
	n.AgentGCPauseMax = float64(s.Agent.GCPauseMaxNS) / 1e6
	n.AgentGoroutines = s.Agent.Goroutines
	if p := s.Agent.SchedulingP99NS; p != nil {
		ms := float64(*p) / 1e6
		n.AgentScheduling = &ms
	}
	n.ConnectionsLost = gained(connectionsLost(before), connectionsLost(s))
}

// connectionsLost are those of a node's devices and customers, since they were
// prepared.
func connectionsLost(s *protocol.Sample) int64 {
	var n int64
	if s.Devices != nil {
		n += s.Devices.Lost
	}
	if s.Customers != nil {
		n += s.Customers.Lost
	}
	return n
}

// gained is the growth of a counter; one that fell began anew at 0.
func gained(before, now int64) int64 {
	if now < before {
		return max(now, 0)
	}
	return now - before
}

// healthMeter gathers, by node, what speaks against its numbers.
type healthMeter map[string]*nodeHealth

// nodeHealth is a node over the measured window.
type nodeHealth struct {
	last *protocol.Sample
	measure.NodeHealth
	agentCPU []float64 // percent of the node's CPUs
	pausedMS float64
	seconds  float64
}

// add takes a node's rates and the raw sample that they end with.
func (m healthMeter) add(node string, inside bool, n event.NodeSample, raw protocol.Sample) {
	h := m[node]
	if h == nil {
		h = &nodeHealth{NodeHealth: measure.NodeHealth{Node: node}}
		m[node] = h
	}
	before := h.last
	h.last = &raw
	if !inside || before == nil {
		return
	}
	h.Load = h.Load || raw.Devices != nil || raw.Customers != nil
	h.PacketsDropped += gained(before.Host.SoftnetDrops, raw.Host.SoftnetDrops)
	h.ListenOverflows += gained(before.Host.ListenOverflows, raw.Host.ListenOverflows)
	h.ConnectionsLost += gained(connectionsLost(before), connectionsLost(&raw))
	h.pausedMS += float64(gained(before.Agent.GCPauseNS, raw.Agent.GCPauseNS)) / 1e6
	h.GCPauseMaxMS = max(h.GCPauseMaxMS, float64(raw.Agent.GCPauseMaxNS)/1e6)
	h.seconds += float64(raw.At-before.At) / 1e9
	if n.CPUs > 0 {
		h.agentCPU = append(h.agentCPU, n.AgentCPU/float64(n.CPUs)/10)
	}
}

// evidence is what the verdict looks at, in the order of the nodes' names.
func (m healthMeter) evidence() []measure.NodeHealth {
	var all []measure.NodeHealth
	for _, name := range slices.Sorted(maps.Keys(m)) {
		h := m[name]
		if h.seconds <= 0 {
			continue // nothing was taken in the window
		}
		e := h.NodeHealth
		e.GCPausePercent = h.pausedMS / 10 / h.seconds
		if cpu := measure.Summarize(h.agentCPU).Mean; cpu != nil {
			e.AgentCPU = *cpu
		}
		all = append(all, e)
	}
	return all
}
