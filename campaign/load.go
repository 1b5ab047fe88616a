package campaign

import (
	"time"

	"bela/agents/protocol"
	"bela/event"
	"bela/measure"
)

// loadMeter adds up, second by second, what the agents with devices and
// customers report, and hands out one event.Load a second, in order.
type loadMeter struct {
	position int
	agents   int // how many report
	fanOut   int
	start    int64 // testbed time of the start of load
	warmup   time.Duration
	measure  time.Duration

	seconds map[int64]*loadSecond
	emitted int64 // the last second handed out
	newest  int64 // the newest second that anybody reported
	last    map[string]protocol.Sample
	// away are agents whose seconds are still to come: true while the link is
	// lost, false while they catch up.
	away  map[string]bool
	bands []int64 // event.LatencyBounds, in nanoseconds
	// quiet has the whole seconds, for cells with faults; nil for others.
	quiet map[int64]*quietSecond
}

// loadSecond is one second in the making.
type loadSecond struct {
	reports            int
	devices, customers int
	published          int64
	delivered          int64
	publishedTotal     int64
	intended           int64
	deliveredTotal     int64
	latency, lateness  measure.Histogram
}

// patience is how many seconds a report may be behind before its second is
// handed out without it: longer than it takes to notice that a link is lost.
const patience = 12

func newLoadMeter(position, agents, fanOut int, start int64, warmup, measured time.Duration) *loadMeter {
	var bands []int64
	for _, bound := range event.LatencyBounds() {
		bands = append(bands, int64(bound))
	}
	return &loadMeter{
		bands:    bands,
		position: position, agents: agents, fanOut: fanOut,
		start: start, warmup: warmup, measure: measured,
		seconds: make(map[int64]*loadSecond),
		last:    make(map[string]protocol.Sample),
		away:    make(map[string]bool),
	}
}

// add takes a node's sample and returns the seconds that it completed.
func (m *loadMeter) add(node string, s protocol.Sample) []event.Load {
	if s.Devices == nil && s.Customers == nil {
		return nil
	}
	// A sample is taken just after a full second and speaks of the one before.
	second := (s.At - m.start - int64(time.Second)/2) / int64(time.Second)
	before := m.last[node]
	m.last[node] = s
	// The one at the start speaks of what was before.
	if s.At < m.start+int64(time.Second)/2 || second < m.emitted {
		return nil
	}
	sec := m.seconds[second]
	if sec == nil {
		sec = new(loadSecond)
		m.seconds[second] = sec
	}
	sec.reports++
	if d := s.Devices; d != nil {
		sec.devices += d.Connected
		sec.publishedTotal += d.Sent
		sec.published += d.Sent
		sec.intended += d.Intended
		if before.Devices != nil {
			sec.published -= before.Devices.Sent
			sec.intended -= before.Devices.Intended
		}
		if d.Lateness != nil {
			sec.lateness.Merge(d.Lateness)
		}
	}
	if c := s.Customers; c != nil {
		sec.customers += c.Connected
		sec.deliveredTotal += c.Delivered
		sec.delivered += c.Delivered
		if before.Customers != nil {
			sec.delivered -= before.Customers.Delivered
		}
		if c.Latency != nil {
			sec.latency.Merge(c.Latency)
		}
	}
	m.newest = max(m.newest, second)
	if lost, behind := m.away[node]; behind && !lost && second >= m.newest-1 {
		delete(m.away, node)
	}
	return m.complete(patience)
}

// link notes that an agent's link is lost or back.
func (m *loadMeter) link(node string, lost bool) {
	if _, behind := m.away[node]; lost || behind {
		m.away[node] = lost
	}
}

// flush hands out what is left, complete or not.
func (m *loadMeter) flush() []event.Load {
	clear(m.away)
	return m.complete(-1)
}

// complete hands out the seconds that every agent has reported, and those that
// are too old to wait for.
func (m *loadMeter) complete(patience int64) []event.Load {
	var out []event.Load
	for second := m.emitted; second <= m.newest; second++ {
		sec := m.seconds[second]
		wait := second > m.newest-patience || len(m.away) > 0
		if wait && (sec == nil || sec.reports < m.agents) {
			break
		}
		m.emitted = second + 1
		if sec != nil {
			delete(m.seconds, second)
			if m.quiet != nil && sec.reports >= m.agents {
				m.quiet[second] = &quietSecond{sec.intended, sec.published, sec.delivered, sec.devices, sec.lateness}
			}
			out = append(out, m.event(second, sec))
		}
	}
	return out
}

func (m *loadMeter) event(second int64, s *loadSecond) event.Load {
	l := event.Load{
		Position: m.position, T: int(second), Phase: m.phase(second),
		Devices: s.devices, Customers: s.customers,
		Published: float64(s.published), Delivered: float64(s.delivered),
		PublishedTotal: s.publishedTotal, DeliveredTotal: s.deliveredTotal,
		UnderWay: s.publishedTotal*int64(m.fanOut) - s.deliveredTotal,
	}
	q := s.latency.Quantiles()
	l.P5, l.P50, l.P99 = q.P5, q.P50, q.P99
	l.Lateness = s.lateness.Quantiles().P99
	if s.latency.Count() > 0 {
		l.Bands = s.latency.Counts(m.bands)
	}
	l.At = lateAt(m.start + (second+1)*int64(time.Second))
	return l
}

// lateAt is a testbed time as a late event tells it; zero where it is not late.
func lateAt(at int64) time.Time {
	if controllerClock()-at < int64(5*time.Second) {
		return time.Time{}
	}
	return time.Unix(0, at).UTC()
}

func (m *loadMeter) phase(second int64) event.Phase {
	switch at := time.Duration(second) * time.Second; {
	case at < m.warmup:
		return event.PhaseWarmup
	case at < m.warmup+m.measure:
		return event.PhaseMeasure
	}
	return event.PhaseDrain
}
