package measure

import (
	"math"
	"slices"

	"golang.org/x/perf/benchmath"
)

// Alpha is the usual level below which a p-value is evidence of a difference.
const Alpha = 0.05

// Finding is what a comparison may claim.
type Finding string

// The findings. NoEvidence does not say that two runs are alike; it says that
// these repetitions do not show that they differ.
const (
	NoEvidence  Finding = "no evidence of a difference"
	Lower       Finding = "lower"
	Higher      Finding = "higher"
	NotMeasured Finding = "not measured" // on one side or both
)

// Difference is one metric of two combinations held against each other.
type Difference struct {
	Metric Metric `json:"-"`
	// Base and Other are nil where the metric was not taken.
	Base  *Median `json:"base"`
	Other *Median `json:"other"`
	// Change is (other − base) / base of the medians; nil where the base is 0
	// and the other is not, or where one is missing.
	Change *float64 `json:"change"`
	// P is the probability of a difference at least this large where there is
	// none, by the two-sided test of Mann and Whitney; nil where TooFew.
	P *float64 `json:"p"`
	// TooFew says that no repetitions, however far apart, could reach the level.
	TooFew  bool    `json:"too_few_repetitions"`
	Finding Finding `json:"finding"`
	// Improved says whether the finding is for the better; nil where there is no
	// finding or the metric has no better direction.
	Improved *bool `json:"improved"`
}

// Compare holds the repetitions of two combinations against each other. Without
// repetitions enough, the difference is shown and nothing is claimed.
func Compare(base, other []float64, m Metric, alpha float64) Difference {
	d := Difference{Metric: m, Base: MedianOf(base), Other: MedianOf(other), Finding: NotMeasured}
	if d.Base == nil || d.Other == nil {
		return d
	}
	d.Finding = NoEvidence
	if change := (d.Other.Value - d.Base.Value) / d.Base.Value; d.Base.Value == d.Other.Value {
		d.Change = new(float64)
	} else if d.Base.Value != 0 {
		d.Change = &change
	}
	if d.TooFew = leastP(len(base), len(other)) >= alpha; d.TooFew {
		return d
	}
	p := benchmath.AssumeNothing.Compare(sampleOf(base, alpha), sampleOf(other, alpha)).P
	d.P = &p
	if p >= alpha {
		return d
	}
	switch {
	case d.Other.Value < d.Base.Value:
		d.Finding = Lower
	case d.Other.Value > d.Base.Value:
		d.Finding = Higher
	default: // they differ, but not in what is shown
		return d
	}
	if m.Better == LowerIsBetter || m.Better == HigherIsBetter {
		improved := (d.Finding == Lower) == (m.Better == LowerIsBetter)
		d.Improved = &improved
	}
	return d
}

// leastP is the smallest p-value that samples of these sizes can reach, when
// every value of one is below every value of the other: 2 / C(a+b, a).
func leastP(a, b int) float64 {
	log := func(n int) float64 { v, _ := math.Lgamma(float64(n) + 1); return v }
	return min(1, 2*math.Exp(log(a)+log(b)-log(a+b)))
}

// Pair is a combination of each of two runs with the same values in the
// dimensions that the runs share.
type Pair struct{ Base, Other Combination }

// Matching says how the cells of two runs belong together.
type Matching struct {
	// Shared are the dimensions that both runs have, in the base's order.
	Shared []string
	Pairs  []Pair
	// BaseOnly and OtherOnly are combinations without a partner.
	BaseOnly, OtherOnly []Combination
}

// Match pairs the combinations of two runs by the values of the dimensions that
// they share. A dimension that only one run has does not keep cells apart: its
// values are then each held against the same partner. Runs with dimensions of
// which none is shared have no pairs.
func Match(base, other []Combination) Matching {
	m := Matching{Shared: shared(base, other)}
	if len(m.Shared) == 0 && (hasDimensions(base) || hasDimensions(other)) {
		m.BaseOnly, m.OtherOnly = base, other
		return m
	}
	used := make([]bool, len(other))
	for _, b := range base {
		found := false
		for i, o := range other {
			if sameValues(b, o, m.Shared) {
				m.Pairs = append(m.Pairs, Pair{b, o})
				found, used[i] = true, true
			}
		}
		if !found {
			m.BaseOnly = append(m.BaseOnly, b)
		}
	}
	for i, o := range other {
		if !used[i] {
			m.OtherOnly = append(m.OtherOnly, o)
		}
	}
	return m
}

func hasDimensions(cs []Combination) bool {
	return slices.ContainsFunc(cs, func(c Combination) bool { return len(c.Dimensions) > 0 })
}

// shared are the dimensions that every combination of both runs has.
func shared(base, other []Combination) []string {
	if len(base) == 0 {
		return nil
	}
	var names []string
	for _, d := range base[0].Dimensions {
		lacks := func(c Combination) bool { _, ok := c.Value(d.Name); return !ok }
		if !slices.ContainsFunc(base, lacks) && !slices.ContainsFunc(other, lacks) {
			names = append(names, d.Name)
		}
	}
	return names
}

// Value is the combination's value in a dimension, as text: numbers without an
// exponent. False where it has no such dimension.
func (c Combination) Value(dimension string) (string, bool) {
	for _, d := range c.Dimensions {
		if d.Name == dimension {
			return d.text(), true
		}
	}
	return "", false
}

func sameValues(a, b Combination, dimensions []string) bool {
	return !slices.ContainsFunc(dimensions, func(name string) bool {
		x, _ := a.Value(name)
		y, _ := b.Value(name)
		return x != y
	})
}
