package report

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"bela/measure"
	"bela/store"
)

// The chart's measures in its own units.
const (
	chartWidth, chartHeight         = 720.0, 320.0
	marginLeft, marginRight         = 64.0, 16.0
	marginTop, marginBottom         = 16.0, 48.0
	maxChartLines                   = 12 // p50 and p99 of six combinations
	plotWidth                       = chartWidth - marginLeft - marginRight
	plotHeight                      = chartHeight - marginTop - marginBottom
	chartDecadesAtLeast     float64 = 1
)

// chart is latency against the first dimension, laid out: every coordinate is
// ready, so that the template only writes them.
type chart struct {
	Width, Height            float64
	Left, Right, Top, Bottom float64
	XTitle                   string
	X                        []tick
	Y                        []tick
	Lines                    []chartLine
	NoRoom                   int // combinations that found no room
	Excluded                 int // invalid cells, not drawn
}

type tick struct {
	At   float64
	Text string
}

type chartLine struct {
	Name   string
	Class  string // colour and dash
	Points string // of the polyline
	Dots   []dot
}

type dot struct {
	X, Y  float64
	Title string
}

// newChart lays the chart out: the first dimension's values evenly spaced in the
// order of the plan, latency on a logarithmic axis, a line for p50 and one for
// p99 of each combination of the other dimensions. Each repetition is a dot;
// the line goes through the median of the repetitions. Nil where there is
// nothing to compare.
func newChart(run *store.Reader) *chart {
	if len(run.Plan.Dimensions) == 0 {
		return nil
	}
	first := run.Plan.Dimensions[0]
	c := &chart{
		Width: chartWidth, Height: chartHeight, XTitle: clean(first),
		Left: marginLeft, Right: chartWidth - marginRight, Top: marginTop, Bottom: chartHeight - marginBottom,
	}
	var values, groups []string
	low, high := math.Inf(1), math.Inf(-1)
	var drawn []measure.Cell
	for _, cell := range run.Cells {
		if cell.Verdict == measure.Invalid || cell.Latency.P50 == nil || cell.Latency.P99 == nil || *cell.Latency.P50 <= 0 || *cell.Latency.P99 <= 0 {
			c.Excluded++
			continue
		}
		drawn = append(drawn, cell)
		low, high = min(low, *cell.Latency.P50), max(high, *cell.Latency.P99)
		if v := dimension(cell.Dimensions, first); !slices.Contains(values, v) {
			values = append(values, v)
		}
		if g := others(cell, run.Plan.Dimensions[1:]); !slices.Contains(groups, g) {
			groups = append(groups, g)
		}
	}
	if len(values) < 2 {
		return nil
	}
	y := c.logAxis(low, high)
	x := func(i int) float64 {
		return round(marginLeft + plotWidth*(float64(i)+0.5)/float64(len(values)))
	}
	for i, v := range values {
		c.X = append(c.X, tick{x(i), v})
	}
	if most := maxChartLines / 2; len(groups) > most {
		c.NoRoom, groups = len(groups)-most, groups[:most]
	}
	for g, group := range groups {
		for _, q := range []struct {
			name string
			of   func(measure.Quantiles) *float64
		}{
			{"p50", func(q measure.Quantiles) *float64 { return q.P50 }},
			{"p99", func(q measure.Quantiles) *float64 { return q.P99 }},
		} {
			line := chartLine{Name: strings.TrimSpace(q.name + " " + group), Class: q.name + " c" + strconv.Itoa(g)}
			var points []string
			for i, v := range values {
				var repeated []float64
				for _, cell := range drawn {
					if dimension(cell.Dimensions, first) == v && others(cell, run.Plan.Dimensions[1:]) == group {
						ms := *q.of(cell.Latency)
						repeated = append(repeated, ms)
						line.Dots = append(line.Dots, dot{x(i), y(ms), line.Name + ", " + c.XTitle + " " + v + ": " + number(&ms) + " ms"})
					}
				}
				if len(repeated) > 0 {
					points = append(points, coordinate(x(i))+","+coordinate(y(median(repeated))))
				}
			}
			line.Points = strings.Join(points, " ")
			c.Lines = append(c.Lines, line)
		}
	}
	return c
}

// logAxis fits an axis around the values and returns where on it a value is.
func (c *chart) logAxis(low, high float64) func(float64) float64 {
	bottom, top := math.Log10(low)-0.1, math.Log10(high)+0.1
	if top-bottom < chartDecadesAtLeast {
		middle := (top + bottom) / 2
		bottom, top = middle-chartDecadesAtLeast/2, middle+chartDecadesAtLeast/2
	}
	y := func(v float64) float64 {
		return round(marginTop + plotHeight*(top-math.Log10(v))/(top-bottom))
	}
	steps := []float64{1, 2, 5}
	if top-bottom > 3 {
		steps = steps[:1]
	}
	for decade := math.Floor(bottom); decade <= top; decade++ {
		for _, s := range steps {
			if v := s * math.Pow(10, decade); math.Log10(v) >= bottom && math.Log10(v) <= top {
				c.Y = append(c.Y, tick{y(v), strconv.FormatFloat(v, 'g', 3, 64)})
			}
		}
	}
	return y
}

// others names a cell's combination of the other dimensions.
func others(c measure.Cell, dimensions []string) string {
	parts := make([]string, len(dimensions))
	for i, name := range dimensions {
		parts[i] = clean(name) + "=" + dimension(c.Dimensions, name)
	}
	return strings.Join(parts, " ")
}

func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

func round(v float64) float64 { return math.Round(v*10) / 10 }

func coordinate(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
