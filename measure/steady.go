package measure

import (
	"cmp"
	"math"
	"slices"
)

const (
	// steadyBatch is the 5 of MSER-5: seconds in a batch.
	steadyBatch = 5
	// MinSteadySeconds is how many seconds of load with a latency MSER-5 needs
	// here. It looks for the transient's end in the first half, and below this
	// fewer than three batches would be left to be called steady.
	MinSteadySeconds = 30
)

// MSER5 finds where the transient at the beginning of a series ends: K. P. White
// Jr., "An effective truncation heuristic for bias reduction in simulation
// output", Simulation 69(6), 1997, with batches of five as in White, Cobb and
// Spratt, "A comparison of five steady-state truncation heuristics for
// simulation", WSC 2000.
//
// The series is one value a second, nil where there is none. Of the means
// Z(1) … Z(k) of its batches of five seconds, the first d are the transient that
// minimize
//
//	Σ (Z(i) − mean of Z(d+1) … Z(k))² / (k−d)²   over i = d+1 … k
//
// that is, the squared standard error of what is left. d goes to k/2 and no
// further: an end near the end of the series would rest on a few batches, which
// are alike by chance. Batches without a value are left out, and so are the
// seconds after the last whole batch.
//
// end is in seconds from the start of the series, a multiple of five; at limit
// the search ended before the transient did. False where fewer than
// MinSteadySeconds have a value.
func MSER5(seconds []*float64) (end, limit int, ok bool) {
	type batch struct {
		start int
		mean  float64
	}
	var batches []batch
	present := 0
	for start := 0; start+steadyBatch <= len(seconds); start += steadyBatch {
		values := taken(seconds[start : start+steadyBatch])
		if len(values) > 0 {
			batches = append(batches, batch{start, mean(values)})
			present += len(values)
		}
	}
	if present < MinSteadySeconds {
		return 0, 0, false
	}
	means := make([]float64, len(batches))
	for i, b := range batches {
		means[i] = b.mean
	}
	half := len(batches) / 2
	best, least := 0, math.Inf(1)
	for d := 0; d <= half; d++ {
		if e := squaredError(means[d:]); e < least {
			best, least = d, e
		}
	}
	if best > 0 {
		end = batches[best].start
	}
	return end, batches[half].start, true
}

// squaredError is the squared standard error of a mean but for a factor that
// does not matter here: the sum of squared deviations over the number squared.
func squaredError(values []float64) float64 {
	m := mean(values)
	var sum float64
	for _, v := range values {
		sum += (v - m) * (v - m)
	}
	return sum / float64(len(values)) / float64(len(values))
}

// mean is exact for equal values, so that their deviations are zero.
func mean(values []float64) float64 {
	var m float64
	for i, v := range values {
		m += (v - m) / float64(i+1)
	}
	return m
}

// taken are the finite values.
func taken(values []*float64) []float64 {
	var out []float64
	for _, v := range values {
		if v != nil && !math.IsNaN(*v) && !math.IsInf(*v, 0) {
			out = append(out, *v)
		}
	}
	return out
}

// WarmUp is a cell's warm-up beside the transient that the cell really had, as
// MSER-5 sees it in each second's median latency.
type WarmUp struct {
	// Given is the warm-up's length, Needed the transient's, in seconds from the
	// start of load. Without an end, the transient goes on beyond Needed.
	Given, Needed int
	NoEnd         bool
	// First is the median of the first five seconds measured and Steady that of
	// the seconds after the transient, in ms; Spread is the distance of the
	// latter's quartiles.
	First, Steady, Spread float64
	// Noise is how far First and Steady may lie apart by chance alone, in ms,
	// given how the steady seconds vary and how long they remember: see noise.
	Noise float64
}

