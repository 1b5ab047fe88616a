package campaign

import (
	"time"

	"bela/agents/protocol"
	"bela/event"
	"bela/experiment"
	"bela/measure"
)

// trafficRates makes rates of an instance's traffic: of a built-in's own counters,
// or of the newest two readings of its source.
func (m *nodeMeter) trafficRates(out *event.ComponentSample, c protocol.ComponentSample) {
	if c.Counters != nil {
		in, written := out.BytesIn, out.BytesOut
		out.NetIn, out.NetOut, out.NetSource = &in, &written, protocol.TrafficOwn
		return
	}
	if c.Traffic == nil {
		return
	}
	if m.traffic == nil {
		m.traffic = make(map[instanceKey]reading)
	}
	key := instanceKey{c.Name, c.Instance}
	before, seen := m.traffic[key]
	m.traffic[key] = reading{c.PID, *c.Traffic}
	dt := float64(c.Traffic.At-before.At) / 1e9
	if !seen || before.pid != c.PID || dt <= 0 {
		return
	}
	rate := func(now, was *int64) *float64 {
		if now == nil || was == nil || *now < *was {
			return nil
		}
		r := float64(*now-*was) / dt
		return &r
	}
	t := c.Traffic
	out.NetSource = t.Source
	out.NetIn, out.NetOut = rate(t.BytesIn, before.BytesIn), rate(t.BytesOut, before.BytesOut)
	out.NetMessagesIn, out.NetMessagesOut = rate(t.MessagesIn, before.MessagesIn), rate(t.MessagesOut, before.MessagesOut)
	out.NetDropped = rate(t.Dropped, before.Dropped)
}

// reading is what a process's source said last.
type reading struct {
	pid int
	protocol.Traffic
}

// pressureRates are what limits did to an instance in the second.
func pressureRates(out *event.ComponentSample, before, c *protocol.GroupSample, dt float64) {
	if c == nil {
		return
	}
	if c.ThrottledNS != nil {
		var was int64
		if before != nil && before.ThrottledNS != nil {
			was = *before.ThrottledNS
		}
		ms := float64(max(*c.ThrottledNS-was, 0)) / 1e6 / dt
		out.Throttled = &ms
	}
	out.OOMKills = c.OOMKills
	if c.MemoryPeak != nil {
		peak := float64(*c.MemoryPeak) / mib
		out.MemoryPeak = &peak
	}
}

// limitUse gathers what limits did to an instance over a cell.
type limitUse struct {
	throttled []measure.Reading // ns
	oomKills  *int64            // of all its processes in the cell
	earlier   int64             // of those that were started before the last
	peak      *float64          // MiB
}

// add takes a sample; another process counts from zero.
func (u *limitUse) add(at int64, another bool, s *protocol.GroupSample, until int64) {
	if another && u.oomKills != nil {
		u.earlier = *u.oomKills
	}
	if s == nil {
		return
	}
	if s.ThrottledNS != nil {
		u.throttled = append(u.throttled, measure.Reading{At: at, Value: *s.ThrottledNS})
	}
	if s.OOMKills != nil {
		n := u.earlier + *s.OOMKills
		u.oomKills = &n
	}
	if s.MemoryPeak != nil && at-int64(time.Second)/2 < until {
		peak := float64(*s.MemoryPeak) / mib
		if u.peak != nil {
			peak = max(peak, *u.peak)
		}
		u.peak = &peak
	}
}

func (u *limitUse) fill(row *measure.Component, w window) {
	if ns, ok := measure.Increase(u.throttled, w.from, w.to); ok {
		s := ns / 1e9
		row.CPUThrottled = &s
	}
	row.OOMKills, row.MemoryPeak = u.oomKills, u.peak
}

// netUse gathers an instance's traffic over a cell.
type netUse struct {
	source  string
	in, out []measure.Reading
}

// add takes a reading of its source.
func (u *netUse) add(t protocol.Traffic) {
	u.source = t.Source
	u.in = appended(u.in, t.At, t.BytesIn)
	u.out = appended(u.out, t.At, t.BytesOut)
}

func appended(readings []measure.Reading, at int64, value *int64) []measure.Reading {
	if value == nil || len(readings) > 0 && readings[len(readings)-1].At >= at {
		return readings
	}
	return append(readings, measure.Reading{At: at, Value: *value})
}

// rateWithin is the rate over the window. A source that looks seldom may not
// reach to its edges: then that of the stretch inside, if it is most of it.
func rateWithin(readings []measure.Reading, w window) *float64 {
	if r := rate(readings, w); r != nil || len(readings) < 2 {
		return r
	}
	inner := window{max(w.from, readings[0].At), min(w.to, readings[len(readings)-1].At)}
	if (inner.to-inner.from)*10 < (w.to-w.from)*8 {
		return nil
	}
	return rate(readings, inner)
}

// stands says whether a component is the hop of that kind: the built-in one, or a
// process of the user's that has its name.
func stands(c experiment.Component, kind experiment.Kind) bool {
	return c.Kind == kind || c.Kind == experiment.KindProcess && "platform."+c.Name == string(kind)
}

// counted is a count as a metric; nil where it was not taken.
func counted(n *int64) *float64 {
	if n == nil {
		return nil
	}
	v := float64(*n)
	return &v
}

// meterSpec is where a process's traffic is read; its sockets unless the file says
// otherwise.
func meterSpec(m *experiment.Meter, address string, i experiment.Instance) *protocol.MeterSpec {
	if m == nil {
		return &protocol.MeterSpec{Source: protocol.TrafficSockets}
	}
	return &protocol.MeterSpec{
		Source: string(m.Source), URL: m.At(address, i.Port, i.Index), User: m.User, Password: m.Password.Reveal(),
		InPorts: m.InPorts, OutPorts: m.OutPorts, Map: m.Map,
	}
}
