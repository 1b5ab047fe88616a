package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	_ "embed" // the page

	"bela/report/chart"
)

// historyTable is the table of one combination with what changed, below it.
type historyTable struct {
	table
	Items []item
	// few says of each row that has too few runs how many it has.
	few []string
}

// HistoryText writes a history for a terminal.
func HistoryText(w io.Writer, h History, o Options) error {
	if o.Width == 0 {
		o.Width = 100
	}
	p := printer{width: max(o.Width, 60), color: o.Color}
	p.line(p.bold(historyTitle(h)))
	p.line(clean(h.Dir)) // never wrapped: it is there to be copied
	for _, s := range historyRemarks(h) {
		p.section(s)
	}
	for _, t := range historyTables(h) {
		p.table(t.table)
		for _, i := range t.Items {
			p.wrapped("  ", i)
		}
	}
	p.section(historyReading(h))
	_, err := w.Write(p.out.Bytes())
	return err
}

func historyTitle(h History) string {
	first, last := h.Runs[0].StartedAt.UTC(), h.Runs[len(h.Runs)-1].StartedAt.UTC()
	return fmt.Sprintf("%s: %s, %s to %s", clean(h.Experiment), howMany(len(h.Runs), "run"), first.Format("2006-01-02 15:04"), last.Format("2006-01-02 15:04 UTC"))
}

