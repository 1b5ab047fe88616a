package campaign

import (
	"math"
	"slices"
	"testing"
	"time"

	"bela/agents/clock"
	"bela/agents/protocol"
	"bela/experiment"
	"bela/measure"
	"bela/nodes"
	"bela/store"
)

// synthetic is a node's clock whose truth is known: local = true + offset +
// drift × (true − since).
type synthetic struct {
	offset, since int64
	drift         float64
}

func (s synthetic) local(truth int64) int64 {
	return truth + s.offset + int64(math.Round(s.drift*float64(truth-s.since)))
}

// probed is an exchange that takes 100 µs each way and 20 µs at the agent.
func (s synthetic) probed(truth int64) measure.ProbeSample {
	return measure.ProbeSample{T1: truth, T2: s.local(truth + 100e3), T3: s.local(truth + 120e3), T4: truth + 220e3}
}

// member is a node with this clock, after the probes before a cell: it has been
// told its axis as a real one is. stamp is what its agent takes a true time for.
func (s synthetic) member(t *testing.T, name string, start int64) (m *member, stamp func(truth int64) int64) {
	t.Helper()
	m = &member{target: nodes.Target{Name: name}}
	for i := range int64(probesAround) {
		m.clock.add(s.probed(start - 2e9 + i*1e6))
	}
	fit, err := m.clock.fit()
	if err != nil {
		t.Fatal(err)
	}
	m.clock.applied = axisOf(fit)
	agent := clock.New(clock.Options{})
	agent.Set(m.clock.applied)
	return m, func(truth int64) int64 { return agent.FromLocal(s.local(truth)) }
}

// during adds the probes of a cell: one a second, and those after it.
func (s synthetic) during(m *member, start int64, seconds int) {
	for i := range int64(seconds) {
		m.clock.add(s.probed(start + i*1e9))
	}
	for i := range int64(probesAround) {
		m.clock.add(s.probed(start + int64(seconds)*1e9 + i*1e6))
	}
}

var clocksApart = map[string]synthetic{
	"right":        {},
	"ahead":        {offset: 100e6, since: 1_800_000_000e9, drift: 50e-6},
	"behind":       {offset: -100e6, since: 1_800_000_000e9, drift: -50e-6},
	"another year": {offset: -5 * 365 * 86400e9, since: 1_800_000_000e9, drift: 200e-6},
}

// The correction is the difference of two large numbers. If it lost a
// microsecond on the way, all latencies of all cells would.
func TestResidualIsExact(t *testing.T) {
	const start = int64(1_800_000_010_987_654_321)
	const seconds = 300
	for name, s := range clocksApart {
		m, stamp := s.member(t, name, start)
		s.during(m, start, seconds)
		kept := m.known()
		if len(kept.Probes) != 2*probesAround+seconds || len(kept.Fit.Steps) != 0 {
			t.Fatalf("%s: %d probes are kept, the fit is %+v", name, len(kept.Probes), kept.Fit)
		}
		known := measure.NewCorrection([]measure.NodeClock{kept}, nil)
		var worst int64
		for truth := start; truth < start+seconds*1e9; truth += 777_777_777 {
			taken := stamp(truth)
			correction, uncertainty, _ := known.Residual(kept.Node, taken)
			off := taken + correction - truth
			worst = max(worst, off, -off)
			if uncertainty < 100e3 || uncertainty > 150e3 {
				t.Fatalf("%s: the uncertainty is %d ns, want half a round trip of 200 µs", name, uncertainty)
			}
		}
		t.Logf("%s: off by %d ns at most", name, worst)
		if worst >= 1000 {
			t.Errorf("%s: corrected times are off by %d ns", name, worst)
		}
	}
}

// flow is a cell in which one message a 100 ms takes exactly latency from a
// device to a customer, and its books as the agents would write them.
type flow struct {
	device, customer synthetic
	seconds          int
	latency          int64
}

// result is the cell's record in the making, its latencies merged. skew is added
// to the customer's times, as by a clock error that no probe saw.
func (f flow) result(t *testing.T, skew int64) *result {
	t.Helper()
	const start = int64(1_800_000_010_000_000_000)
	device, sent := f.device.member(t, "iot-1", start)
	customer, received := f.customer.member(t, "customer-1", start)
	var latency, service []measure.LatencySlice
	for second := range f.seconds {
		if second%protocol.ServiceSeconds == 0 {
			service = append(service, measure.LatencySlice{Second: int32(second), Latency: new(measure.Histogram)})
		}
		h, s := new(measure.Histogram), service[len(service)-1].Latency
		for i := range int64(10) {
			truth := start + int64(second)*1e9 + i*100e6
			took := received(truth+f.latency) + skew - sent(truth)
			h.Record(took)
			s.Record(took)
		}
		latency = append(latency, measure.LatencySlice{Second: int32(second), Latency: h})
	}
	f.device.during(device, start, f.seconds)
	f.customer.during(customer, start, f.seconds)

	cell := experiment.Cell{}
	cell.Devices.Count, cell.Devices.Shares = 1, []experiment.Share{{Node: "iot-1", Count: 1}}
	cell.Customers.Count, cell.Customers.Shares = 1, []experiment.Share{{Node: "customer-1", Count: 1}}
	length := int64(f.seconds) * 1e9
	run := &cellRun{
		runner: &runner{testbed: &testbed{members: []*member{device, customer}}},
		cell:   cell, devices: []*member{device}, customers: []*member{customer},
		start: start, window: window{start, start + length},
		meter: newLoadMeter(1, 2, 1, start, 0, time.Duration(length)),
		books: map[string]*protocol.Collected{
			"iot-1":      {Devices: &protocol.DevicesResult{PublishedPerSecond: slices.Repeat([]int64{10}, f.seconds)}},
			"customer-1": {Customers: &protocol.CustomersResult{Latency: latency, Service: service}},
		},
	}
	r := &result{
		cellRun: run, out: new(store.CellResult), lateness: new(measure.Histogram),
	}
	r.clocks()
	r.latencies()
	return r
}

