package campaign

import (
	"math"
	"testing"

	"bela/agents/protocol"
	"bela/event"
	"bela/measure"
)

// sampleAt is a node's sample a number of seconds after the start, with
// counters that began long before.
func sampleAt(second int64, change func(*protocol.Sample)) protocol.Sample {
	s := protocol.Sample{
		At:   second * 1e9,
		Host: protocol.HostSample{CPUs: 2, SoftnetDrops: 100, SoftnetSqueezed: 10, ListenOverflows: 50, ListenDrops: 60, TCPRetransmits: 1000},
	}
	s.Agent.GCPauseNS = 5e9
	s.Devices = &protocol.DevicesSample{}
	if change != nil {
		change(&s)
	}
	return s
}

// What a node noticed must become the right rate in its second and the right
// evidence of the window: counters that a machine has had since it was started
// are no evidence, and neither is what happened during warm-up.
func TestHealthOfAWindow(t *testing.T) {
	use := newUseMeter(window{from: 2e9, to: 4e9})
	m := nodeMeter{node: "iot-1"}
	var seconds []event.NodeSample
	feed := func(second int64, change func(*protocol.Sample)) {
		s := sampleAt(second, change)
		if rates, ok := m.add(s); ok {
			use.add(rates, s)
			seconds = append(seconds, rates)
		}
	}
	warm := func(s *protocol.Sample) { // all of it before the window
		s.Host.SoftnetDrops += 5
		s.Host.ListenOverflows += 5
		s.Agent.GCPauseMaxNS, s.Agent.GCPauseNS = 90e6, s.Agent.GCPauseNS+90e6
		s.Agent.CPUNS = 1e9
		s.Devices.Lost = 4
	}
	scheduling := int64(16_000)
	feed(0, nil)
	feed(1, nil)
	feed(2, warm)
	feed(3, func(s *protocol.Sample) {
		warm(s)
		s.Agent.GCPauseMaxNS = 6e6
		s.Agent.GCPauseNS += 10e6
		s.Agent.SchedulingP99NS = &scheduling
		s.Agent.CPUNS += 1e9
		s.Host.SoftnetDrops += 2
		s.Host.TCPRetransmits += 8
	})
	feed(4, func(s *protocol.Sample) {
		warm(s)
		s.Agent.GCPauseMaxNS = 2e6
		s.Agent.GCPauseNS += 20e6
		s.Agent.CPUNS += 2e9
		s.Host.SoftnetDrops += 3
		s.Host.ListenOverflows++
		s.Host.ListenDrops += 2
		s.Devices.Lost = 6
		s.Customers = &protocol.CustomersSample{Lost: 1}
	})
	feed(6, func(s *protocol.Sample) { // after the window
		warm(s)
		s.Host.SoftnetDrops += 1000
		s.Devices.Lost = 100
	})
	got := use.health.evidence()
	want := measure.NodeHealth{
		Node: "iot-1", Load: true, PacketsDropped: 3, ListenOverflows: 1, ConnectionsLost: 3,
		AgentCPU: 50, GCPausePercent: 1, GCPauseMaxMS: 6,
	}
	if len(got) != 1 || math.Abs(got[0].GCPausePercent-1) > 1e-9 {
		t.Fatalf("%+v, want %+v", got, want)
	}
	got[0].GCPausePercent = want.GCPausePercent
	if got[0] != want {
		t.Errorf("%+v\nwant %+v", got[0], want)
	}
	third := seconds[2]
	if third.SoftnetDrops != 2 || third.TCPRetransmits != 8 || third.AgentGCPause != 10 || third.AgentGCPauseMax != 6 || third.AgentScheduling == nil || *third.AgentScheduling != 0.016 {
		t.Errorf("the third second: %+v", third)
	}
	if last := seconds[len(seconds)-1]; last.SoftnetDrops != 997.0/2 || last.ConnectionsLost != 93 {
		t.Errorf("a second that took two: %+v", last)
	}
}

// An agent that was started again counts from 0: that must not become a rate
// below zero, nor hide what it lost since.
func TestHealthOfACounterThatBeganAnew(t *testing.T) {
	before := sampleAt(1, func(s *protocol.Sample) { s.Devices.Lost = 9 })
	after := sampleAt(2, func(s *protocol.Sample) { s.Devices.Lost, s.Agent.GCPauseNS = 2, 3e6 })
	var n event.NodeSample
	healthRates(&n, &before, &after, 1)
	if n.ConnectionsLost != 2 || n.AgentGCPause != 3 {
		t.Errorf("%d lost, %g ms paused, want 2 and 3", n.ConnectionsLost, n.AgentGCPause)
	}
}

// A host's counters that could not be read for a second are 0 in its sample. If this
// failed, all that the machine ever dropped or used would be the next second's, and
// a good cell degraded for it.
func TestHostThatCouldNotBeReadForASecond(t *testing.T) {
	use := newUseMeter(window{from: 0, to: 9e9})
	m := nodeMeter{node: "iot-1"}
	for second := range int64(9) {
		s := sampleAt(second, func(s *protocol.Sample) {
			s.Host.CPUBusyNS = 1e15 + second*1e9 // half of its two CPUs
			s.Components = []protocol.ComponentSample{{Name: "broker", Instance: 1, PID: 7, ProcessSample: protocol.ProcessSample{Memory: 64 << 20}}}
			switch second {
			case 3: // nothing
				s.Host, s.Components[0].Memory = protocol.HostSample{}, 0
			case 6: // not all
				s.Host.SoftnetDrops, s.Host.ListenOverflows, s.Host.ListenDrops, s.Host.TCPRetransmits = 0, 0, 0, 0
			}
		})
		m.complete(&s.Host)
		if n, ok := m.add(s); ok {
			if n.TCPRetransmits != 0 || n.ListenDrops != 0 || n.CPU > 2000 {
				t.Errorf("second %d: %+v", second, n)
			}
			use.add(n, s)
		}
	}
	if h := use.health.evidence(); len(h) != 1 || h[0].PacketsDropped != 0 || h[0].ListenOverflows != 0 {
		t.Errorf("%+v of a machine that dropped nothing", h)
	}
	if load := use.load(); len(load) != 1 || math.Abs(load[0].CPU-50) > 0.1 {
		t.Errorf("%+v, want 50 %% of its CPUs", load)
	}
	var row measure.Component
	use.instance("broker", 1).fill(&row, use.window)
	if *row.MemoryMean != 64 {
		t.Errorf("%v MiB, want 64", *row.MemoryMean)
	}
}
