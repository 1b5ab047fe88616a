package campaign

import (
	"errors"
	"maps"
	"slices"

	"bela/agents/protocol"
	"bela/event"
	"bela/experiment"
	"bela/measure"
	"bela/store"
)

// record closes the books of a cell: it is all that is kept of it. failure is
// why the cell ended early, or nil.
func (c *cellRun) record(failure error) store.CellResult {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := store.CellResult{Cell: measure.Cell{
		Position: c.cell.Position, Number: c.cell.Number, Repetition: c.cell.Repetition,
		Attempt: c.ref.Attempt, Dimensions: c.ref.Dimensions, StartedAt: c.startedAt,
	}}
	if c.start == 0 {
		// Load never began: there is nothing to measure, only something to say.
		out.Cell.StartedAt = c.Now().UTC()
		out.Cell.Verdict, out.Cell.Reasons = measure.Invalid, []measure.Reason{failed(failure)}
		out.Cell.Notes = c.notes
		return out
	}
	r := &result{cellRun: c, out: &out, lateness: new(measure.Histogram)}
	r.ledger()
	r.clocks()
	r.latencies()
	r.use()
	r.verdict(failure)
	r.outcomes()
	return out
}

// failed is the reason of a cell that ended early.
func failed(err error) measure.Reason {
	if lost, ok := errors.AsType[*lostError](err); ok {
		return measure.Reason{Code: lost.code(), Verdict: measure.Invalid, Text: err.Error()}
	}
	if _, ok := errors.AsType[*faultError](err); ok {
		return measure.Reason{Code: "fault_failed", Verdict: measure.Invalid, Text: err.Error()}
	}
	return measure.Reason{Code: "cell_failed", Verdict: measure.Invalid, Text: err.Error()}
}

// result is a cell's record in the making.
type result struct {
	*cellRun
	out *store.CellResult

	correction measure.Correction
	steps      []string
	latency    *measure.Histogram // of the measured window, corrected
	lateness   *measure.Histogram
	thirds     [3]measure.Histogram // of the measured window, for the steady state
	missing    []string             // agents without books
}

// ledger closes the books of messages.
func (r *result) ledger() {
	var published []measure.PublishAccount
	var received []measure.ReceiptAccount
	var missing measure.Missing
	var payload int64
	for _, s := range r.cell.Devices.Shares {
		if b := r.books[s.Node]; b != nil && b.Devices != nil {
			published = append(published, b.Devices.Accounts...)
			r.lateness.Merge(b.Devices.Lateness)
			payload += b.Devices.PayloadBytes
		} else {
			missing.Devices = append(missing.Devices, numbers(s)...)
			r.missing = append(r.missing, s.Node)
		}
	}
	for _, s := range r.cell.Customers.Shares {
		if b := r.books[s.Node]; b != nil && b.Customers != nil {
			received = append(received, b.Customers.Accounts...)
		} else {
			missing.Customers = append(missing.Customers, numbers(s)...)
			r.missing = append(r.missing, s.Node)
		}
	}
	cell := &r.out.Cell
	expected := func(d int) []int { return owners(r.cell, d) }
	cell.Ledger, r.out.Devices = measure.CloseLedger(published, received, expected, missing)
	if cell.Ledger.Dropped > 0 {
		cell.Losses = measure.ChargeLosses(published, received, expected, missing, r.chain())
	}
	cell.MeasuredSeconds = float64(r.window.to-r.window.from) / 1e9
	per := func(n int64) *float64 {
		v := float64(n) / cell.MeasuredSeconds
		return &v
	}
	// A rate is of all devices and customers, or not known.
	if len(missing.Devices) > 0 {
		return
	}
	cell.OfferedRate, cell.AchievedRate = per(cell.Ledger.Intended), per(cell.Ledger.Published)
	if n := cell.Ledger.Published; n > 0 {
		size := float64(payload) / float64(n)
		cell.Payload = &size
	}
	if len(missing.Customers) == 0 {
		cell.DeliveredRate = per(cell.Ledger.Delivered + cell.Ledger.Late)
		drops := float64(cell.Ledger.Dropped) * 300 / cell.MeasuredSeconds
		cell.DropsPer5Min = &drops
	}
}

func numbers(s experiment.Share) []int {
	all := make([]int, s.Count)
	for i := range all {
		all[i] = s.First + i
	}
	return all
}

// latencies merges what the customers' agents recorded, each second corrected
// for the clocks of both ends, and makes the series of it.
func (r *result) latencies() {
	books := &measure.LatencyBooks{Start: r.start, From: r.window.from, To: r.window.to, ServiceSeconds: protocol.ServiceSeconds}
	for _, m := range r.devices {
		books.Sources = append(books.Sources, m.name())
	}
	for _, s := range r.cell.Customers.Shares {
		if b := r.books[s.Node]; b != nil && b.Customers != nil {
			books.Nodes = append(books.Nodes, measure.NodeLatencies{Node: s.Node, Latency: b.Customers.Latency, Service: b.Customers.Service})
		}
	}
	l := r.correction.Latencies(*books)
	seconds := make(map[int]*second)
	for _, s := range r.cell.Devices.Shares {
		if b := r.books[s.Node]; b != nil && b.Devices != nil {
			for t, n := range b.Devices.PublishedPerSecond {
				secondAt(seconds, t).published += n
			}
		}
	}
	for _, s := range l.Seconds {
		sec := secondAt(seconds, s.T)
		sec.delivered, sec.latency = s.Latency.Count(), s.Latency
	}
	r.series(seconds)
	r.faults(seconds)
	cell := &r.out.Cell
	r.latency, r.thirds = l.Latency, l.Thirds
	r.out.Latency, r.out.Service, r.out.Lateness, r.out.Slices = l.Latency, l.Service, r.lateness, books
	cell.Latency, cell.Service = l.Latency.Quantiles(), l.Service.Quantiles()
	cell.NegativeLatencies = l.Latency.Negative()
	cell.LatenessP99MS = r.lateness.Quantiles().P99
	if r.clocksKnown() {
		ms := float64(l.Error) / 1e6
		cell.ClockErrorMS = &ms
	}
}

