package measure

import (
	"math"
	"math/bits"
)

// The histogram's shape. A magnitude below 2^(subBits+1) has a bucket of its
// own; above, each octave is cut into 2^subBits equal buckets. A bucket is
// therefore at most 1/1024 of its lower bound wide, and its middle, which
// stands for all values in it, is off by at most 1/2048 of the value.
const (
	subBits  = 10
	subCount = 1 << subBits
	// rangeBits bounds the range: magnitudes below 2^43 ns (2 h 26 min) are
	// resolved, larger ones are clamped into the last bucket.
	rangeBits = 43
	maxShift  = rangeBits - subBits - 1
	buckets   = maxShift*subCount + 2*subCount

	pageBits = 6
	pageSize = 1 << pageBits
)

// Histogram is a high dynamic range histogram of signed nanoseconds: log-linear
// buckets on both sides of zero, with 3 significant digits. Count, Min, Max and
// Mean are exact; a quantile is off by at most 1/2048 of its value (0.05 %).
// Magnitudes from 2^43 ns (2 h 26 min) on are counted in the last bucket and in
// Clamped; their quantiles lie between that bound and Min or Max.
//
// Memory is allocated in pages of 64 counters where values fall, so that many
// histograms of a second each stay small. The zero value is empty and ready; a
// nil *Histogram reads as empty. It is not safe for concurrent use.
type Histogram struct {
	positive, negative side // values ≥ 0; magnitudes of values < 0
	clamped            int64
	min, max           int64 // meaningless while empty
	// The sum of all values, in 128 bits so that it is exact and does not
	// depend on the order of recording and merging.
	sumHigh int64
	sumLow  uint64
}

type page [pageSize]int64

// side holds the counters of one sign. Pages cover only the touched part of the
// range: pages[i] is page first+i.
type side struct {
	n     int64
	first int
	pages []*page
}

// bucketOf is the index of a magnitude's bucket, and whether it was clamped.
func bucketOf(magnitude uint64) (index int, clamped bool) {
	if magnitude < 2*subCount {
		return int(magnitude), false
	}
	shift := bits.Len64(magnitude) - subBits - 1
	if shift > maxShift {
		return buckets - 1, true
	}
	return shift<<subBits + int(magnitude>>uint(shift)), false
}

// middleOf is the middle of the integers that a bucket holds.
func middleOf(index int) float64 {
	if index < 2*subCount {
		return float64(index)
	}
	shift := uint(index>>subBits - 1)
	low := uint64(index-int(shift)<<subBits) << shift
	return float64(low) + float64(uint64(1)<<shift-1)/2
}

func (s *side) add(index int, n int64) {
	s.n += n
	if p := index>>pageBits - s.first; uint(p) < uint(len(s.pages)) && s.pages[p] != nil {
		s.pages[p][index&(pageSize-1)] += n
		return
	}
	s.page(index >> pageBits)[index&(pageSize-1)] += n
}

// page returns page number p, made if it is not there.
func (s *side) page(p int) *page {
	switch {
	case len(s.pages) == 0:
		s.first, s.pages = p, make([]*page, 1, 8)
	case p < s.first:
		grown := make([]*page, s.first-p+len(s.pages))
		copy(grown[s.first-p:], s.pages)
		s.first, s.pages = p, grown
	default:
		for p >= s.first+len(s.pages) {
			s.pages = append(s.pages, nil)
		}
	}
	i := p - s.first
	if s.pages[i] == nil {
		s.pages[i] = new(page)
	}
	return s.pages[i]
}

func (s *side) merge(o *side) {
	s.n += o.n
	for i, from := range o.pages {
		if from == nil {
			continue
		}
		to := s.page(o.first + i)
		for j, n := range from {
			to[j] += n
		}
	}
}

// each yields the non-empty buckets by rising magnitude, until yield is false.
func (s *side) each(yield func(index int, n int64) bool) {
	for i, p := range s.pages {
		if p == nil {
			continue
		}
		for j, n := range p {
			if n != 0 && !yield((s.first+i)<<pageBits+j, n) {
				return
			}
		}
	}
}

