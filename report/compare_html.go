package report

import (
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strconv"

	"bela/report/chart"
)

//go:embed compare.html.tmpl
var comparePage string

// comparedPage is one comparison on the page.
type comparedPage struct {
	Head    []string
	Remarks []section
	// Findings count what was found, Forests show the differences, Charts both
	// medians.
	Findings table
	Forests  []chart.Forest
	NotDrawn int
	Charts   []chart.Chart
	Cells    []comparedTable
	Reading  section
}

// comparedTable is the table of two matched cells with what is said below it.
type comparedTable struct {
	table
	Items []item
}

// CompareHTML writes comparisons as one file that needs no other. What speaks
// against comparing at all comes first.
func CompareHTML(w io.Writer, cs []Comparison) error {
	var pages []comparedPage
	for i, c := range cs {
		p := comparedPage{Head: comparisonHead(c), Remarks: comparisonRemarks(c), Findings: findingsTable(c), Charts: besideCharts(c, i+1), Reading: reading(c)}
		p.Forests, p.NotDrawn = forests(c, i+1)
		for _, k := range c.Cells {
			t, items := cellsTable(k)
			p.Cells = append(p.Cells, comparedTable{t, items})
		}
		pages = append(pages, p)
	}
	return writePage(w, "comparison", comparePage, struct {
		Comparisons []comparedPage
		Marks       []markKey
	}{pages, marks()})
}

// markKey says what a mark of the differences means.
type markKey struct {
	Class string
	Shape chart.Shape
	What  string
}

func marks() []markKey {
	return []markKey{{"good", chart.Square, "better"}, {"bad", chart.Diamond, "worse"}, {"c0", chart.Circle, "differs, and no way is better"}, {"soft", chart.Hollow, "no evidence of a difference, or too few repetitions to tell"}}
}

// besideCharts draw each metric of the base beside the other's, cell by
// cell, with the medians' intervals; a metric that one side lacks is left out.
func besideCharts(c Comparison, nth int) []chart.Chart {
	var names []string
	for _, k := range c.Cells {
		for _, d := range k.Metrics {
			if name := d.String(); !slices.Contains(names, name) && d.Base != nil && d.Other != nil && len(names) < mostComparedCharts {
				names = append(names, name)
			}
		}
	}
	if len(c.Cells) > mostBesideCells {
		return nil // nobody reads hundreds of places on an axis
	}
	var axis chart.Axis
	every := (len(c.Cells) + 5) / 6
	for i, k := range c.Cells {
		if i%every == 0 {
			axis.Ticks = append(axis.Ticks, chart.Tick{At: float64(i), Text: strconv.Itoa(k.Base.Number)})
		}
	}
	axis.Title = "cell of the base"
	var all []chart.Chart
	for _, name := range names {
		base, other := chart.Line{Name: "base", Colour: 0}, chart.Line{Name: "other", Colour: 1, Dashed: true}
		for i, k := range c.Cells {
			for _, d := range k.Metrics {
				if d.String() != name || d.Base == nil || d.Other == nil {
					continue
				}
				about := fmt.Sprintf("%s: %s, change %s, %s", k.Cell, clean(name), changeText(d.Change), d.Finding)
				for _, side := range []struct {
					line      *chart.Line
					value     float64
					low, high *float64
					beside    float64
					name      string
				}{{&base, d.Base.Value, d.Base.Low, d.Base.High, -0.04, "base"}, {&other, d.Other.Value, d.Other.Low, d.Other.High, 0.04, "other"}} {
					x := float64(i) + side.beside
					point := chart.Point{X: x, Y: side.value, Title: side.name + " " + number(&side.value) + "; " + about}
					side.line.Points, side.line.Dots = append(side.line.Points, point), append(side.line.Dots, point)
					if side.low != nil && side.high != nil {
						side.line.Intervals = append(side.line.Intervals, chart.Interval{X: x, Low: *side.low, High: *side.high})
					}
				}
			}
		}
		drawn := chart.Chart{ID: fmt.Sprintf("beside%d-%d", nth, len(all)+1), Title: clean(name), X: axis, Lines: []chart.Line{base, other},
			Y: chart.Axis{Title: "medians over repetitions", FromZero: true}, Text: clean(name) + " of the base and of the other run, cell by cell; the tables have the numbers."}
		if drawn.Drawn() {
			all = append(all, drawn)
		}
	}
	return all
}

// mostBesideCells bounds how many cells have both medians drawn.
const mostBesideCells = 48

// mostComparedCharts bounds the pictures of one comparison.
const mostComparedCharts = mostForests
