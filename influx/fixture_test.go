package influx

import (
	"fmt"
	"time"

	"bela/event"
	"bela/measure"
)

// start is when the fixtures' runs begin.
var start = time.Date(2026, 11, 21, 1, 2, 3, 456789123, time.UTC)

func ptr(v float64) *float64 { return &v }

// fixtureCells are the cells of two device counts in two repetitions.
func fixtureCells() []event.CellRef {
	var cells []event.CellRef
	for i := range 4 {
		cells = append(cells, event.CellRef{
			Position: i + 1, Number: i%2 + 1, Repetition: i/2 + 1,
			Dimensions: []measure.Dimension{
				{Name: "qos", Value: float64(1)},
				{Name: "devices", Value: float64(100 * (i%2 + 1))},
				{Name: "codec", Value: "msg pack,v=1"},
				{Name: "shared", Value: true},
			},
		})
	}
	return cells
}

// fixtureRun is the events of a whole run with every kind of number in it:
// seconds seconds a cell on five nodes, with time as the events' time of each
// second, and the second cell tried twice.
func fixtureRun(seconds int, at func(second int) time.Time) []event.Event {
	f := &fixture{at: at}
	nodes := []event.NodeRef{
		{Name: "master-1", Role: "master"}, {Name: "worker-1", Role: "worker"}, {Name: "worker-2", Role: "worker"},
		{Name: "iot-1", Role: "iot"}, {Name: "customer-1", Role: "customer"},
	}
	cells := fixtureCells()
	f.add(event.RunStarted{Run: "20261121T010203Z-k3f9", Experiment: "qos 1", Cells: cells, Nodes: nodes})
	f.samples(0, -1, nodes)
	for _, c := range cells {
		attempts := 1
		if c.Position == 2 {
			attempts = 2
		}
		for c.Attempt = 1; c.Attempt <= attempts; c.Attempt++ {
			f.cell(c, seconds, nodes)
		}
	}
	f.add(event.RunFinished{})
	return f.events
}

// steady is one event a second, all events of a second at the same instant.
func steady(second int) time.Time { return start.Add(time.Duration(second) * time.Second) }

type fixture struct {
	events []event.Event
	at     func(int) time.Time
	second int
}

func (f *fixture) add(d event.Data) {
	f.events = append(f.events, event.Event{Seq: uint64(len(f.events) + 1), Time: f.at(f.second), Data: d})
}

func (f *fixture) cell(c event.CellRef, seconds int, nodes []event.NodeRef) {
	f.add(event.CellStarted{Cell: c})
	f.add(event.PhaseStarted{Position: c.Position, Phase: event.PhaseMeasure, Limit: 300 * time.Second, Fixed: true})
	fault := event.Fault{
		Position: c.Position, Name: "far, away", Does: "slow", Target: "iot-1 ↔ worker-1", T: 0.125,
		Measured: []string{"iot-1: round trip before: 0.1 ms"},
	}
	if c.Position == 1 {
		f.add(event.FaultStarted{Fault: fault, Text: "slow iot-1 ↔ worker-1: delay 50ms", For: 1})
		f.add(event.FaultHealed{Fault: fault, Lasted: 1})
	}
	for t := range seconds {
		f.second++
		f.samples(c.Position, t, nodes)
		l := event.Load{
			Position: c.Position, T: t, Phase: event.PhaseMeasure, Devices: 100, Customers: 4,
			Published: 99.5, Delivered: 98.25, PublishedTotal: int64(100 * t), DeliveredTotal: int64(98 * t), UnderWay: int64(2 * t),
		}
		if t > 0 { // nothing has arrived in the first second
			l.P5, l.P50, l.P99, l.Lateness = ptr(-0.125), ptr(2.5), ptr(17.75), ptr(0.1)
		}
		f.add(l)
	}
	f.add(event.CellFinished{Cell: c, Result: fixtureResult(c)})
}