func howMany(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// historyRemarks are what a reader must know before the numbers.
func historyRemarks(h History) []section {
	left := section{Title: "Left out"}
	for _, l := range h.LeftOut {
		left.Items = append(left.Items, item{Tone: fair, Text: clean(l.Run) + ": " + clean(l.Why)})
	}
	partly := section{Title: "Not whole"}
	other := section{Title: "Other conditions: a change at these runs may come from these"}
	changed := h.changedRuns()
	for i, r := range h.Runs {
		switch {
		case r.Running:
			partly.Items = append(partly.Items, item{Text: fmt.Sprintf("%s is still going on: %s missing so far", clean(r.Run), howMany(r.Missing, "cell"))})
		case r.Missing > 0:
			partly.Items = append(partly.Items, item{Text: fmt.Sprintf("%s: %s without a result", clean(r.Run), howMany(r.Missing, "cell"))})
		}
		for _, c := range r.Conditions {
			switch {
			case c.Refuse:
				other.Items = append(other.Items, item{Tone: bad, Text: "not comparable with the run before: " + clean(r.Run) + ": " + c.String()})
			case changed[i]:
				other.Items = append(other.Items, item{Tone: fair, Text: "since the run before: " + clean(r.Run) + ": " + c.String()})
			}
		}
	}
	return slices.DeleteFunc([]section{left, partly, other}, func(s section) bool { return len(s.Items) == 0 })
}

// historyTables hold a row a metric, one table a combination.
func historyTables(h History) []historyTable {
	var all []historyTable
	cell := ""
	for _, s := range h.Series {
		if len(all) == 0 || s.Cell != cell {
			cell = s.Cell
			t := historyTable{table: table{Title: cell, Columns: []column{
				{Head: "metric", Left: true}, {Head: "runs"}, {Head: "first", Rank: 2}, {Head: "least", Rank: 3}, {Head: "most", Rank: 3}, {Head: "last"}, {Head: "run by run", Left: true, Rank: 1},
			}}}
			if cell == "" {
				t.Title = "The one cell"
			}
			all = append(all, t)
		}
		t := &all[len(all)-1]
		first, last := s.Points[0].Value, s.Points[len(s.Points)-1].Value
		low, high := first, first
		for _, p := range s.Points {
			low, high = min(low, p.Value), max(high, p.Value)
		}
		t.Rows = append(t.Rows, []field{{Text: clean(s.String())}, {Text: strconv.Itoa(len(s.Points))}, {Text: number(&first)}, {Text: number(&low)},
			{Text: number(&high)}, {Text: number(&last)}, {Text: sparkline(s, len(h.Runs))}})
		if s.TooFew {
			t.few = append(t.few, fmt.Sprintf("too few runs to find a change: %d of %d", len(s.Points), h.LeastRuns))
			t.Items = append(t.Items, item{Text: clean(s.String()) + ": " + t.few[len(t.few)-1]})
		}
		for _, c := range s.Found {
			t.Items = append(t.Items, h.changedAt(s, c))
		}
	}
	for i := range all {
		t := &all[i]
		if len(t.few) == len(t.Rows) && len(slices.Compact(slices.Clone(t.few))) == 1 { // said once
			t.Note, t.Items = t.few[0], nil
		}
	}
	return all
}

// historyReading says how the tables are to be read.
func historyReading(h History) section {
	tested, found := 0, 0
	for _, s := range h.Series {
		if !s.TooFew {
			tested++
		}
		if len(s.Found) > 0 {
			found++
		}
	}
	out := section{Title: "How to read this"}
	say := func(format string, args ...any) {
		out.Items = append(out.Items, item{Text: fmt.Sprintf(format, args...)})
	}
	say("A value is a run's median over its repetitions, invalid ones left out. The marks reach from the least to the most of their row; a dot is a run without the number.")
	level := strconv.FormatFloat(h.Alpha, 'g', -1, 64)
	if tested == 0 {
		say("No series was searched for changes, and none is claimed: at p ≤ %s it takes %d runs.", level, h.LeastRuns)
	} else {
		say("Changes are findings at p ≤ %s (E-Divisive, %d permutations), from median to median of the runs before and behind. %s series were searched, %d changed; about %s would have one by chance where nothing changed.",
			level, h.Permutations, strconv.Itoa(tested), found, strconv.FormatFloat(h.Alpha*float64(tested), 'g', 2, 64))
		say("A change is a finding about when, not why: what else changed on the machines at that time counts as well.")
	}
	return out
}

//go:embed history.html.tmpl
var historyPage string

// historyView is a history on its page.
type historyView struct {
	Title, Dir string
	Remarks    []section
	Changes    section
	Charts     []chart.Chart
	NotDrawn   int
	Tables     []historyTable
	Runs       table
	Reading    section
}

// HistoryHTML writes a history as one file that needs no other.
func HistoryHTML(w io.Writer, h History) error {
	v := historyView{Title: historyTitle(h), Dir: clean(h.Dir), Remarks: historyRemarks(h), Tables: historyTables(h), Runs: runTable(h), Reading: historyReading(h)}
	v.Changes.Title = "What changed"
	for _, s := range h.Series {
		for _, c := range s.Found {
			i := h.changedAt(s, c)
			if s.Cell != "" {
				i.Text = s.Cell + ": " + i.Text
			}
			v.Changes.Items = append(v.Changes.Items, i)
		}
	}
	v.Charts, v.NotDrawn = historyCharts(h)
	return writePage(w, "history of "+h.Dir, historyPage, v)
}

func runTable(h History) table {
	t := table{Title: "Runs", Columns: []column{{Head: "no."}, {Head: "run", Left: true}, {Head: "began", Left: true}, {Head: "state", Left: true}}}
	for i, r := range h.Runs {
		state := field{Text: "whole"}
		if r.Running {
			state = field{Text: "still going on", Tone: fair}
		} else if r.Missing > 0 {
			state = field{Text: howMany(r.Missing, "cell") + " without a result", Tone: fair}
		}
		t.Rows = append(t.Rows, []field{{Text: strconv.Itoa(i + 1)}, {Text: clean(r.Run)}, {Text: r.StartedAt.UTC().Format("2006-01-02 15:04:05 UTC")}, state})
	}
	return t
}

// mostHistoryCharts bounds the pictures of a page; series that changed come first.
const mostHistoryCharts = 24

// historyCharts draw each series with its levels, and say how many there was no
// room for.
func historyCharts(h History) (all []chart.Chart, notDrawn int) {
	order := slices.Clone(h.Series)
	if len(order) > mostHistoryCharts {
		slices.SortStableFunc(order, func(a, b HistorySeries) int { return min(len(b.Found), 1) - min(len(a.Found), 1) })
		notDrawn = len(order) - mostHistoryCharts
		order = order[:mostHistoryCharts]
	}
	axis := chart.Axis{Title: "run, oldest first"}
	every := (len(h.Runs) + 5) / 6
	for i := 0; i < len(h.Runs); i += every {
		axis.Ticks = append(axis.Ticks, chart.Tick{At: float64(i), Text: strconv.Itoa(i + 1)})
	}
	for _, s := range order {
		drawn := chart.Chart{ID: fmt.Sprintf("history-%d", len(all)+1), Title: strings.TrimSpace(clean(s.String()) + " " + s.Cell), X: axis,
			Y: chart.Axis{Title: "median over repetitions", FromZero: true}, Lines: historyLines(h, s),
			Text: fmt.Sprintf("%s run by run, %s; the table has the numbers.", clean(s.String()), howMany(len(s.Found), "change"))}
		for _, c := range s.Found {
			x := float64(s.Points[c.At].Run)
			drawn.Bands = append(drawn.Bands, chart.Band{From: x - 0.6, To: x - 0.4, Class: "fault"})
		}
		if drawn.Drawn() {
			all = append(all, drawn)
		}
	}
	return all, notDrawn
}

func historyLines(h History, s HistorySeries) []chart.Line {
	values := chart.Line{Name: "runs", Colour: 0}
	for _, p := range s.Points {
		x := float64(p.Run)
		values.Dots = append(values.Dots, chart.Point{X: x, Y: p.Value, Title: fmt.Sprintf("%s: %s, n=%d", clean(h.Runs[p.Run].Run), number(&p.Value), p.N)})
		if p.Low != nil && p.High != nil {
			values.Intervals = append(values.Intervals, chart.Interval{X: x, Low: *p.Low, High: *p.High})
		}
	}
	lines := []chart.Line{values}
	if len(s.Found) == 0 {
		return lines
	}
	level := chart.Line{Name: "level", Colour: 1}
	from := 0
	for i := 0; i <= len(s.Found); i++ {
		to, value := len(s.Points), s.Found[max(i-1, 0)].To
		if i == 0 {
			value = s.Found[0].From
		}
		if i < len(s.Found) {
			to = s.Found[i].At
		}
		level.Points = append(level.Points, chart.Point{X: float64(s.Points[from].Run), Y: value},
			chart.Point{X: float64(s.Points[to-1].Run), Y: value}, chart.Point{X: math.NaN()})
		from = to
	}
	return append(lines, level)
}
