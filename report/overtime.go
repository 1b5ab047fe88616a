package report

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"bela/measure"
	"bela/report/chart"
	"bela/store"
)

const (
	// mostTimeCells is how many cells have charts over time: the page of a run
	// with hundreds of cells must still open. Those with faults, and those that
	// are not valid, come first.
	mostTimeCells = 24
	// mostPoints is how many points a line over time has; beyond, each stands for
	// several seconds.
	mostPoints = 200
)

// cellTimes is one cell over time.
type cellTimes struct {
	Name    string
	Verdict measure.Verdict
	Tone    tone
	Charts  []chart.Chart
}

// overTime are the cells over time, in the order of the run, and how many found
// no room. Damaged are files that cannot be read any more.
func overTime(run *store.Reader) (cells []cellTimes, damaged []string, noRoom int) {
	order := slices.Clone(run.Cells)
	rank := func(c measure.Cell) int {
		switch {
		case len(c.Faults) > 0:
			return 0
		case c.Verdict != measure.Valid:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(order, func(a, b measure.Cell) int { return rank(a) - rank(b) })
	chosen := map[int]bool{}
	for _, c := range order {
		if len(chosen) < mostTimeCells {
			chosen[c.Position] = true
		} else {
			noRoom++
		}
	}
	for _, c := range run.Cells {
		if !chosen[c.Position] {
			continue
		}
		seconds, err := run.Series(c.Position)
		if errors.Is(err, store.ErrCorrupt) {
			damaged = append(damaged, clean(err.Error()))
		}
		if err != nil || len(seconds) == 0 {
			continue // it came to no load, or its file is not there any more
		}
		name := "cell " + label(run, c.Number, c.Repetition)
		if at := others(c.Dimensions, ""); at != "" {
			name += ", " + at
		}
		times := cellTimes{Name: name, Verdict: c.Verdict, Tone: verdictTone(c.Verdict)}
		for i, d := range timeCharts(c, seconds) {
			if d.ID = fmt.Sprintf("time%d-%d", c.Position, i+1); d.Drawn() {
				times.Charts = append(times.Charts, d)
			}
		}
		if len(times.Charts) > 0 {
			cells = append(cells, times)
		}
	}
	return cells, damaged, noRoom
}

// timeCharts are a cell's latency and its messages over time, with its phases
// and faults behind them.
func timeCharts(c measure.Cell, seconds []measure.Second) []chart.Chart {
	width := (len(seconds) + mostPoints - 1) / mostPoints
	note := ""
	if width > 1 {
		note = fmt.Sprintf("Each point is %d s: the largest of its seconds.", width)
	}
	behind := bands(c, seconds)
	x := chart.Axis{Title: "seconds since the start of load"}
	line := func(name string, colour int, of func(measure.Second) float64) chart.Line {
		l := chart.Line{Name: name, Colour: colour}
		for part := range slices.Chunk(seconds, width) {
			most := math.NaN()
			for _, s := range part {
				if v := of(s); math.IsNaN(most) || v > most {
					most = v
				}
			}
			l.Points = append(l.Points, chart.Point{X: float64(part[0].T), Y: most})
		}
		return l
	}
	known := func(v *float64) float64 {
		if v == nil {
			return math.NaN()
		}
		return *v
	}
	p99 := line("p99", 0, func(s measure.Second) float64 { return known(s.P99) })
	p99.Dashed = true
	messages := []chart.Line{
		line("published", 1, func(s measure.Second) float64 { return float64(s.Published) }),
		line("delivered", 0, func(s measure.Second) float64 { return float64(s.Delivered) }),
		line("dropped", 6, func(s measure.Second) float64 {
			if s.Dropped == nil {
				return math.NaN()
			}
			return float64(*s.Dropped)
		}),
	}
	return []chart.Chart{
		{Title: "Latency over time", X: x, Y: chart.Axis{Title: "ms of what was due in the second, logarithmic", Log: true}, Bands: behind, Note: note,
			Text:  "p50 and p99 of the latency in each second of load.",
			Lines: []chart.Line{line("p50", 0, func(s measure.Second) float64 { return known(s.P50) }), p99}},
		{Title: "Messages over time", X: x, Y: chart.Axis{Title: "messages of what was due in the second", FromZero: true}, Bands: behind, Note: note,
			Text: "Published, delivered and dropped messages in each second of load.", Lines: messages},
	}
}

// bands are the phases of the seconds, the measured one left blank, and the
// times of faults.
func bands(c measure.Cell, seconds []measure.Second) []chart.Band {
	var all []chart.Band
	for i := 0; i < len(seconds); {
		j := i
		for j < len(seconds) && seconds[j].Phase == seconds[i].Phase {
			j++
		}
		if seconds[i].Phase != "measure" && seconds[i].Phase != "" {
			all = append(all, chart.Band{From: float64(seconds[i].T), To: float64(seconds[j-1].T + 1), Name: clean(seconds[i].Phase), Class: "phase"})
		}
		i = j
	}
	end := float64(seconds[len(seconds)-1].T + 1)
	for _, f := range c.Faults {
		to := end
		if f.Healed != nil {
			to = min(*f.Healed, end)
		}
		all = append(all, chart.Band{From: min(f.Started, end), To: to, Name: clean(f.Name), Class: "fault"})
	}
	return all
}

func pow10(v float64) float64 { return math.Pow(10, v) }
