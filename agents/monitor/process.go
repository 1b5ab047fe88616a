package monitor

import (
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"bela/agents/protocol"
)

// Process watches this process: what it uses, and what the Go runtime kept from
// running in time. Sample must be called by one goroutine at a time.
type Process struct {
	gc      debug.GCStats // its slices are used again
	cycles  int64         // garbage collections seen so far
	metrics []metrics.Sample
	waited  []uint64 // the histogram of scheduling latencies, as last read
}

const (
	schedulingLatencies = "/sched/latencies:seconds"
	goroutines          = "/sched/goroutines:goroutines"
)

// NewProcess begins to watch this process.
func NewProcess() *Process {
	p := &Process{metrics: []metrics.Sample{{Name: schedulingLatencies}, {Name: goroutines}}}
	debug.ReadGCStats(&p.gc)
	p.cycles = p.gc.NumGC
	return p
}

// Sample reads what this process used so far, without its children, and what
// happened in it since the last sample. What cannot be read is 0.
func (p *Process) Sample() protocol.AgentSample {
	s := protocol.AgentSample{ProcessSample: use()}
	debug.ReadGCStats(&p.gc)
	s.GCPauseNS = int64(p.gc.PauseTotal)
	s.GCPauseMaxNS = int64(longest(p.gc.Pause, p.gc.NumGC-p.cycles))
	p.cycles = p.gc.NumGC

	metrics.Read(p.metrics)
	if v := p.metrics[0].Value; v.Kind() == metrics.KindFloat64Histogram {
		h := v.Float64Histogram()
		if p.waited != nil {
			s.SchedulingP99NS = quantile(h, p.waited, 0.99)
		}
		p.waited = append(p.waited[:0], h.Counts...)
	}
	if v := p.metrics[1].Value; v.Kind() == metrics.KindUint64 {
		s.Goroutines = int(v.Uint64())
	}
	return s
}

// longest is the longest of the n newest pauses, which come first; the runtime
// keeps 256.
func longest(pauses []time.Duration, n int64) time.Duration {
	var most time.Duration
	for _, p := range pauses[:min(n, int64(len(pauses)))] {
		most = max(most, p)
	}
	return most
}

// quantile is the upper edge, in nanoseconds, of the bucket that holds the
// quantile q of what a histogram gained since it read before; nil where it
// gained nothing.
func quantile(h *metrics.Float64Histogram, before []uint64, q float64) *int64 {
	if len(before) != len(h.Counts) {
		return nil
	}
	var gained uint64
	for i, n := range h.Counts {
		gained += n - before[i]
	}
	if gained == 0 {
		return nil
	}
	rank := uint64(math.Ceil(q * float64(gained)))
	var sofar uint64
	for i, n := range h.Counts {
		if sofar += n - before[i]; sofar < rank {
			continue
		}
		edge := h.Buckets[i+1]
		if math.IsInf(edge, 1) {
			edge = h.Buckets[i]
		}
		ns := int64(max(edge, 0) * 1e9)
		return &ns
	}
	return nil
}

// use is what this process used so far.
func use() protocol.ProcessSample {
	var s protocol.ProcessSample
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err == nil {
		s.CPUNS = u.Utime.Nano() + u.Stime.Nano()
	}
	if p, err := procfs.Self(); err == nil {
		if st, err := p.Stat(); err == nil {
			s.Memory = int64(st.RSS) * int64(os.Getpagesize())
		}
	}
	return s
}
