package campaign

import (
	"time"

	"bela/experiment"
	"bela/measure"
)

// quietSecond is what the generators did in one second of load.
type quietSecond struct {
	intended, sent int64
	arrived        int64
	devices        int // connected at its end
	lateness       measure.Histogram
}

// faults works out what each fault cost, and what the cell's generators did
// apart from them.
func (r *result) faults(seconds map[int]*second) {
	cell := &r.out.Cell
	cell.Faults = r.faultResults()
	if len(cell.Faults) == 0 {
		return
	}
	end := int((r.window.to - r.start) / int64(time.Second))
	view := make([]measure.FaultSecond, end)
	for t := range view {
		if q := r.meter.quiet[int64(t)]; q != nil {
			view[t].Arrived = &q.arrived
		}
		s := seconds[t]
		if s == nil {
			s = &second{}
		}
		view[t].Latency, view[t].Dropped = s.latency, r.dropped(s)
	}
	cell.FaultDropped = measure.AssessFaults(cell.Faults, view, end)
	for _, v := range view {
		r.out.Arrived = append(r.out.Arrived, v.Arrived)
	}
}

// apart leaves out of the evidence what faults are there to do: a cell is not
// worse for what was done to it on purpose. The generators are judged by the
// seconds that no fault disturbs.
func (r *result) apart(e *measure.Evidence) {
	faults := r.out.Cell.Faults
	if len(faults) == 0 {
		return
	}
	e.FirstP50, e.LastP50 = nil, nil
	for i := range e.Health {
		e.Health[i].ConnectionsLost = 0
	}
	before := 0
	for before < len(r.out.Series) && measure.Quiet(faults[:1], before) {
		before++
	}
	e.WarmUp = measure.CheckWarmUp(r.out.Series[:before])
	r.pressed(e)

	var intended, sent int64
	var lateness measure.Histogram
	quiet := 0
	for t, q := range r.meter.quiet {
		at := time.Duration(t) * time.Second
		if at < r.meter.warmup || at >= r.meter.warmup+r.meter.measure || !measure.Quiet(faults, int(t)) {
			continue
		}
		// A device that has not come back yet is what the fault cost, too.
		if before := r.meter.quiet[t-1]; q.devices < r.cell.Devices.Count || before != nil && before.devices < r.cell.Devices.Count {
			continue
		}
		quiet++
		intended += q.intended
		sent += q.sent
		lateness.Merge(&q.lateness)
	}
	e.OfferedRate, e.AchievedRate, e.Lateness = nil, nil, lateness.Quantiles().P99
	if quiet > 0 {
		offered, achieved := float64(intended)/float64(quiet), float64(sent)/float64(quiet)
		e.OfferedRate, e.AchievedRate = &offered, &achieved
	}
}

// pressed forgets how busy nodes were whose CPU was used up on purpose: in the
// lab, which is one machine, all of them.
func (r *result) pressed(e *measure.Evidence) {
	for _, f := range r.cell.Faults {
		if f.Kind != experiment.FaultPressure || f.CPU == 0 {
			continue
		}
		for i := range e.Nodes {
			for _, node := range f.Nodes {
				if r.Lab || e.Nodes[i].Node == node {
					e.Nodes[i].CPU = 0
				}
			}
		}
	}
}

// putFaults adds what expectations may say of faults.
func putFaults(c measure.Cell, put func(string, *float64)) {
	unrecovered := float64(measure.Unrecovered(c.Faults))
	put("unrecovered", &unrecovered)
	put("recovery_s", measure.LongestRecovery(c.Faults))
	dropped := 0.0
	if c.FaultDropped != nil {
		dropped = float64(*c.FaultDropped)
	}
	if c.FaultDropped != nil || len(c.Faults) == 0 {
		put("fault_dropped", &dropped)
	}
}
