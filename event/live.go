package event

import "time"

// KindCellSkipped is CellSkipped's, as it stands in JSON.
const KindCellSkipped Kind = "cell_skipped"

// CellSkipped says that a cell was given up on purpose and has no result; the
// run goes on with the next.
type CellSkipped struct {
	Cell CellRef `json:"cell"`
	By   string  `json:"by"` // "the operator, in the dashboard"
}

// Kind implements Data.
func (CellSkipped) Kind() Kind { return KindCellSkipped }

// LatencyBounds are the bounds of Load.Bands: a band holds latencies from the
// bound before, or from below 0, to its own; the last one has none.
func LatencyBounds() []time.Duration {
	const us, ms, s = time.Microsecond, time.Millisecond, time.Second
	return []time.Duration{250 * us, 500 * us, ms, 2 * ms, 5 * ms, 10 * ms, 20 * ms, 50 * ms, 100 * ms, 200 * ms, 500 * ms, s, 2 * s, 5 * s}
}
