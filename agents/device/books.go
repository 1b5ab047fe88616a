package device

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"

	"bela/agents/protocol"
	"bela/measure"
)

// shards spread the devices' histograms over several locks.
const shards = 8

// maxErrors bounds how many kinds of errors are told apart.
const maxErrors = 100

// books are what the whole fleet counts. The accounts of single messages are
// the devices' own.
type books struct {
	intended, sent, acked, failed, unknown atomic.Int64 // warm-up included
	// published counts measured messages handed over; open those dispatched
	// whose fate is not known yet.
	published, open atomic.Int64

	shard [shards]shard

	mu     sync.Mutex
	errors map[string]int64
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

// count notes an error by its kind.
func (b *books) count(what string) { b.add(what, 1) }

func (b *books) add(what string, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.errors == nil {
		b.errors = make(map[string]int64)
	}
	if _, known := b.errors[what]; !known && len(b.errors) >= maxErrors-1 {
		what = "other"
	}
	b.errors[what] += n
}

// kinds are the errors, the most frequent first.
func (b *books) kinds() []protocol.Count {
	b.mu.Lock()
	defer b.mu.Unlock()
	counts := make([]protocol.Count, 0, len(b.errors))
	for what, n := range b.errors {
		counts = append(counts, protocol.Count{What: what, N: n})
	}
	slices.SortFunc(counts, func(x, y protocol.Count) int {
		return cmp.Or(cmp.Compare(y.N, x.N), cmp.Compare(x.What, y.What))
	})
	return counts
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
	r.Errors = b.kinds()
}