// eachDown yields the non-empty buckets by falling magnitude.
func (s *side) eachDown(yield func(index int, n int64) bool) {
	for i := len(s.pages) - 1; i >= 0; i-- {
		p := s.pages[i]
		if p == nil {
			continue
		}
		for j := pageSize - 1; j >= 0; j-- {
			if n := p[j]; n != 0 && !yield((s.first+i)<<pageBits+j, n) {
				return
			}
		}
	}
}

// Record counts one value. It allocates only when a value falls where none of
// its neighbours did before.
func (h *Histogram) Record(ns int64) {
	s, m := &h.positive, uint64(ns)
	if ns < 0 {
		s, m = &h.negative, -m
	}
	index, clamped := bucketOf(m)
	p := index>>pageBits - s.first
	if clamped || ns < h.min || ns > h.max || uint(p) >= uint(len(s.pages)) || s.pages[p] == nil {
		h.RecordN(ns, 1) // the rare case: something has to grow
		return
	}
	s.n++
	s.pages[p][index&(pageSize-1)]++
	var carry uint64
	h.sumLow, carry = bits.Add64(h.sumLow, uint64(ns), 0)
	h.sumHigh += ns>>63 + int64(carry)
}

// RecordN counts a value n times; n ≤ 0 is nothing.
func (h *Histogram) RecordN(ns, n int64) {
	if n <= 0 {
		return
	}
	if h.Count() == 0 {
		h.min, h.max = ns, ns
	} else {
		h.min, h.max = min(h.min, ns), max(h.max, ns)
	}
	if n == 1 {
		h.addSum(ns>>63, uint64(ns))
	} else {
		h.addSum(product(ns, n))
	}
	var clamped bool
	var index int
	if ns >= 0 {
		index, clamped = bucketOf(uint64(ns))
		h.positive.add(index, n)
	} else {
		index, clamped = bucketOf(-uint64(ns))
		h.negative.add(index, n)
	}
	if clamped {
		h.clamped += n
	}
}

func (h *Histogram) addSum(high int64, low uint64) {
	var carry uint64
	h.sumLow, carry = bits.Add64(h.sumLow, low, 0)
	h.sumHigh += high + int64(carry)
}

// product is a×n in 128 bits, for n ≥ 0.
func product(a, n int64) (high int64, low uint64) {
	hi, lo := bits.Mul64(uint64(a), uint64(n))
	if a < 0 {
		hi -= uint64(n)
	}
	return int64(hi), lo
}

// Merge adds all of o's counts; the result equals recording o's values.
func (h *Histogram) Merge(o *Histogram) {
	if o.Count() == 0 {
		return
	}
	if h.Count() == 0 {
		h.min, h.max = o.min, o.max
	} else {
		h.min, h.max = min(h.min, o.min), max(h.max, o.max)
	}
	h.positive.merge(&o.positive)
	h.negative.merge(&o.negative)
	h.clamped += o.clamped
	h.addSum(o.sumHigh, o.sumLow)
}

// Shifted returns a histogram of all values plus ns, leaving h as it is. Each
// bucket moves as its middle, so a quantile of the result carries the absolute
// error of the value before the move as well as its own. Count, Min, Max and
// Mean stay exact. Clamped values stay clamped.
func (h *Histogram) Shifted(ns int64) *Histogram {
	out := &Histogram{}
	out.Merge(h)
	if ns == 0 || h.Count() == 0 {
		return out
	}
	out.positive, out.negative, out.clamped = side{}, side{}, 0
	move := func(sign int64) func(int, int64) bool {
		return func(index int, n int64) bool {
			moved := addSaturating(sign*int64(middleOf(index)), ns)
			at, over := bucketOf(magnitude(moved))
			to := out.at(moved)
			if h.clamped > 0 && index == buckets-1 {
				// How far beyond the range these lie is not known: they stay.
				to, at, over = out.at(sign), index, true
			}
			to.add(at, n)
			if over {
				out.clamped += n
			}
			return true
		}
	}
	h.negative.each(move(-1))
	h.positive.each(move(1))
	out.min, out.max = addSaturating(h.min, ns), addSaturating(h.max, ns)
	out.addSum(product(ns, h.Count()))
	return out
}