func (f *fixture) samples(position, t int, nodes []event.NodeRef) {
	for i, n := range nodes {
		scheduling := 0.016
		s := event.NodeSample{
			Position: position, T: t, Node: n.Name, CPUs: 8, CPU: 1234.5 + float64(i), Steal: 0, Memory: 2048.25, MemoryTotal: 16384,
			NetIn: 1e9 / 3, NetOut: 1e-9, Load1: 0.5, AgentCPU: 3.25, AgentMemory: 20,
			RunQueue: 3, SoftnetSqueezed: 2, AgentGCPause: 0.25, AgentGCPauseMax: 0.125, AgentGoroutines: 40, AgentScheduling: &scheduling,
		}
		if n.Role == "worker" && position > 0 {
			s.Components = []event.ComponentSample{
				{Component: "broker", Instance: i, CPU: 350, Memory: 100.5, Counted: true, MessagesIn: 100, MessagesOut: 99, BytesIn: 1e5, BytesOut: 9e4, Dropped: 1},
				{Component: "own process", Instance: i, CPU: 1, Memory: 2, Restarts: 3, NetIn: ptr(1e6), NetOut: ptr(2e6), NetMessagesIn: ptr(10), NetMessagesOut: ptr(20),
					NetDropped: ptr(0), NetSource: "sys", Throttled: ptr(12.5), OOMKills: count(1), MemoryPeak: ptr(2.5)},
			}
		}
		f.add(s)
	}
}

func count(n int64) *int64 { return &n }

func fixtureResult(c event.CellRef) measure.Cell {
	q := measure.Quantiles{Count: 9, Mean: ptr(1), P5: ptr(2), P50: ptr(3), P95: ptr(4), P99: ptr(5), P999: ptr(6), Max: ptr(7)}
	r := measure.Cell{
		Position: c.Position, Number: c.Number, Repetition: c.Repetition, Attempt: c.Attempt, Dimensions: c.Dimensions,
		Verdict: measure.Degraded, Reasons: []measure.Reason{{Code: "generator_late"}, {Code: "cpu_steal"}}, MeasuredSeconds: 300,
		Ledger: measure.Ledger{Intended: 14, Unsent: 1, Failed: 2, Published: 11, Acked: 10, Expected: 11, Delivered: 6, Late: 2, Dropped: 2,
			Unknown: 1, Duplicated: 3, Reordered: 4, InDoubt: 1, Phantom: 0, Closed: true},
		DropsPer5Min: ptr(2), OfferedRate: ptr(14), AchievedRate: ptr(11), DeliveredRate: ptr(8), Payload: ptr(1024), Latency: q, Service: q,
		ClockErrorMS: ptr(0.05), NegativeLatencies: 1, LatenessP99MS: ptr(0.5),
		BrokerIn: ptr(1), BrokerOut: ptr(2), GatewayIn: ptr(3), GatewayOut: ptr(4), HubIn: ptr(5),
		DropsByHop: map[string]map[string]int64{"gateway": {"timeout": 1, "queue full": 2}, "broker": {"disconnected": 3}},
		Outcomes:   []measure.Outcome{{State: "held"}, {State: "failed"}, {State: "unknown"}, {State: "held"}},
	}
	for i := range 2 {
		r.Components = append(r.Components, measure.Component{
			Component: "broker", Instance: i + 1, Node: fmt.Sprintf("worker-%d", i+1), CPUMean: ptr(1), CPUP95: ptr(2), CPUMax: ptr(3),
			MemoryMean: ptr(4), MemoryMax: ptr(5), NetIn: ptr(6), NetOut: ptr(7), Restarts: 1,
			CPUThrottled: ptr(1.5), OOMKills: count(2), MemoryPeak: ptr(8), NetSource: "own",
			MessagesIn: ptr(500), MessagesOut: ptr(499.5), MessageIn: ptr(280), MessageOut: ptr(221), Share: ptr(0.5), MaxOverMean: ptr(1), ShareCV: ptr(0),
		})
	}
	return r
}

// encodeAll encodes events as a run does.
func encodeAll(events []event.Event) []byte {
	e := NewEncoder("qos 1", "20261121T010203Z-k3f9")
	var b []byte
	for _, ev := range events {
		b = e.Append(b, ev)
	}
	return b
}
