package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"bela/measure"
	"bela/store"
)

// faultTable says what each fault cost; without rows where there was none.
func faultTable(run *store.Reader) table {
	t := table{
		Title: "What faults cost",
		Note:  "times in seconds since the start of load; msg/s is what arrived, before the fault and in its poorest second; p99 in ms of what was due",
		Columns: []column{
			{Head: "cell"}, {Head: "fault", Left: true}, {Head: "does", Left: true, Rank: 5}, {Head: "from"}, {Head: "to"},
			{Head: "msg/s before", Rank: 3}, {Head: "least", Rank: 2}, {Head: "dropped during"}, {Head: "after"},
			{Head: "recovery s"}, {Head: "from start s", Rank: 4}, {Head: "p99 before", Rank: 8}, {Head: "p99 during", Rank: 6}, {Head: "p99 after", Rank: 7},
		},
	}
	for _, c := range run.Cells {
		for _, f := range c.Faults {
			t.Rows = append(t.Rows, []field{
				{Text: label(run, c.Number, c.Repetition)}, {Text: clean(f.Name)}, {Text: clean(f.Kind + " " + f.Target)},
				{Text: number(&f.Started)}, {Text: number(f.Healed)},
				{Text: number(f.RateBefore)}, {Text: number(f.RateLowest)},
				counted(f.DroppedDuring), counted(f.DroppedAfter), recovery(f), {Text: number(f.RecoveryFromStart)},
				{Text: number(f.P99Before)}, {Text: number(f.P99During)}, {Text: number(f.P99After)},
			})
		}
	}
	return t
}

// counted is a number of messages; some lost ones are marked.
func counted(n *int64) field {
	switch {
	case n == nil:
		return field{Text: missing}
	case *n > 0:
		return field{Text: strconv.FormatInt(*n, 10), Tone: fair}
	}
	return field{Text: strconv.FormatInt(*n, 10)}
}

func recovery(f measure.Fault) field {
	switch {
	case f.NotRecovered:
		return field{Text: "never", Tone: bad}
	case f.Recovery != nil:
		return field{Text: number(f.Recovery), Tone: good}
	}
	return field{Text: missing}
}

// arrivals draws, for each cell with faults, what arrived over time, with marks
// where a fault was in force.
func arrivals(run *store.Reader) section {
	s := section{Title: arrivalsTitle}
	for _, c := range run.Cells {
		if len(c.Faults) == 0 {
			continue
		}
		seconds, err := run.Arrivals(c.Position)
		if err != nil || len(seconds) == 0 {
			continue // an older copy, or one that was cut down
		}
		most := int64(0)
		for _, n := range seconds {
			if n != nil {
				most = max(most, *n)
			}
		}
		width := (len(seconds) + maxBars - 1) / maxBars
		s.Items = append(s.Items, item{Command: bars(seconds, c.Faults, width),
			Text: fmt.Sprintf("cell %s, %d s a sign, at most %d msg/s:", label(run, c.Number, c.Repetition), width, most)})
	}
	return s
}

// maxBars is how many signs a cell's time has at most.
const maxBars = 72

// bars draws what arrived, a sign for so many seconds, each its poorest second.
func bars(seconds []*int64, faults []measure.Fault, width int) string {
	signs := []rune("▁▂▃▄▅▆▇█")
	top := 0.0
	for _, f := range faults {
		if f.RateBefore != nil {
			top = max(top, *f.RateBefore) // what piled up arrives at once, and would flatten the rest
		}
	}
	if top == 0 {
		for _, n := range seconds {
			if n != nil {
				top = max(top, float64(*n))
			}
		}
	}
	var b strings.Builder
	for from := 0; from < len(seconds); from += width {
		least, known, hit := math.Inf(1), false, false
		for t := from; t < min(from+width, len(seconds)); t++ {
			if seconds[t] != nil {
				known, least = true, min(least, float64(*seconds[t]))
			}
			for _, f := range faults {
				hit = hit || float64(t+1) > f.Started && (f.Healed == nil || float64(t) < *f.Healed)
			}
		}
		switch {
		case hit:
			b.WriteRune('×')
		case !known:
			b.WriteRune(' ')
		default:
			at := 0
			if top > 0 {
				at = int(math.Round(least / top * float64(len(signs)-1)))
			}
			b.WriteRune(signs[max(0, min(at, len(signs)-1))])
		}
	}
	return b.String()
}
