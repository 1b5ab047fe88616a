package tui

import (
	"fmt"
	"math"
	"time"

	"bela/event"
	"bela/measure"
)

// evil is what a hostile or broken node may put into its text: it would set the
// window's title, clear the screen, and reorder what is read.
const evil = "boom \x1b]0;evil\x07\x1b[2J\u009b31m\u202eexe\r\nnext\xff"

// script is a run of four cells as the campaign tells it: devices wait to
// connect, a component exits, a node is lost, a cell is degraded, one is invalid.
type script struct {
	start  time.Time
	now    time.Time
	events []event.Event
	cells  []event.CellRef
	nodes  []event.NodeRef
	lost   map[string]bool
}

func qos1() *script {
	start := time.Date(2020, 11, 14, 10, 0, 0, 0, time.UTC)
	s := &script{start: start, now: start, lost: map[string]bool{}}
	for i, devices := range []float64{1, 100, 500, 1000} {
		s.cells = append(s.cells, event.CellRef{
			Position: i + 1, Number: i + 1, Repetition: 1, Attempt: 1, Expected: 65 * time.Second,
			Dimensions: []measure.Dimension{{Name: "devices", Value: devices}, {Name: "qos", Value: 1.0}},
		})
	}
	for i, n := range []string{"master-1", "worker-1", "worker-2", "iot-1", "iot-2", "customer-1"} {
		role := []string{"master", "worker", "worker", "iot", "iot", "customer"}[i]
		s.nodes = append(s.nodes, event.NodeRef{Name: n, Role: role, Address: fmt.Sprintf("10.2.0.%d:22", 10+i)})
	}
	s.add(event.RunStarted{
		Run: "20201114T100000Z-3f9a", Experiment: "qos1", Directory: "results/qos1/20201114T100000Z-3f9a",
		Dimensions: []string{"devices", "qos"}, Cells: s.cells, Nodes: s.nodes,
		Components: []string{"broker", "gateway", "nats", "hub"}, Expected: 260 * time.Second,
	})
	return s
}

func (s *script) add(d event.Data) {
	s.events = append(s.events, event.Event{Seq: uint64(len(s.events) + 1), Time: s.now, Data: d})
}

func (s *script) pass(d time.Duration) { s.now = s.now.Add(d) }

func (s *script) connect() {
	for _, n := range s.nodes {
		s.add(event.NodeState{Node: n.Name, State: "connecting"})
	}
	s.pass(900 * time.Millisecond)
	for _, n := range s.nodes {
		s.add(event.NodeState{Node: n.Name, State: "connected"})
	}
	s.pass(600 * time.Millisecond)
	for _, n := range s.nodes {
		s.add(event.NodeState{Node: n.Name, State: "ready"})
	}
	s.add(event.Message{Level: "info", Text: "clock offsets are within 0.08 ms on all nodes"})
	s.pass(500 * time.Millisecond)
}

func (s *script) phase(i int, p event.Phase, limit time.Duration, fixed bool) {
	s.add(event.PhaseStarted{Position: i, Phase: p, Limit: limit, Fixed: fixed})
}

// components brings the instances of a cell up.
func (s *script) components(i int) {
	for _, c := range instances {
		s.add(event.ComponentState{Position: i, Component: c.name, Instance: c.instance, Node: c.node, State: "starting"})
		s.pass(150 * time.Millisecond)
		s.add(event.ComponentState{Position: i, Component: c.name, Instance: c.instance, Node: c.node, State: "ready"})
	}
}

var instances = []struct {
	name     string
	instance int
	node     string
	share    float64 // mCPU a message a second
	memory   float64
}{
	{"broker", 1, "worker-1", 0.31, 41},
	{"gateway", 1, "worker-1", 0.22, 28},
	{"gateway", 2, "worker-2", 0.23, 27},
	{"nats", 1, "worker-2", 0.09, 22},
	{"hub", 1, "worker-2", 0.18, 31},
}

// wobble is a small wave that is the same in every run.
func wobble(t int, by float64) float64 {
	return 1 + by*math.Sin(float64(t)*0.9) + by/2*math.Sin(float64(t)*2.3)
}

