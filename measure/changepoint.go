package measure

import (
	"math"
	"math/rand/v2"
	"slices"
)

// What a search for change points asks for.
const (
	// ChangeAlpha is the level at or below which p is evidence of a change.
	ChangeAlpha = 0.01
	// ChangePermutations is how often a stretch is shuffled. A tenth of it would do
	// for the level, and would miss steps that cannot be clearer by the luck of the
	// shuffles.
	ChangePermutations = 999
	// leastStretch is how many runs a level needs.
	leastStretch = 3
)

// Change is a place in a series at which its level changed.
type Change struct {
	// At is the index of the first value of the new level.
	At int `json:"at"`
	// From and To are the medians of the stretches before and behind it, each as
	// far as the next change or the series' end.
	From float64 `json:"from"`
	To   float64 `json:"to"`
	// Relative is (To − From) / |From|; nil where From is 0.
	Relative *float64 `json:"change"`
	// P is the share of shuffled series that split as well, the series itself
	// counted among them.
	P float64 `json:"p"`
}

// Changes is what a series shows.
type Changes struct {
	// TooFew says that the series is too short for any step, however large, to
	// reach ChangeAlpha.
	TooFew bool     `json:"too_few_runs"`
	Found  []Change `json:"changes"`
}

// LeastRuns is the shortest series in which a step can be found: the two halves
// of a shorter one come apart by chance more often than ChangeAlpha.
func LeastRuns() int {
	n := 2 * leastStretch
	for leastP(n/2, n-n/2) > ChangeAlpha {
		n++
	}
	return n
}

// FindChanges finds where the level of a series changes: E-Divisive by Matteson
// and James (2014), with exponent 1 and without a second end, as Daly et al.
// (2020) use it for performance tests. The series is split where the energy
// statistic of its two sides is largest; the split stays if of ChangePermutations
// shuffled series few enough split as well; then either side is searched in the
// same way. It assumes that values are independent, not how they are distributed.
// The same series gives the same answer. Values are finite; a series with others
// shows nothing.
func FindChanges(series []float64) Changes {
	least := LeastRuns()
	c := Changes{Found: []Change{}, TooFew: len(series) < least}
	if slices.ContainsFunc(series, func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) }) {
		return c
	}
	shuffles := rand.New(rand.NewPCG(2014, 2020))
	var search func(from, to int)
	search = func(from, to int) {
		if to-from < least {
			return
		}
		at, p := split(series[from:to], shuffles)
		if p > ChangeAlpha {
			return
		}
		search(from, from+at)
		c.Found = append(c.Found, Change{At: from + at, P: p})
		search(from+at, to)
	}
	search(0, len(series))
	for i := range c.Found {
		before, behind := 0, len(series)
		if i > 0 {
			before = c.Found[i-1].At
		}
		if i+1 < len(c.Found) {
			behind = c.Found[i+1].At
		}
		k := &c.Found[i]
		k.From, k.To = MedianOf(series[before:k.At]).Value, MedianOf(series[k.At:behind]).Value
		relative := k.To/math.Abs(k.From) - math.Copysign(1, k.From)
		if !math.IsNaN(relative) && !math.IsInf(relative, 0) {
			k.Relative = &relative
		}
	}
	return c
}

// split is where a stretch is best split, and with which p; a stretch without
// spread, or with no more than rounding leaves, has p = 1. Above ChangeAlpha p is
// only said to be above.
func split(stretch []float64, shuffles *rand.Rand) (at int, p float64) {
	e := newEnergy(stretch)
	if e == nil {
		return 0, 1
	}
	order := make([]int, len(stretch))
	for i := range order {
		order[i] = i
	}
	best, at := e.best(order)
	asGood := 1
	for range ChangePermutations {
		shuffles.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		// The same two sides in another order must not differ by rounding.
		if shuffled, _ := e.best(order); shuffled >= best*(1-1e-9) {
			asGood++
		}
		if float64(asGood) > ChangeAlpha*(ChangePermutations+1) { // too many already
			break
		}
	}
	return at, float64(asGood) / (ChangePermutations + 1)
}

// energy finds the best split of values in any order.
type energy struct {
	values []float64 // from their median, in units of their spread
	ranks  []int
	total  float64   // distances of all pairs
	inside []float64 // distances of the pairs among the first i, for each i
	// Of the values taken so far: how many, and their sum, as Fenwick trees over
	// ranks.
	counts, sums []float64
	backward     []int // an order from its end
}

// roundingShare is the spread, by the size of the values, that counts as none.
const roundingShare = 1e-9

func newEnergy(stretch []float64) *energy {
	low, high := slices.Min(stretch), slices.Max(stretch)
	spread := high/2 - low/2 // half of it, which does not overflow
	if spread <= roundingShare*max(math.Abs(low), math.Abs(high)) {
		return nil
	}
	n := len(stretch)
	e := &energy{values: make([]float64, n), ranks: make([]int, n), inside: make([]float64, n+1), counts: make([]float64, n+1), sums: make([]float64, n+1), backward: make([]int, n)}
	byValue := make([]int, n)
	for i := range byValue {
		byValue[i] = i
	}
	slices.SortStableFunc(byValue, func(a, b int) int {
		switch {
		case stretch[a] < stretch[b]:
			return -1
		case stretch[a] > stretch[b]:
			return 1
		}
		return 0
	})
	middle := stretch[byValue[n/2]]
	for rank, i := range byValue {
		e.ranks[i], e.values[i] = rank+1, stretch[i]/spread-middle/spread
	}
	e.take(byValue, func(i int, sum float64) { e.total = sum })
	return e
}

// best is the largest energy statistic of any split of the values in this order,
// and how many values stand before the split. For sides X and Y with m and n values it is
//
//	mn/(m+n) · (2·mean|x−y| − mean|x−x'| − mean|y−y'|)
//
// with means over all pairs of different values.
func (e *energy) best(order []int) (most float64, at int) {
	n := len(order)
	e.take(order, func(i int, sum float64) { e.inside[i] = sum })
	for i, k := range order {
		e.backward[n-1-i] = k
	}
	most = math.Inf(-1)
	e.take(e.backward, func(taken int, after float64) {
		m := n - taken
		if m < leastStretch || taken < leastStretch {
			return
		}
		x, y := float64(m), float64(taken)
		before := e.inside[m]
		between := e.total - before - after
		q := x * y / (x + y) * (2*between/(x*y) - before/(x*(x-1)/2) - after/(y*(y-1)/2))
		// The first of equal ones, and it is found from the end.
		if q > most*(1+math.Copysign(1e-12, most)) || math.Abs(q-most) <= 1e-12*math.Abs(most) {
			most, at = q, m
		}
	})
	return most, at
}

// take goes through values in an order, and says after each how far those taken
// lie from one another, all pairs summed.
func (e *energy) take(order []int, use func(taken int, sum float64)) {
	clear(e.counts)
	clear(e.sums)
	var sum, all float64
	for taken, k := range order {
		v, below, belowSum := e.values[k], 0.0, 0.0
		for r := e.ranks[k]; r > 0; r -= r & -r {
			below += e.counts[r]
			belowSum += e.sums[r]
		}
		sum += v*below - belowSum + (all - belowSum) - v*(float64(taken)-below)
		all += v
		for r := e.ranks[k]; r < len(e.counts); r += r & -r {
			e.counts[r]++
			e.sums[r] += v
		}
		use(taken+1, sum)
	}
}
