package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"bela/measure"
	"bela/report/chart"
)

// comparedMetric is one metric in all cells that have it.
type comparedMetric struct {
	Name  string
	Cells []comparedPlace
}

type comparedPlace struct {
	Cell string
	MetricDifference
}

// byMetric turns a comparison around: metric by metric, and in it cell by cell.
func byMetric(c Comparison) []comparedMetric {
	var all []comparedMetric
	for _, k := range c.Cells {
		cell := k.Cell
		for _, own := range []string{k.Base.Own, k.Other.Own} {
			if own != "" {
				cell = strings.TrimSpace(cell + " " + own)
			}
		}
		if cell == "" {
			cell = "the one cell"
		}
		for _, d := range k.Metrics {
			i := slices.IndexFunc(all, func(m comparedMetric) bool { return m.Name == d.String() })
			if i < 0 {
				all, i = append(all, comparedMetric{Name: d.String()}), len(all)
			}
			all[i].Cells = append(all[i].Cells, comparedPlace{cell, d})
		}
	}
	return all
}

// findingsTable counts what was found, metric by metric; without rows where
// there is one cell, whose table says the same.
func findingsTable(c Comparison) table {
	t := table{Title: "Findings by metric", Note: "in how many cells"}
	if len(c.Cells) < 2 {
		return t
	}
	metrics := byMetric(c)
	counts := make([]map[string]int, len(metrics))
	all := map[string]int{}
	for i, m := range metrics {
		counts[i] = map[string]int{}
		for _, d := range m.Cells {
			kind := kindOf(d.MetricDifference)
			counts[i][kind]++
			all[kind]++
		}
	}
	// What is nowhere has no column, but for what everybody looks for.
	var kinds []string
	for _, kind := range []string{"better", "worse", "lower", "higher", "no evidence", "too few", "not measured"} {
		if all[kind] > 0 || kind == "better" || kind == "worse" {
			kinds = append(kinds, kind)
		}
	}
	if all["lower"]+all["higher"] > 0 {
		t.Note += "; lower and higher are findings where no way is better"
	}
	if all["too few"] > 0 {
		t.Note += "; too few are the repetitions for a test"
	}
	t.Columns = []column{{Head: "metric", Left: true}, {Head: "cells"}}
	for _, kind := range kinds {
		t.Columns = append(t.Columns, column{Head: kind})
	}
	t.Columns = append(t.Columns, column{Head: "largest finding", Left: true, Rank: 1})
	for i, m := range metrics {
		row := []field{{Text: clean(m.Name)}, {Text: strconv.Itoa(len(m.Cells))}}
		for _, kind := range kinds {
			row = append(row, count(counts[i][kind], map[string]tone{"better": good, "worse": bad}[kind]))
		}
		t.Rows = append(t.Rows, append(row, field{Text: largestFinding(m)}))
	}
	return t
}

// largestFinding is the largest change that was found, and where.
func largestFinding(m comparedMetric) string {
	var most *comparedPlace
	for i, d := range m.Cells {
		if found(d.MetricDifference) && (most == nil || size(d.Change) > size(most.Change)) {
			most = &m.Cells[i]
		}
	}
	switch {
	case most == nil:
		return missing
	case most.Change == nil:
		return number(&most.Base.Value) + " to " + number(&most.Other.Value) + " at " + most.Cell
	}
	return changeText(most.Change) + " at " + most.Cell
}

func found(d MetricDifference) bool {
	return d.Finding == measure.Lower || d.Finding == measure.Higher
}

// kindOf is what a difference counts as.
func kindOf(d MetricDifference) string {
	switch {
	case d.Improved != nil && *d.Improved:
		return "better"
	case d.Improved != nil:
		return "worse"
	case found(d):
		return string(d.Finding)
	case d.TooFew:
		return "too few"
	case d.Finding == measure.NoEvidence:
		return "no evidence"
	}
	return "not measured"
}

// size is how large a relative change is, half as large as twice; one from zero
// is larger than all.
func size(change *float64) float64 {
	if change == nil || *change <= -1 {
		return math.Inf(1)
	}
	return math.Abs(math.Log1p(*change))
}

const (
	// mostForests bounds the pictures of one comparison, mostForestRows the cells
	// of a picture.
	mostForests    = 24
	mostForestRows = 24
	fewForestRows  = 8 // where nothing was found
)

// forests draw the differences, a picture a metric and a row a cell; those
// without a number on one side are left out. NotDrawn are metrics that found no
// room.
func forests(c Comparison, nth int) (all []chart.Forest, notDrawn int) {
	for _, m := range byMetric(c) {
		m.Cells = slices.DeleteFunc(m.Cells, func(d comparedPlace) bool { return d.Base == nil || d.Other == nil })
		if len(m.Cells) == 0 {
			continue
		}
		if len(all) == mostForests {
			notDrawn++
			continue
		}
		f := chart.Forest{ID: fmt.Sprintf("difference%d-%d", nth, len(all)+1), Title: clean(m.Name),
			Text: "Relative change of " + clean(m.Name) + " from the base to the other run, cell by cell, with its interval; the tables have the numbers."}
		rows := mostForestRows
		if !slices.ContainsFunc(m.Cells, func(d comparedPlace) bool { return found(d.MetricDifference) }) {
			rows = fewForestRows
		}
		if n := len(m.Cells); n > rows {
			f.Note = fmt.Sprintf("%d of %d cells: findings first, and of them the largest. The tables have all.", rows, n)
			m.Cells = largest(m.Cells, rows)
		}
		for _, d := range m.Cells {
			f.Rows = append(f.Rows, forestRow(d))
		}
		all = append(all, f)
	}
	return all, notDrawn
}

// largest are the cells that a picture has room for, in the order of the matrix.
func largest(cells []comparedPlace, rows int) []comparedPlace {
	order := make([]int, len(cells))
	for i := range order {
		order[i] = i
	}
	rank := func(i int) int {
		if found(cells[i].MetricDifference) {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(rank(a)-rank(b), cmp.Compare(size(cells[b].Change), size(cells[a].Change)))
	})
	order = order[:rows]
	slices.Sort(order)
	var out []comparedPlace
	for _, i := range order {
		out = append(out, cells[i])
	}
	return out
}

func forestRow(d comparedPlace) chart.Row {
	r := chart.Row{Name: d.Cell, Class: "soft", Shape: chart.Hollow}
	kind := kindOf(d.MetricDifference)
	switch kind {
	case "better":
		r.Class, r.Shape = "good", chart.Square
	case "worse":
		r.Class, r.Shape = "bad", chart.Diamond
	case "lower", "higher":
		r.Class, r.Shape = "c0", chart.Circle
	}
	r.Says = changeText(d.Change)
	if d.Change == nil {
		r.Says = number(&d.Base.Value) + " to " + number(&d.Other.Value)
	} else if *d.Change > -1 {
		r.Ratio = 1 + *d.Change
	}
	if d.Base.Value <= 0 && d.Other.Value != d.Base.Value { // ratios say nothing
		r.Ratio = 0
	}
	if d.Ratio != nil {
		r.Low, r.High = d.Ratio.Low, d.Ratio.High
		r.Says += " " + ratioText(d.Ratio)
	}
	r.Says += " " + kind
	r.Title = fmt.Sprintf("%s: %s from %s to %s, change %s %s, %s", d.Cell, clean(d.String()), number(&d.Base.Value), number(&d.Other.Value), changeText(d.Change), ratioText(d.Ratio), kind)
	return r
}