// second is one second of load and of samples.
func (s *script) second(i, t int, p event.Phase, devices float64, total *int64) {
	s.pass(time.Second)
	published := math.Round(devices * wobble(t, 0.04))
	if devices == 1 {
		published = 1
	}
	*total += int64(published)
	p5, p50, p99, late := 1.1, (2.1+devices/400)*wobble(t, 0.08), (4+devices/90)*wobble(t+3, 0.25), 0.18*wobble(t, 0.3)
	s.add(event.Load{
		Position: i, T: t, Phase: p, Devices: int(devices), Customers: 4, Published: published, Delivered: math.Max(published-math.Round(devices/200), 0),
		PublishedTotal: *total, DeliveredTotal: *total - int64(devices/80), UnderWay: int64(devices / 80 * wobble(t, 0.5)),
		P5: &p5, P50: &p50, P99: &p99, Lateness: &late, Bands: spread(p50, p99, int64(published)),
	})
	clockError := 0.07
	for k, n := range s.nodes {
		if s.lost[n.Name] {
			continue
		}
		sample := event.NodeSample{
			Position: i, T: t, Node: n.Name, CPUs: 4, CPU: (120 + devices*float64(1+k%3)*0.55) * wobble(t+k, 0.1),
			Memory: 610 + 240*float64(k), MemoryTotal: 4096, ClockError: &clockError, NetIn: devices * 1100, NetOut: devices * 1180, Load1: 0.4,
		}
		if n.Role == "iot" {
			sent := late * float64(1+10*(k-3))
			sample.Lateness, sample.TCPRetransmits = &sent, float64(k-3)
		}
		for _, c := range instances {
			if c.node == n.Name {
				sample.Components = append(sample.Components, event.ComponentSample{
					Component: c.name, Instance: c.instance, CPU: (6 + devices*c.share) * wobble(t, 0.12), Memory: c.memory + devices/60,
					Counted: true, MessagesIn: published, MessagesOut: published,
				})
			}
		}
		s.add(sample)
	}
}

// prelude is a cell until its devices connect.
func (s *script) prelude(i int) {
	s.add(event.CellStarted{Cell: s.cells[i-1]})
	s.phase(i, event.PhaseClean, 20*time.Second, false)
	s.pass(700 * time.Millisecond)
	s.phase(i, event.PhaseStart, 30*time.Second, false)
	s.add(event.Waiting{Position: i, Phase: event.PhaseStart, For: []string{"broker/1 on worker-1", "gateway/1 on worker-1"}})
	s.components(i)
	s.add(event.Waiting{Position: i, Phase: event.PhaseStart})
	s.phase(i, event.PhaseConnect, 30*time.Second, false)
	s.pass(2 * time.Second)
}

// probe is the one message through the whole chain before the load.
func (s *script) probe(i int) {
	s.phase(i, event.PhaseProbe, 10*time.Second, false)
	s.pass(300 * time.Millisecond)
}

// load is the probe, the warm-up, and the first played seconds of measuring.
func (s *script) load(i int, devices float64, warmup, length, played int) {
	var total int64
	s.probe(i)
	s.phase(i, event.PhaseWarmup, time.Duration(warmup)*time.Second, true)
	t := 0
	for ; t < warmup; t++ {
		s.second(i, t, event.PhaseWarmup, devices, &total)
	}
	s.phase(i, event.PhaseMeasure, time.Duration(length)*time.Second, true)
	for ; t < warmup+played; t++ {
		s.second(i, t, event.PhaseMeasure, devices, &total)
	}
}

func (s *script) after(i int) {
	s.phase(i, event.PhaseDrain, 15*time.Second, false)
	s.pass(1200 * time.Millisecond)
	s.phase(i, event.PhaseCollect, 30*time.Second, false)
	s.pass(800 * time.Millisecond)
	s.phase(i, event.PhaseStop, 20*time.Second, false)
	for _, c := range instances {
		s.add(event.ComponentState{Position: i, Component: c.name, Instance: c.instance, Node: c.node, State: "stopped"})
	}
	s.pass(500 * time.Millisecond)
}

// result finishes a cell.
func (s *script) result(i int, devices float64, verdict measure.Verdict, dropped int64, reasons ...measure.Reason) {
	n := int64(devices * 15)
	delivered, p50, p99 := devices-float64(dropped)/15, 2.1+devices/400, 4+devices/90
	r := measure.Cell{
		Position: i, Number: i, Repetition: 1, Attempt: s.cells[i-1].Attempt, Dimensions: s.cells[i-1].Dimensions,
		Verdict: verdict, Reasons: reasons, StartedAt: s.now, MeasuredSeconds: 15,
		Ledger:        measure.Ledger{Intended: n, Published: n, Acked: n, Expected: n, Delivered: n - dropped, Dropped: dropped, Closed: true},
		DeliveredRate: &delivered, Latency: measure.Quantiles{Count: n - dropped, P50: &p50, P99: &p99},
	}
	if devices <= 500 && dropped > 0 {
		r.Outcomes = []measure.Outcome{{Name: "no drops up to 500 devices", State: "failed", Message: "dropped = 12"}}
	}
	s.add(event.CellFinished{Cell: s.cells[i-1], Result: r})
	s.pass(300 * time.Millisecond)
}

