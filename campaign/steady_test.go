package campaign

import (
	"testing"
	"time"

	"bela/measure"
	"bela/store"
)

// A cell whose warm-up was too short must say so in its verdict: the rule is of
// no use if the series does not reach it.
func TestVerdictChecksTheWarmUp(t *testing.T) {
	for _, warmup := range []int{10, 60} {
		out := &store.CellResult{}
		for s := range 120 {
			ms, phase := 5.0, "measure"
			if s < 40 {
				ms = 15
			}
			if s < warmup {
				phase = "warmup"
			}
			out.Series = append(out.Series, measure.Second{T: s, Phase: phase, P50: &ms})
		}
		r := &result{
			cellRun: &cellRun{runner: &runner{}, use: newUseMeter(window{0, int64(time.Minute)})},
			out:     out, latency: new(measure.Histogram),
		}
		r.verdict(nil)
		said := false
		for _, reason := range out.Cell.Reasons {
			said = said || reason.Code == "warmup_too_short"
		}
		if said != (warmup == 10) {
			t.Errorf("a transient of 40 s after a warm-up of %d s: reasons %+v", warmup, out.Cell.Reasons)
		}
	}
}
