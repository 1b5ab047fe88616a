package measure

import (
	"math"
	"slices"
)

// Summary is what a series of samples comes down to; nil without samples.
type Summary struct {
	Count int
	Mean  *float64 // arithmetic
	P95   *float64 // nearest rank: the sample of rank ⌈0.95·Count⌉, never interpolated
	Max   *float64
}

// Summarize summarizes samples, in any unit. Samples that are not finite
// numbers are left out.
func Summarize(samples []float64) Summary {
	sorted := make([]float64, 0, len(samples))
	for _, v := range samples {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			sorted = append(sorted, v)
		}
	}
	if len(sorted) == 0 {
		return Summary{}
	}
	slices.Sort(sorted)
	var mean float64
	for i, v := range sorted {
		mean += (v - mean) / float64(i+1) // does not overflow
	}
	p95 := sorted[int(math.Ceil(0.95*float64(len(sorted))))-1]
	top := sorted[len(sorted)-1]
	return Summary{Count: len(sorted), Mean: &mean, P95: &p95, Max: &top}
}

// Reading is a cumulative counter's value at a time.
type Reading struct {
	At    int64 // nanoseconds on any one time axis
	Value int64
}

// Increase is by how much a cumulative counter grew in [from, to). The readings
// are in ascending order of time; at the window's edges the counter is
// interpolated between the readings around them. A reading below the one before
// it is a counter that began again from zero, with its process: what it shows
// then is its growth. False where the readings do not reach over the window.
func Increase(readings []Reading, from, to int64) (float64, bool) {
	if to <= from || len(readings) < 2 || readings[0].At > from || readings[len(readings)-1].At < to {
		return 0, false
	}
	var sum float64
	for i := 1; i < len(readings); i++ {
		a, b := readings[i-1], readings[i]
		if b.At <= a.At {
			continue
		}
		low, high := max(a.At, from), min(b.At, to)
		if high > low {
			sum += growth(a, b) * float64(high-low) / float64(b.At-a.At)
		}
	}
	return sum, true
}

// Rate is the Increase in [from, to) a second.
func Rate(readings []Reading, from, to int64) (float64, bool) {
	n, ok := Increase(readings, from, to)
	if !ok {
		return 0, false
	}
	return n / (float64(to-from) / 1e9), true
}

// Rates are the rates a second between neighbouring readings that both lie in
// [from, to]; they are the samples of which Summarize takes mean, p95 and max.
func Rates(readings []Reading, from, to int64) []float64 {
	var out []float64
	for i := 1; i < len(readings); i++ {
		a, b := readings[i-1], readings[i]
		if a.At >= from && b.At <= to && b.At > a.At {
			out = append(out, growth(a, b)/(float64(b.At-a.At)/1e9))
		}
	}
	return out
}

func growth(a, b Reading) float64 {
	if b.Value < a.Value {
		return float64(b.Value)
	}
	return float64(b.Value) - float64(a.Value)
}
