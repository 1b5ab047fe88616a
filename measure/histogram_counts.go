package measure

// Counts counts the values below each of the bounds, and after them those at the
// last bound or above: one number more than there are bounds. The bounds are in
// nanoseconds, above 0 and rising; negative values are below the first. A value
// within 1/1024 of a bound may be counted on its other side.
func (h *Histogram) Counts(bounds []int64) []int64 {
	out := make([]int64, len(bounds)+1)
	if h == nil {
		return out
	}
	out[0] = h.negative.n
	at := 0
	h.positive.each(func(index int, n int64) bool {
		for at < len(bounds) && middleOf(index) >= float64(bounds[at]) {
			at++
		}
		out[at] += n
		return true
	})
	return out
}
