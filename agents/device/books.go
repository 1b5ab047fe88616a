package device

import (
	"sync"
	"sync/atomic"

	"bela/agents/protocol"
	"bela/agents/transport"
	"bela/measure"
)

// shards spread the devices' histograms over several locks.
const shards = 8

// books are what the whole fleet counts. The accounts of single messages are
// the devices' own.
type books struct {
	intended, sent, acked, failed, unknown atomic.Int64 // warm-up included
	// published counts measured messages handed over; open those dispatched
	// whose fate is not known yet.
	published, open atomic.Int64
	payload         atomic.Int64 // bytes of the published

	shard [shards]shard

	errors transport.Tally
}

// shard is a part of the devices' histograms.
type shard struct {
	mu        sync.Mutex
	lateness  measure.Histogram  // measured messages
	ack       measure.Histogram  // measured messages
	recent    *measure.Histogram // lateness of all since the last sample
	perSecond []int64            // messages handed over, by intended second
}

// late records the lateness of a message that is about to be handed over.
func (s *shard) late(ns int64, measured bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.recent == nil {
		s.recent = new(measure.Histogram)
	}
	s.recent.Record(ns)
	if measured {
		s.lateness.Record(ns)
	}
}

// handed counts a message that was handed over, by its intended second.
func (s *shard) handed(second int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.perSecond) <= second {
		s.perSecond = append(s.perSecond, 0)
	}
	s.perSecond[second]++
}

// acknowledged records the time from sending to the acknowledgement.
func (s *shard) acknowledged(ns int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ack.Record(ns)
}

// recentLateness is what was recorded since it was last asked for.
func (b *books) recentLateness() *measure.Histogram {
	all := new(measure.Histogram)
	for i := range b.shard {
		s := &b.shard[i]
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

// result fills in what is the fleet's, not a device's.
func (b *books) result(r *protocol.DevicesResult) {
	r.Lateness, r.Ack = new(measure.Histogram), new(measure.Histogram)
	for i := range b.shard {
		s := &b.shard[i]
		s.mu.Lock()
		r.Lateness.Merge(&s.lateness)
		r.Ack.Merge(&s.ack)
		for second, n := range s.perSecond {
			for len(r.PublishedPerSecond) <= second {
				r.PublishedPerSecond = append(r.PublishedPerSecond, 0)
			}
			r.PublishedPerSecond[second] += n
		}
		s.mu.Unlock()
	}
	r.PayloadBytes = b.payload.Load()
	r.Errors = b.errors.List()
}