// at is the side that a value belongs to.
func (h *Histogram) at(ns int64) *side {
	if ns < 0 {
		return &h.negative
	}
	return &h.positive
}

func magnitude(ns int64) uint64 {
	if ns < 0 {
		return -uint64(ns)
	}
	return uint64(ns)
}

func addSaturating(a, b int64) int64 {
	switch sum := a + b; {
	case a > 0 && b > 0 && sum < 0:
		return math.MaxInt64
	case a < 0 && b < 0 && sum >= 0:
		return math.MinInt64
	default:
		return sum
	}
}

// Count is the number of values.
func (h *Histogram) Count() int64 {
	if h == nil {
		return 0
	}
	return h.positive.n + h.negative.n
}

// Negative is the number of values below zero.
func (h *Histogram) Negative() int64 {
	if h == nil {
		return 0
	}
	return h.negative.n
}

// Clamped is the number of values beyond the range, which stand in the last
// bucket of their side.
func (h *Histogram) Clamped() int64 {
	if h == nil {
		return 0
	}
	return h.clamped
}

// Min is the exact smallest value in nanoseconds; false when empty.
func (h *Histogram) Min() (int64, bool) {
	if h.Count() == 0 {
		return 0, false
	}
	return h.min, true
}

// Max is the exact largest value in nanoseconds; false when empty.
func (h *Histogram) Max() (int64, bool) {
	if h.Count() == 0 {
		return 0, false
	}
	return h.max, true
}

// Mean is the exact arithmetic mean in nanoseconds; false when empty.
func (h *Histogram) Mean() (float64, bool) {
	n := h.Count()
	if n == 0 {
		return 0, false
	}
	high, low, sign := h.sumHigh, h.sumLow, 1.0
	if high < 0 { // negate, so that the two halves do not cancel as floats
		var borrow uint64
		low, borrow = bits.Sub64(0, low, 0)
		high, sign = -high-int64(borrow), -1
	}
	mean := sign * (float64(high)*0x1p64 + float64(low)) / float64(n)
	return min(max(mean, float64(h.min)), float64(h.max)), true
}

// Quantile is the value in nanoseconds at or below which the fraction q of the
// values lies: that of rank ⌈q·Count⌉ in ascending order, as the middle of its
// bucket and never outside Min and Max. q ≤ 0 is Min, q ≥ 1 is Max. False when
// empty or when q is not a number.
func (h *Histogram) Quantile(q float64) (ns float64, ok bool) {
	n := h.Count()
	switch {
	case n == 0 || math.IsNaN(q):
		return 0, false
	case q <= 0:
		return float64(h.min), true
	case q >= 1:
		return float64(h.max), true
	}
	rank := min(max(int64(math.Ceil(q*float64(n))), 1), n)
	var seen int64
	found := func(sign float64) func(int, int64) bool {
		return func(index int, count int64) bool {
			seen += count
			ns = sign * middleOf(index)
			return seen < rank
		}
	}
	h.negative.eachDown(found(-1))
	if seen < rank {
		h.positive.each(found(1))
	}
	return min(max(ns, float64(h.min)), float64(h.max)), true
}

// Quantiles summarizes the histogram in milliseconds.
func (h *Histogram) Quantiles() Quantiles {
	q := Quantiles{Count: h.Count()}
	if q.Count == 0 {
		return q
	}
	ms := func(ns float64, _ bool) *float64 { ns /= 1e6; return &ns }
	q.Mean = ms(h.Mean())
	q.P5 = ms(h.Quantile(0.05))
	q.P50 = ms(h.Quantile(0.5))
	q.P95 = ms(h.Quantile(0.95))
	q.P99 = ms(h.Quantile(0.99))
	q.P999 = ms(h.Quantile(0.999))
	q.Max = ms(float64(h.max), true)
	return q
}
