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
	if out.Counted {
		in, written := out.BytesIn, out.BytesOut
		out.NetIn, out.NetOut, out.NetSource = &in, &written, protocol.TrafficOwn
	}
	if c.Counters != nil || c.Traffic == nil {
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
	throttled counter  // ns
	oomKills  *int64   // of all its processes in the cell
	earlier   int64    // of those that were started before the last
	peak      *float64 // MiB
}

// add takes a sample of a process; another one counts from zero.
func (u *limitUse) add(at int64, pid int, another bool, s *protocol.GroupSample, until int64) {
	if another && u.oomKills != nil {
		u.earlier = *u.oomKills
	}
	if s == nil {
		return
	}
	if s.ThrottledNS != nil {
		u.throttled.add(at, *s.ThrottledNS, pid)
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
	if ns, ok := measure.Increase(u.throttled.readings, w.from, w.to); ok {
		s := ns / 1e9
		row.CPUThrottled = &s
	}
	row.OOMKills, row.MemoryPeak = u.oomKills, u.peak
}

// netUse gathers an instance's traffic over a cell.
type netUse struct {
	source  string
	in, out counter
}

// add takes a reading of a process's source.
func (u *netUse) add(t protocol.Traffic, pid int) {
	u.source = t.Source
	if t.BytesIn != nil {
		u.in.add(t.At, *t.BytesIn, pid)
	}
	if t.BytesOut != nil {
		u.out.add(t.At, *t.BytesOut, pid)
	}
}

// counter is a cumulative counter of an instance over all its processes, each of
// which begins again from zero. What it shows never falls.
type counter struct {
	readings     []measure.Reading
	pid          int   // whose the last value was
	last, before int64 // that value, and what there was before its process counted
}

// add takes a process's value at a time. One that is not newer than the last
// is nothing new, and one below zero no count.
func (c *counter) add(at, value int64, pid int) {
	if n := len(c.readings); value < 0 || n > 0 && c.readings[n-1].At >= at {
		return
	}
	if pid != c.pid || value < c.last {
		c.before += c.last
	}
	c.pid, c.last = pid, value
	c.readings = append(c.readings, measure.Reading{At: at, Value: c.before + value})
}

// rate is that over the window. A source that looks seldom, or a moment before a
// sample, may not reach to its edges: then that of the stretch inside, if it is most
// of it.
func (c *counter) rate(w window) *float64 {
	readings := c.readings
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
