package measure

import (
	"math"
	"slices"
)

// Fault is what a fault did to a cell, and what it cost. Times are seconds since
// the start of load.
type Fault struct {
	Name   string `json:"name"`
	Kind   string `json:"kind"`   // kill, pause, restart, cut, slow, pressure, disk
	Target string `json:"target"` // in words: "gateway-1"
	Text   string `json:"text"`   // with its strength
	// Started is when it was in force, Healed when it was not any more; nil for a
	// component that stayed dead.
	Started float64  `json:"started_s"`
	Healed  *float64 `json:"healed_s"`
	// Measured says, node by node, what was measured before and during.
	Measured []string `json:"measured,omitempty"`

	// RateBefore is what arrived a second before the fault, on average; RateLowest
	// is the poorest second from the fault to the recovery.
	RateBefore *float64 `json:"rate_before_msg_s"`
	RateLowest *float64 `json:"rate_lowest_msg_s"`
	// DroppedDuring and DroppedAfter are deliveries that were due while the fault
	// lasted and after it until the recovery was certain, and never came.
	DroppedDuring *int64 `json:"dropped_during"`
	DroppedAfter  *int64 `json:"dropped_after"`
	// Recovery is from the healing until what arrives is back, RecoveryFromStart
	// from the fault's start. Nil where that was not seen.
	Recovery          *float64 `json:"recovery_s"`
	RecoveryFromStart *float64 `json:"recovery_from_start_s"`
	// NotRecovered says that there was time enough to see a recovery, and none came.
	NotRecovered bool `json:"not_recovered,omitempty"`

	// The latency at p99 of what was due before, during and after, in ms.
	P99Before *float64 `json:"latency_p99_before_ms"`
	P99During *float64 `json:"latency_p99_during_ms"`
	P99After  *float64 `json:"latency_p99_after_ms"`
}

// The definition of a recovery; docs/metrics.md explains it.
const (
	// RecoveredShare of the rate before must arrive …
	RecoveredShare = 0.95
	// … in each of so many seconds in a row.
	RecoveredSeconds = 3
	// baseSeconds before a fault are what it is held against, at most.
	baseSeconds = 10
	// unevenShare: where the leanest second before had less than this of the
	// average, the load comes in bursts, and no single second shows a recovery.
	unevenShare = 0.5
)

// FaultSecond is a second of load as faults are held against it.
type FaultSecond struct {
	// Arrived is what customers got in this second, whenever it was due; nil where
	// that was not reported.
	Arrived *int64 `json:"arrived"`
	// Dropped is what was due in this second and never came; nil where unknown.
	Dropped *int64 `json:"-"`
	// Latency is of what was due in this second; nil where nothing came.
	Latency *Histogram `json:"-"`
}

// AssessFaults fills in what each fault cost, from the seconds of load. The
// faults are in the order of their start, and end is the second in which load
// ends. It returns the drops of all faults together, each second counted once;
// nil where they are not known.
func AssessFaults(faults []Fault, seconds []FaultSecond, end int) (dropped *int64) {
	a := assessment{faults, seconds, min(end, len(seconds))}
	hit := make(map[int]bool)
	for i := range faults {
		for t := range a.assess(i) {
			hit[t] = true
		}
	}
	return a.dropped(func(t int) bool { return hit[t] })
}

// assessment holds faults against seconds.
type assessment struct {
	faults  []Fault
	seconds []FaultSecond
	end     int
}

// assess works one fault out and returns the seconds that it touched.
func (a *assessment) assess(i int) map[int]bool {
	f := &a.faults[i]
	from, healed := int(math.Floor(f.Started)), a.end
	if f.Healed != nil {
		healed = min(int(math.Ceil(*f.Healed)), a.end)
	}
	base := a.base(from)
	until := healed // the first second that the fault has nothing to do with
	if level, ok := a.level(base); ok {
		f.RateBefore = a.mean(base)
		until = a.recover(i, from, healed, level)
	}
	during := func(t int) bool { return t >= from && t < max(healed, from+1) && t < a.end }
	after := func(t int) bool { return t >= max(healed, from+1) && t < until }
	f.DroppedDuring, f.P99During = a.dropped(during), a.p99(during)
	f.P99Before = a.p99(func(t int) bool { return slices.Contains(base, t) })
	if f.Healed != nil {
		f.DroppedAfter, f.P99After = a.dropped(after), a.p99(after)
	}
	touched := make(map[int]bool)
	for t := range a.end {
		if during(t) || after(t) {
			touched[t] = true
		}
	}
	return touched
}

// base are the seconds before a fault that no fault disturbs.
func (a *assessment) base(from int) []int {
	var seconds []int
	for t := max(0, from-baseSeconds); t < min(from, a.end); t++ {
		quiet := a.seconds[t].Arrived != nil
		for _, f := range a.faults {
			// A second after the healing still has what had piled up.
			over := math.Inf(1)
			if f.Healed != nil {
				over = *f.Healed + 1
			}
			quiet = quiet && !(float64(t+1) > f.Started && float64(t) < over)
		}
		if quiet {
			seconds = append(seconds, t)
		}
	}
	return seconds
}

