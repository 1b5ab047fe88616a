package report

import (
	"fmt"
	"strconv"
	"strings"

	"bela/measure"
	"bela/store"
)

// repetitionsTable has a row for each combination of the matrix: medians over
// its repetitions. It is empty where a run has one repetition.
func repetitionsTable(run *store.Reader) table {
	if run.Plan.Repetitions < 2 {
		return table{}
	}
	t := table{Title: "Over repetitions", Columns: []column{{Head: "cell"}}}
	for _, name := range run.Plan.Dimensions {
		t.Columns = append(t.Columns, column{Head: clean(name)})
	}
	t.Columns = append(t.Columns, column{Head: "n"}, column{Head: "degraded", Rank: 2}, column{Head: "invalid"},
		column{Head: "p50"}, column{Head: "p95", Rank: 3}, column{Head: "p99"},
		column{Head: "drops/5min"}, column{Head: "delivered/s", Rank: 1})
	shown := []string{"latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "drops_per_5min", "delivered_msg_s"}
	reached := map[int]float64{}
	for _, k := range measure.Combinations(run.Cells) {
		row := []field{{Text: strconv.Itoa(k.Number)}}
		for _, name := range run.Plan.Dimensions {
			row = append(row, field{Text: dimension(k.Dimensions, name)})
		}
		row = append(row, field{Text: strconv.Itoa(len(k.Cells))}, count(k.Degraded, fair), count(k.Invalid, bad))
		for _, m := range selectMetrics(measure.Pair{Base: k}, shown) {
			median := measure.MedianOf(k.Samples(m))
			if median != nil && median.Low != nil {
				reached[median.N] = median.Confidence
			}
			row = append(row, field{Text: medianText(median)})
		}
		t.Rows = append(t.Rows, row)
	}
	t.Note = "medians over n repetitions, invalid ones left out; latency in ms"
	if texts := confidenceTexts(reached); len(texts) > 0 {
		t.Note += fmt.Sprintf("; ± to the farther end of the median's interval, confidence %s", strings.Join(texts, ", "))
	} else {
		t.Note += "; too few repetitions for intervals, which need 6"
	}
	return t
}

// count is a number that is to be seen only where it is not 0.
func count(n int, t tone) field {
	if n == 0 {
		return field{Text: "0"}
	}
	return field{Text: strconv.Itoa(n), Tone: t}
}
