package measure

import "slices"

// ProbeLog keeps the probes of one clock, a bounded number of them. When there
// is no room, the older half is thinned out: a cell that lasts for hours needs
// its beginning as much as its end. The zero value keeps none.
type ProbeLog struct {
	limit   int
	samples []ProbeSample
}

// NewProbeLog keeps up to limit probes.
func NewProbeLog(limit int) ProbeLog { return ProbeLog{limit: limit} }

// Add keeps a probe.
func (l *ProbeLog) Add(s ProbeSample) {
	if len(l.samples) >= l.limit {
		l.samples = thinned(l.samples)
	}
	if len(l.samples) < l.limit {
		l.samples = append(l.samples, s)
	}
}

// Len is how many probes are kept.
func (l *ProbeLog) Len() int { return len(l.samples) }

// Samples copies the probes, in the order in which they were taken.
func (l *ProbeLog) Samples() []ProbeSample { return slices.Clone(l.samples) }

// Forget empties the log.
func (l *ProbeLog) Forget() { l.samples = nil }

// thinned keeps, of each two neighbours in the older half, the one with the
// smaller round trip, which says more.
func thinned(samples []ProbeSample) []ProbeSample {
	half := len(samples) / 2 &^ 1
	kept := samples[:0]
	for i := 0; i < half; i += 2 {
		a, b := samples[i], samples[i+1]
		if b.RoundTrip() > 0 && b.RoundTrip() < a.RoundTrip() {
			a = b
		}
		kept = append(kept, a)
	}
	return append(kept, samples[half:]...)
}