// CheckWarmUp holds the series of a cell against its warm-up; nil where it is
// too short for MSER-5 or the first seconds measured have no latency.
func CheckWarmUp(series []Second) *WarmUp {
	w := new(WarmUp)
	var load []*float64
	for _, s := range series {
		switch s.Phase {
		case "warmup":
			w.Given++
		case "measure":
		default:
			continue // load is over
		}
		load = append(load, s.P50)
	}
	end, limit, ok := MSER5(load)
	if !ok {
		return nil
	}
	w.Needed, w.NoEnd = end, end == limit
	first := taken(load[min(w.Given, len(load)):min(w.Given+steadyBatch, len(load))])
	steady := taken(load[end:])
	if len(first) == 0 {
		return nil
	}
	w.Noise = noise(load[end:])
	w.First, w.Steady = quantile(first, 0.5), quantile(steady, 0.5)
	w.Spread = quantile(steady, 0.75) - quantile(steady, 0.25)
	return w
}

const (
	// noiseQuantile is how many standard errors chance alone may explain. It is more
	// than a known error would need: in a minute of slow waves the error is an
	// estimate from few of them, and MSER-5 has looked for a place where the values
	// differ. With 3, up to 7 % of steady cells were above it, with 4 up to 4 %
	// (TestWarmUpOfSlowNoise).
	noiseQuantile = 4
	// mostMemory is the largest correlation of two neighbouring seconds that is
	// taken for noise. What wanders more slowly cannot be told from a transient.
	mostMemory = 0.95
)

// noise is noiseQuantile times the standard error of the difference between a
// mean of steadyBatch seconds and that of all steady seconds, where no transient
// is. Seconds follow one another, and latency remembers: the steady ones are
// taken for a first-order autoregression
//
//	x(t) − m = ρ (x(t−1) − m) + e(t)
//
// with ρ by least squares, plus (1+3ρ)/n for what a short series hides of it
// (Marriott and Pope, "Bias in the estimation of autocorrelations", Biometrika
// 41, 1954), at least 0 and at most mostMemory. With σ² = var(e) / (1−ρ²), a mean
// of b neighbouring seconds has the variance
//
//	σ²/b² · (b + 2 Σ (b−k) ρᵏ)   over k = 1 … b−1
//
// (Law, Simulation Modeling and Analysis, section 4.4), and the two means' add up.
// m is the median, and e's spread its quartiles' distance over 1.349, that of a
// normal distribution, or its standard deviation where that is smaller: one bad
// second must not hide a transient.
func noise(steady []*float64) float64 {
	all := taken(steady)
	if len(all) < 3 {
		return math.Inf(1)
	}
	m := quantile(slices.Clone(all), 0.5)
	var products, squares float64
	pairs := neighbours(steady)
	for _, p := range pairs {
		products += (p[0] - m) * (p[1] - m)
		squares += (p[0] - m) * (p[0] - m)
	}
	rho := 0.0
	if squares > 0 {
		rho = products / squares
		rho += (1 + 3*rho) / float64(len(pairs))
		rho = max(0, min(rho, mostMemory))
	}
	var errors []float64
	var sum float64
	for _, p := range pairs {
		e := p[1] - m - rho*(p[0]-m)
		errors = append(errors, e)
		sum += e * e
	}
	if len(errors) == 0 {
		return math.Inf(1)
	}
	deviation := math.Sqrt(sum / float64(len(errors)))
	deviation = min(deviation, (quantile(errors, 0.75)-quantile(errors, 0.25))/1.349)
	variance := deviation * deviation / (1 - rho*rho)
	return noiseQuantile * math.Sqrt(variance*(meanFactor(steadyBatch, rho)+meanFactor(len(all), rho)))
}

// meanFactor is the variance of a mean of b neighbouring values over that of one.
func meanFactor(b int, rho float64) float64 {
	sum, power := float64(b), 1.0
	for k := 1; k < b; k++ {
		power *= rho
		sum += 2 * float64(b-k) * power
	}
	return sum / float64(b) / float64(b)
}

// neighbours are the pairs of values of which one follows the other.
func neighbours(values []*float64) [][2]float64 {
	var pairs [][2]float64
	for i := 1; i < len(values); i++ {
		if p := taken(values[i-1 : i+1]); len(p) == 2 {
			pairs = append(pairs, [2]float64{p[0], p[1]})
		}
	}
	return pairs
}

// quantile is the value of rank ⌈q·n⌉; values are sorted in place.
func quantile(values []float64, q float64) float64 {
	slices.SortFunc(values, cmp.Compare[float64])
	return values[max(int(math.Ceil(q*float64(len(values))))-1, 0)]
}
