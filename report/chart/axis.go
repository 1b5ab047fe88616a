package chart

import (
	"math"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg/draw"
)

// span is the least and the largest of some values.
type span struct{ low, high float64 }

func newSpan() *span { return &span{math.Inf(1), math.Inf(-1)} }

func (s *span) take(v float64) { s.low, s.high = min(s.low, v), max(s.high, v) }

func (s *span) empty() bool { return s.low > s.high }

// reach is from where to where an axis goes: over the values, a share of their
// span beyond them, and never nowhere. A logarithmic axis has a decade at least.
func (s *span) reach(a Axis, beyond float64) (low, high float64) {
	low, high = s.low, s.high
	if a.Log {
		low, high = math.Log10(low), math.Log10(high)
		if least := 1.0; high-low < least {
			middle := (low + high) / 2
			low, high = middle-least/2, middle+least/2
		}
		return math.Pow(10, low-beyond*(high-low)), math.Pow(10, high+beyond*(high-low))
	}
	if a.FromZero {
		low = min(0, low)
	}
	if high <= low {
		step := max(math.Abs(high)*0.1, 0.5)
		if !a.FromZero {
			low -= step
		}
		high += step
	}
	add := beyond * (high - low)
	if !a.FromZero || low < 0 {
		low -= add
	}
	return low, high + add
}

// axis sets an axis of the plot up.
func (c Chart) axis(to *plot.Axis, a Axis) {
	soft := ink("soft")
	to.Width, to.Padding = 0, 6
	to.Color = ink("grid")
	to.Tick.Length, to.Tick.Width = 0, 0
	to.Tick.Label.Color, to.Tick.Label.Font.Size = soft, letters
	switch {
	case a.Ticks != nil:
		var marks []plot.Tick
		for _, t := range a.Ticks {
			marks = append(marks, plot.Tick{Value: t.At, Label: t.Text})
		}
		to.Tick.Marker = plot.ConstantTicks(marks)
	case a.Log:
		to.Tick.Marker = plot.TickerFunc(logTicks)
	default:
		to.Tick.Marker = plot.TickerFunc(linearTicks)
	}
	if a.Log {
		to.Scale = plot.LogScale{}
	}
}

// linearTicks are gonum's, with short labels and without those in between.
func linearTicks(low, high float64) []plot.Tick {
	var marks []plot.Tick
	for _, t := range (plot.DefaultTicks{}).Ticks(low, high) {
		if !t.IsMinor() {
			marks = append(marks, plot.Tick{Value: t.Value, Label: Short(t.Value)})
		}
	}
	return marks
}

// logTicks are at 1, 2 and 5 of each decade, or at 1 where there are many.
func logTicks(low, high float64) []plot.Tick {
	steps := []float64{1, 2, 5}
	if decades := math.Log10(high / low); decades > 6 {
		steps = nil
	} else if decades > 2.2 {
		steps = steps[:1]
	}
	var marks []plot.Tick
	for decade := math.Floor(math.Log10(low)); decade <= math.Log10(high); decade++ {
		if steps == nil && math.Mod(decade, 2) == 0 {
			marks = append(marks, plot.Tick{Value: math.Pow(10, decade), Label: Short(math.Pow(10, decade))})
		}
		for _, s := range steps {
			if v := s * math.Pow(10, decade); v >= low && v <= high {
				marks = append(marks, plot.Tick{Value: v, Label: Short(v)})
			}
		}
	}
	return marks
}

// Short writes a number for an axis: 1500000 is 1.5M.
func Short(v float64) string {
	unit := ""
	for _, u := range []struct {
		from float64
		name string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e4, "k"}} {
		if math.Abs(v) >= u.from*0.9999 {
			if u.name == "k" {
				u.from = 1e3
			}
			v, unit = v/u.from, u.name
			break
		}
	}
	return strconv.FormatFloat(math.Round(v*1e6)/1e6, 'g', 6, 64) + unit
}

// bands are drawn behind everything, each with its name at the top.
type bands struct {
	on    *surface
	bands []Band
}

// Plot implements plot.Plotter.
func (b bands) Plot(c draw.Canvas, p *plot.Plot) {
	x, _ := p.Transforms(&c)
	for _, band := range b.bands {
		from, to := max(band.From, p.X.Min), min(band.To, p.X.Max)
		if !(from < to) { // outside, or no numbers
			continue
		}
		b.on.band(band.Class, x(from), x(to), c.Min.Y, c.Max.Y, band.Name)
	}
}

// dots are points by themselves.
type dots struct {
	on     *surface
	colour ink
	shape  Shape
	points []Point
}

// Plot implements plot.Plotter.
func (d dots) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	for _, q := range d.points {
		d.on.dot(d.colour, d.shape, x(q.X), y(q.Y), q.Title)
	}
}

// bars are intervals, with a cap at either end.
type bars struct {
	style draw.LineStyle
	bars  []Interval
}

// Plot implements plot.Plotter.
func (b bars) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	for _, i := range b.bars {
		c.StrokeLine2(b.style, x(i.X), y(i.Low), x(i.X), y(i.High))
		for _, end := range []float64{i.Low, i.High} {
			c.StrokeLine2(b.style, x(i.X)-3.5, y(end), x(i.X)+3.5, y(end))
		}
	}
}
