package measure

import (
	"math"
	"slices"

	"github.com/aclements/go-moremath/stats"
)

// Ratio is between which ratios of the other to the base the truth lies.
type Ratio struct {
	Low  float64 `json:"low"`
	High float64 `json:"high"`
	// Confidence is what the interval really reaches, at least 1 − alpha.
	Confidence float64 `json:"confidence"`
}

// RatioOf is the interval of the ratio by which the other's distribution is
// moved against the base's, after Hodges and Lehmann: of the ratios of every
// repetition of the other to every one of the base, the outermost are cut off as
// far as the test of Mann and Whitney allows. It leaves out 1 where that test
// finds a difference, and holds it where it does not (ties aside).
//
// It is nil where a value is not above zero, for then ratios say nothing, and
// where there are too few repetitions for any.
func RatioOf(base, other []float64, alpha float64) *Ratio {
	if len(base) == 0 || len(other) == 0 || leastP(len(base), len(other)) >= alpha {
		return nil
	}
	ratios := make([]float64, 0, len(base)*len(other))
	for _, b := range base {
		for _, o := range other {
			r := o / b
			if !(b > 0 && o > 0) || math.IsInf(r, 0) || r == 0 {
				return nil
			}
			ratios = append(ratios, r)
		}
	}
	slices.Sort(ratios)
	cut, confidence := cutOff(len(base), len(other), alpha)
	return &Ratio{Low: ratios[cut], High: ratios[len(ratios)-1-cut], Confidence: confidence}
}

// cutOff is how many of the ratios are cut off on either side: the largest U
// whose two-sided probability is below alpha. There is one: 0, or leastP would
// have said so.
func cutOff(a, b int, alpha float64) (cut int, confidence float64) {
	if a*b > 2500 { // the exact distribution takes too long, and is normal
		mean, deviation := float64(a*b)/2, math.Sqrt(float64(a*b)*float64(a+b+1)/12)
		z := math.Sqrt2 * math.Erfinv(1-alpha)
		return max(0, int(mean-0.5-z*deviation)), 1 - alpha
	}
	u := stats.UDist{N1: a, N2: b}
	p := func(cut int) float64 { return 2 * u.CDF(float64(cut)) }
	for p(cut+1) < alpha {
		cut++
	}
	return cut, 1 - p(cut)
}
