// Package chart draws lines over axes as SVG that takes its colours from the
// page's style sheet, so that one drawing serves by light, by dark and in print.
// It knows values, names and units, and nothing of runs. Axes, ticks and grids
// are gonum's; what is ours is the surface that they are drawn on.
package chart

import (
	"html/template"
	"math"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// The size of a chart in its own units, which are CSS pixels at full size. It is
// narrow, so that its letters can still be read on a phone.
const (
	width, height = 460, 250
	letters       = 12
)

// Colours is how many colours the style sheet has: classes c0 to c7.
const Colours = 8

// Chart is what to draw.
type Chart struct {
	// ID is the chart's name in its page, a valid HTML id.
	ID    string
	Title string
	// Text says what is to be seen, for who cannot see it.
	Text string
	// Note is what to keep in mind of it.
	Note string
	X, Y Axis
	// Bands lie behind the lines.
	Bands []Band
	Lines []Line
}

// Axis is one of the two.
type Axis struct {
	// Title is what is along it, with the unit; the page says it below.
	Title string
	// Log draws values on a logarithmic axis; those that are not above zero are
	// left out.
	Log bool
	// Ticks are where it is marked; nil leaves that to the values.
	Ticks []Tick
	// FromZero has the axis begin at zero.
	FromZero bool
}

// Tick is a marked value.
type Tick struct {
	At   float64
	Text string
}

// Line is values that belong together.
type Line struct {
	Name string
	// Colour is from 0 to Colours-1.
	Colour int
	Dashed bool
	// Points are joined; one that is not a number breaks the line.
	Points []Point
	// Dots are drawn by themselves.
	Dots []Point
	// Intervals are drawn as bars.
	Intervals []Interval
}

// Point is a value at a place. Title tells what it is, where it is pointed at.
type Point struct {
	X, Y  float64
	Title string
}

// Interval reaches from Low to High.
type Interval struct{ X, Low, High float64 }

// Band is a stretch of the horizontal axis: a phase, or a time of trouble.
type Band struct {
	From, To float64
	Name     string
	// Class is the style: "phase" or "fault".
	Class string
}

// SVG draws the chart; empty where it has nothing to show.
func (c Chart) SVG() template.HTML {
	p := plot.New()
	p.BackgroundColor = nil
	if !c.fit(p) {
		return ""
	}
	c.axis(&p.X, c.X)
	c.axis(&p.Y, c.Y)
	grid := plotter.NewGrid()
	grid.Horizontal = draw.LineStyle{Color: ink("grid"), Width: 1}
	grid.Vertical.Color = nil
	s := newSurface(width, height)
	p.Add(bands{s, c.Bands}, grid)
	for _, l := range c.Lines {
		c.add(p, s, l)
	}
	p.Draw(draw.Crop(draw.New(s), 4, -18, 0, -6))
	return template.HTML(s.document(c.ID, c.Title, c.Text)) //nolint:gosec // every text in it is escaped by the surface
}

// add draws a line: its interval bars, its stretches, its dots.
func (c Chart) add(p *plot.Plot, s *surface, l Line) {
	colour := ink("c" + strconv.Itoa(l.Colour%Colours))
	style := draw.LineStyle{Color: colour, Width: 2}
	if l.Dashed {
		style.Dashes = []vg.Length{6, 4}
	}
	reach := bars{style: draw.LineStyle{Color: colour, Width: 1.2}}
	for _, i := range l.Intervals {
		if c.shown(i.X, i.Low) && c.shown(i.X, i.High) {
			reach.bars = append(reach.bars, i)
		}
	}
	p.Add(reach)
	var stretch plotter.XYs
	end := func() {
		if len(stretch) > 1 {
			p.Add(&plotter.Line{XYs: stretch, LineStyle: style})
		} else if len(stretch) == 1 && len(l.Dots) == 0 {
			p.Add(dots{s, colour, shapeOf(l.Colour), []Point{{X: stretch[0].X, Y: stretch[0].Y}}})
		}
		stretch = nil
	}
	for _, q := range l.Points {
		if !c.shown(q.X, q.Y) {
			end()
			continue
		}
		stretch = append(stretch, plotter.XY{X: q.X, Y: q.Y})
	}
	end()
	shown := dots{s, colour, shapeOf(l.Colour), nil}
	for _, q := range l.Dots {
		if c.shown(q.X, q.Y) {
			shown.points = append(shown.points, q)
		}
	}
	p.Add(shown)
}

// shown says whether a value has a place on the axes.
func (c Chart) shown(x, y float64) bool {
	finite := func(v float64, a Axis) bool {
		return !math.IsNaN(v) && !math.IsInf(v, 0) && (!a.Log || v > 1e-12) && math.Abs(v) < 1e15
	}
	return finite(x, c.X) && finite(y, c.Y)
}

// Drawn says whether the chart has a value to show.
func (c Chart) Drawn() bool { return c.fit(plot.New()) }

// fit makes the axes reach over all values; false where there is none.
func (c Chart) fit(p *plot.Plot) bool {
	x, y := newSpan(), newSpan()
	take := func(px, py float64) {
		if c.shown(px, py) {
			x.take(px)
			y.take(py)
		}
	}
	for _, l := range c.Lines {
		for _, q := range l.Points {
			take(q.X, q.Y)
		}
		for _, q := range l.Dots {
			take(q.X, q.Y)
		}
		for _, i := range l.Intervals {
			take(i.X, i.Low)
			take(i.X, i.High)
		}
	}
	if x.empty() {
		return false
	}
	for _, b := range c.Bands {
		if c.shown(b.From, y.low) && c.shown(b.To, y.low) {
			x.take(b.From)
			x.take(b.To)
		}
	}
	for _, t := range c.X.Ticks {
		x.take(t.At)
	}
	beside := 0.0
	if c.X.Ticks != nil && !c.X.Log { // the first and the last are not to lie on the edge
		beside = 0.04
	}
	p.X.Min, p.X.Max = x.reach(c.X, beside)
	p.Y.Min, p.Y.Max = y.reach(c.Y, 0.06)
	return true
}