// clocksKnown tells whether the clock of any node with load is.
func (r *result) clocksKnown() bool {
	return slices.ContainsFunc(r.loaders(), func(m *member) bool {
		_, _, ok := r.correction.Residual(m.name(), r.start)
		return ok
	})
}

// second is one second of the series in the making.
type second struct {
	published, delivered int64
	latency              *measure.Histogram
}

func secondAt(seconds map[int]*second, t int) *second {
	if seconds[t] == nil {
		seconds[t] = &second{latency: new(measure.Histogram)}
	}
	return seconds[t]
}

// series lays the seconds of load out in a row.
func (r *result) series(seconds map[int]*second) {
	if len(seconds) == 0 {
		return
	}
	last := slices.Max(slices.Collect(maps.Keys(seconds)))
	for t := 0; t <= last; t++ {
		s := seconds[t]
		if s == nil {
			s = &second{latency: new(measure.Histogram)}
		}
		q := s.latency.Quantiles()
		r.out.Series = append(r.out.Series, measure.Second{
			T: t, Phase: string(r.meter.phase(int64(t))), Published: s.published, Delivered: s.delivered, Dropped: r.dropped(s),
			P5: q.P5, P50: q.P50, P99: q.P99,
		})
	}
}

// dropped is what was due in a second and never came; nil where the books do not
// say. Of an open ledger it could be below zero: more came than was sent.
func (r *result) dropped(s *second) *int64 {
	if len(r.missing) > 0 || !r.out.Cell.Ledger.Closed {
		return nil
	}
	n := s.published*int64(r.fanOut()) - s.delivered
	return &n
}

// use fills in what components and hops used.
func (r *result) use() {
	cell := &r.out.Cell
	u := r.cellRun.use
	cell.Components = u.components(r.cell)
	cell.BrokerIn, cell.BrokerOut = u.throughput(r.cell, experiment.KindBroker)
	cell.GatewayIn, cell.GatewayOut = u.throughput(r.cell, experiment.KindGateway)
	cell.HubIn, _ = u.throughput(r.cell, experiment.KindHub)
	cell.DropsByHop = u.drops()
}

// verdict judges the cell.
func (r *result) verdict(failure error) {
	cell := &r.out.Cell
	e := measure.Evidence{
		Ledger: cell.Ledger, MissingBooks: r.missing,
		OfferedRate: cell.OfferedRate, AchievedRate: cell.AchievedRate,
		Lateness: cell.LatenessP99MS, LatencyP50: cell.Latency.P50, ClockError: cell.ClockErrorMS,
		ClockSteps: r.steps, Latencies: r.latency.Count(), Negative: r.latency.Negative(),
		Nodes: r.cellRun.use.load(), Health: r.cellRun.use.health.evidence(), SharedMachine: r.Lab, Generators: r.generators(),
		Unenforced: r.limits, Exited: slices.Concat(r.exits, r.forgiven), RestartsAllowed: len(r.exits) == 0,
		FirstP50: r.thirds[0].Quantiles().P50, LastP50: r.thirds[2].Quantiles().P50,
		WarmUp: measure.CheckWarmUp(r.out.Series), LostEvents: r.lostEvents(),
	}
	r.apart(&e)
	cell.Notes = r.notes
	lost, isLost := errors.AsType[*lostError](failure)
	switch {
	case isLost && lost.code() == "agent_lost":
		e.LostAgents = []string{lost.named()}
	case isLost:
		e.LostNodes = []string{lost.named()}
	}
	cell.Verdict, cell.Reasons = measure.Judge(e)
	if failure != nil && !isLost {
		cell.Verdict = measure.Invalid
		cell.Reasons = append([]measure.Reason{failed(failure)}, cell.Reasons...)
	}
}

// outcomes holds the experiment's expectations against the cell.
func (r *result) outcomes() {
	cell := &r.out.Cell
	outcomes, err := r.Expect(r.cell, Metrics(*cell), r.measuredBefore()...)
	if err != nil {
		// The one that cannot be worked out is unknown; the others stand.
		r.emit(event.Message{Level: "error", Position: r.cell.Position, Text: "expectations: " + err.Error()})
	}
	for _, o := range outcomes {
		cell.Outcomes = append(cell.Outcomes, measure.Outcome{Name: o.Name, State: string(o.Status), Message: o.Message})
	}
}

// measuredBefore are the cells that are done and fit to be held against.
func (r *result) measuredBefore() []experiment.Measured {
	var before []experiment.Measured
	for _, c := range r.results {
		i := slices.IndexFunc(r.Plan.Cells, func(p experiment.Cell) bool { return p.Position == c.Position })
		if i >= 0 && c.Verdict != measure.Invalid && c.Position != r.cell.Position {
			before = append(before, experiment.Measured{Cell: r.Plan.Cells[i], Metrics: Metrics(c)})
		}
	}
	return before
}