// waitingForDevices goes on to where the second cell waits for three devices.
func waitingForDevices() *script {
	s := qos1()
	s.connect()
	s.prelude(1)
	s.load(1, 1, 5, 15, 15)
	s.after(1)
	s.result(1, 1, measure.Valid, 0)
	s.prelude(2)
	s.add(event.Waiting{Position: 2, Phase: event.PhaseConnect, For: []string{"device-0017 on iot-1", "device-0042 on iot-1", "device-0077 on iot-2"}})
	s.pass(3 * time.Second)
	for k, n := range s.nodes {
		s.add(event.NodeSample{Position: 2, T: -1, Node: n.Name, CPUs: 4, CPU: 180, Memory: 610 + 240*float64(k), MemoryTotal: 4096})
	}
	return s
}

// measuring goes on to the middle of the third cell's measured window.
func measuring() *script {
	s := waitingForDevices()
	s.add(event.Waiting{Position: 2, Phase: event.PhaseConnect})
	s.load(2, 100, 5, 15, 15)
	s.add(event.ComponentState{
		Position: 2, Component: "gateway", Instance: 2, Node: "worker-2", State: "exited", Detail: "exit status 137 (out of memory)",
		Log: []string{"level=INFO msg=\"queue is full\" queue=1024", evil},
	})
	s.add(event.ComponentState{Position: 2, Component: "gateway", Instance: 2, Node: "worker-2", State: "restarted", Detail: "after 1s"})
	s.after(2)
	s.result(2, 100, measure.Degraded, 12, measure.Reason{Code: "component_restarted", Verdict: measure.Degraded, Text: "gateway/2 restarted once in the measured window"})
	s.prelude(3)
	s.add(event.Message{Level: "warn", Position: 3, Node: "iot-1", Text: "the generator is late: p99 1.9 ms, at most 1 ms", Next: "use more iot nodes, or fewer devices a node"})
	s.load(3, 500, 5, 15, 11)
	return s
}

// nodeLost goes on to where the third cell has lost a node.
func nodeLost() *script {
	s := measuring()
	s.lost["iot-2"] = true
	s.add(event.NodeState{Node: "iot-2", State: "lost", Detail: "no answer for 5s: read tcp 10.2.0.14:22: connection reset by peer"})
	s.add(event.Message{Level: "error", Position: 3, Node: "iot-2", Text: evil, Next: "see ssh -v bela@10.2.0.14, then bela resume latest"})
	total := int64(8000)
	for t := 16; t < 20; t++ {
		s.second(3, t, event.PhaseMeasure, 250, &total)
	}
	return s
}

// whole is the run to its end: the third cell is invalid, the fourth one valid
// at its second attempt.
func whole() *script {
	s := nodeLost()
	s.after(3)
	s.result(3, 500, measure.Invalid, 2210, measure.Reason{Code: "node_lost", Verdict: measure.Invalid, Text: "iot-2 was lost 11s into the measured window"})
	delete(s.lost, "iot-2")
	s.add(event.NodeState{Node: "iot-2", State: "connected"})
	s.add(event.NodeState{Node: "iot-2", State: "ready"})
	s.cells[3].Attempt = 2
	s.prelude(4)
	s.load(4, 1000, 5, 15, 15)
	s.after(4)
	s.result(4, 1000, measure.Valid, 0)
	s.add(event.RunFinished{Status: 4, Reason: "1 cell is invalid", Valid: 2, Degraded: 1, Invalid: 1, Directory: "results/qos1/20201114T100000Z-3f9a"})
	return s
}

// faulty is a run in the middle of a fault, after a cell that was skipped.
func faulty() *script {
	s := measuring()
	s.add(event.FaultStarted{Fault: event.Fault{Position: 2, Name: "far", Does: "slow", Target: "iot-1"}, Text: "slow iot-1 ↔ worker-1: delay 50ms", For: 30})
	s.pass(4 * time.Second)
	s.add(event.CellSkipped{Cell: s.cells[0], By: "the operator, in the dashboard"})
	return s
}

// spread puts a second's messages into the bands of latency: most around p50, a few
// around p99.
func spread(p50, p99 float64, n int64) []int64 {
	bounds := event.LatencyBounds()
	out := make([]int64, len(bounds)+1)
	band := func(ms float64) int {
		for i, b := range bounds {
			if time.Duration(ms*1e6) < b {
				return i
			}
		}
		return len(bounds)
	}
	out[band(p99)] += n / 50
	out[band(p50/2)] += n / 5
	out[band(p50)] += n - n/50 - n/5
	return out
}