func (a *assessment) mean(seconds []int) *float64 {
	if len(seconds) == 0 {
		return nil
	}
	sum := 0.0
	for _, t := range seconds {
		sum += float64(*a.seconds[t].Arrived)
	}
	sum /= float64(len(seconds))
	return &sum
}

// level is what a second must have to count as back: RecoveredShare of the
// average, or what the leanest second before had where that is less, since an
// undisturbed load has such seconds too.
func (a *assessment) level(base []int) (float64, bool) {
	mean := a.mean(base)
	if mean == nil || *mean == 0 {
		return 0, false
	}
	leanest := math.Inf(1)
	for _, t := range base {
		leanest = min(leanest, float64(*a.seconds[t].Arrived))
	}
	return min(RecoveredShare**mean, leanest), leanest >= unevenShare**mean
}

// recover finds when what arrives is back at a level, and returns the first
// second after the ones that prove it.
func (a *assessment) recover(i, from, healed int, level float64) int {
	f := &a.faults[i]
	limit := a.end // where the next fault begins, no recovery from this one can be seen
	for _, other := range a.faults[i+1:] {
		if begins := int(math.Floor(other.Started)); begins > from {
			limit = min(limit, begins)
			break
		}
	}
	back := func(t int) bool { return a.seconds[t].Arrived != nil && float64(*a.seconds[t].Arrived) >= level }
	dent := from
	for dent < limit && (a.seconds[dent].Arrived == nil || back(dent)) {
		dent++
	}
	search := dent // from where on a recovery counts
	if f.Healed != nil {
		search = max(from, int(math.Floor(*f.Healed)))
	}
	lowest := func(to int) {
		for t := from; t < min(to, limit); t++ {
			if n := a.seconds[t].Arrived; n != nil && (f.RateLowest == nil || float64(*n) < *f.RateLowest) {
				v := float64(*n)
				f.RateLowest = &v
			}
		}
	}
	for t := search; t+RecoveredSeconds <= limit; t++ {
		if !back(t) || !back(t+1) || !back(t+2) {
			continue
		}
		at := float64(t)
		if f.Healed != nil {
			at = max(at, *f.Healed)
			recovery := at - *f.Healed
			f.Recovery = &recovery
		}
		sinceStart := at - f.Started
		if dent >= t { // nothing was missing from the start to here
			sinceStart = 0
		}
		sinceStart = max(sinceStart, 0)
		f.RecoveryFromStart = &sinceStart
		lowest(t + RecoveredSeconds)
		return t + RecoveredSeconds
	}
	lowest(limit)
	if f.Healed == nil && dent >= limit {
		zero := 0.0 // it never showed
		f.RecoveryFromStart = &zero
		return limit
	}
	if f.Healed != nil {
		search = max(search, healed)
	}
	f.NotRecovered = limit-search >= RecoveredSeconds
	return limit
}

func (a *assessment) dropped(in func(int) bool) *int64 {
	var sum int64
	for t := range a.end {
		if !in(t) {
			continue
		}
		if a.seconds[t].Dropped == nil {
			return nil
		}
		sum += *a.seconds[t].Dropped
	}
	return &sum
}

func (a *assessment) p99(in func(int) bool) *float64 {
	all := new(Histogram)
	for t := range a.end {
		if in(t) && a.seconds[t].Latency != nil {
			all.Merge(a.seconds[t].Latency)
		}
	}
	return all.Quantiles().P99
}

// Quiet tells whether a second of load is free of faults: before the first of
// them, or after all that began earlier have been recovered from. A generator is
// judged by those seconds alone.
func Quiet(faults []Fault, t int) bool {
	for _, f := range faults {
		if float64(t+1) <= f.Started {
			continue
		}
		if f.RecoveryFromStart == nil {
			return false
		}
		over := f.Started + *f.RecoveryFromStart
		if f.Healed != nil {
			over = max(over, *f.Healed)
		}
		if float64(t) < math.Ceil(over) {
			return false
		}
	}
	return true
}

// LongestRecovery is the longest time that a fault of the cell was recovered
// from: since its healing, or since its start where it was not healed. It is 0
// without faults, and nil where one was not recovered from.
func LongestRecovery(faults []Fault) *float64 {
	longest := 0.0
	for _, f := range faults {
		r := f.Recovery
		if f.Healed == nil {
			r = f.RecoveryFromStart
		}
		if r == nil {
			return nil
		}
		longest = max(longest, *r)
	}
	return &longest
}

// Unrecovered counts the faults whose recovery was not seen.
func Unrecovered(faults []Fault) int {
	n := 0
	for _, f := range faults {
		if f.RecoveryFromStart == nil {
			n++
		}
	}
	return n
}
