package customer

import (
	"sync"

	"bela/agents/protocol"
	"bela/measure"
)

// shard is the histograms of a part of the customers; several shards keep
// connections from waiting for each other.
type shard struct {
	mu      sync.Mutex
	latency map[slice]*measure.Histogram
	service map[slice]*measure.Histogram // of measured messages, by the first of protocol.ServiceSeconds
	recent  *measure.Histogram           // latencies since the last sample
}

// slice is a second of the load and a device node.
type slice struct {
	second int32
	source int
}

// record notes the latency of a first delivery. Negative ones are recorded as
// they are: they tell of the clocks.
func (s *shard) record(w *window, m receipt, source int, measured bool) {
	at := slice{int32((m.Intended - w.at) / 1e9), source}
	latency := m.received - m.Intended
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.recent == nil {
		s.recent = new(measure.Histogram)
	}
	s.recent.Record(latency)
	histogram(&s.latency, at).Record(latency)
	if measured {
		at.second -= at.second % protocol.ServiceSeconds
		histogram(&s.service, at).Record(m.received - m.Actual)
	}
}

// histogram is a map's histogram under a key, made where there is none.
func histogram(m *map[slice]*measure.Histogram, k slice) *measure.Histogram {
	if *m == nil {
		*m = make(map[slice]*measure.Histogram)
	}
	h := (*m)[k]
	if h == nil {
		h = new(measure.Histogram)
		(*m)[k] = h
	}
	return h
}

// recentLatency is what the shards recorded since they were last asked.
func recentLatency(shards []shard) *measure.Histogram {
	all := new(measure.Histogram)
	for i := range shards {
		s := &shards[i]
		s.mu.Lock()
		recent := s.recent
		s.recent = nil
		s.mu.Unlock()
		if recent != nil {
			all.Merge(recent)
		}
	}
	return all
}
