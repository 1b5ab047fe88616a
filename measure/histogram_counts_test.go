package measure

import (
	"slices"
	"testing"
)

// The picture of where latencies lie shows these counts: each message once, and
// in the band that it belongs to.
func TestHistogramCounts(t *testing.T) {
	const ms = int64(1e6)
	var h Histogram
	for ns, n := range map[int64]int64{-3 * ms: 2, 0: 1, ms / 2: 3, 9 * ms: 5, 11 * ms: 7, 99 * ms: 11, 101 * ms: 13, 9e15: 17} {
		h.RecordN(ns, n)
	}
	bounds := []int64{ms, 10 * ms, 100 * ms}
	if got, want := h.Counts(bounds), []int64{2 + 1 + 3, 5, 7 + 11, 13 + 17}; !slices.Equal(got, want) {
		t.Errorf("counts %v, want %v: below 1 ms with what is negative, below 10 ms, below 100 ms, above", got, want)
	}
	if got := (*Histogram)(nil).Counts(bounds); !slices.Equal(got, make([]int64, 4)) {
		t.Errorf("of nothing: %v", got)
	}
}