// Over five minutes two clocks that drift by 50 ppm each part by 30 ms. Each
// second has to be corrected by what they were off then, or the tail of a long
// cell is the clocks' and not the platform's.
func TestLongCellIsCorrectedSecondBySecond(t *testing.T) {
	const latency = 5e6
	r := flow{clocksApart["ahead"], clocksApart["behind"], 300, latency}.result(t, 0)
	for name, h := range map[string]*measure.Histogram{"latency": r.out.Latency, "service": r.out.Service} {
		low, _ := h.Min()
		high, _ := h.Max()
		t.Logf("%s from %v to %v", name, time.Duration(low), time.Duration(high))
		// The clocks part by 100 µs a second, a slice of service times is ten
		// seconds long, and a bucket is 5 µs wide.
		most := map[string]int64{"latency": 60e3, "service": 560e3}[name]
		if h.Count() != 3000 || low < latency-most || high > latency+most {
			t.Errorf("%s: %d values from %v to %v, want 3000 of 5 ms", name, h.Count(), time.Duration(low), time.Duration(high))
		}
	}
	if r.out.Cell.NegativeLatencies != 0 || r.out.Cell.ClockErrorMS == nil || *r.out.Cell.ClockErrorMS > 0.3 {
		t.Errorf("%d negative, clock error %v", r.out.Cell.NegativeLatencies, r.out.Cell.ClockErrorMS)
	}
	for _, s := range r.out.Series {
		if s.P50 == nil || math.Abs(*s.P50-5) > 0.06 {
			t.Fatalf("second %d: p50 %v", s.T, s.P50)
		}
	}
}

// A latency below zero is a fact about the clocks. If it were dropped, the rest
// would look better than the evidence is.
func TestNegativeLatenciesAreCounted(t *testing.T) {
	r := flow{clocksApart["ahead"], clocksApart["right"], 10, 1e6}.result(t, -3e6)
	low, _ := r.out.Latency.Min()
	if n := r.out.Latency.Count(); n != 100 || r.out.Cell.Latency.Count != 100 {
		t.Errorf("%d latencies, want all 100", n)
	}
	if r.out.Cell.NegativeLatencies != 100 || math.Abs(float64(low)+2e6) > 60e3 {
		t.Errorf("%d negative, the smallest %v; want 100 of -2 ms", r.out.Cell.NegativeLatencies, time.Duration(low))
	}
	if p := r.out.Cell.Latency.P50; p == nil || math.Abs(*p+2) > 0.06 {
		t.Errorf("the median is %v ms, want -2", p)
	}
	var delivered int64
	for _, s := range r.out.Series {
		delivered += s.Delivered
	}
	if delivered != 100 {
		t.Errorf("the series has %d deliveries, want 100", delivered)
	}
}

// Of an open ledger nobody knows what was dropped: more may have come than was
// sent, and the series would have drops below zero.
func TestSeriesOfAnOpenLedgerHasNoDrops(t *testing.T) {
	r := flow{clocksApart["right"], clocksApart["right"], 3, 1e6}.result(t, 0)
	r.books["iot-1"].Devices.PublishedPerSecond = []int64{10, 9, 11} // and 10 came in each
	for closed, want := range map[bool][]int64{false: nil, true: {0, -1, 1}} {
		r.out.Cell.Ledger.Closed, r.out.Series = closed, nil
		r.latencies()
		for i, s := range r.out.Series {
			if (s.Dropped != nil) != closed || closed && *s.Dropped != want[i] {
				t.Errorf("closed is %v: second %d has drops %v", closed, s.T, s.Dropped)
			}
		}
		if len(r.out.Series) != 3 {
			t.Errorf("%d seconds", len(r.out.Series))
		}
	}
}

// The controller keeps a bounded number of probes. Those of a cell's first
// seconds must outlast its last, or the beginning of a long cell is corrected
// by guess.
func TestLongCellKeepsItsFirstProbes(t *testing.T) {
	const start = int64(1_800_000_010_000_000_000)
	s := clocksApart["ahead"]
	m, stamp := s.member(t, "iot-1", start)
	const seconds = 5 * probesKept
	s.during(m, start, seconds)
	kept := m.known()
	if n := len(kept.Probes); n > probesKept || n < probesKept/2 {
		t.Errorf("%d probes are kept, want at most %d", n, probesKept)
	}
	if first := kept.Probes[0].T1; first > start {
		t.Errorf("the first probe is of %v after the start", time.Duration(first-start))
	}
	if !slices.IsSortedFunc(kept.Probes, func(a, b measure.ProbeSample) int { return int(a.T1 - b.T1) }) {
		t.Error("the probes are out of order")
	}
	known := measure.NewCorrection([]measure.NodeClock{kept}, nil)
	for _, truth := range []int64{start, start + seconds*1e9/2, start + seconds*1e9} {
		taken := stamp(truth)
		if correction, _, _ := known.Residual(kept.Node, taken); abs64(taken+correction-truth) >= 1000 {
			t.Errorf("%v after the start, times are off by %d ns", time.Duration(truth-start), taken+correction-truth)
		}
	}
}
