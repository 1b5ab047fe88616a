package chart

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strconv"

	"gonum.org/v1/plot/vg"
)

// Forest draws how many times as large things became, a row each: a mark at the
// ratio, a bar over its interval, and a line through all rows where nothing
// changed. Ratios have a logarithmic axis, so that half and twice are equally far.
type Forest struct {
	// ID is the picture's name in its page, a valid HTML id.
	ID    string
	Title string
	// Text says what is to be seen, for who cannot see it.
	Text string
	// Note is what to keep in mind of it.
	Note string
	Rows []Row
}

// Row is one thing that changed, or not.
type Row struct {
	Name string
	// Says stands at the row's right end, for who does not measure pictures.
	Says string
	// Title tells all of it, where it is pointed at.
	Title string
	// Ratio is of the new to the old; one that is not above zero has no mark.
	Ratio float64
	// Low and High are its interval; both 0 where there is none.
	Low, High float64
	// Class is the style, and Shape what the mark looks like without colours.
	Class string
	Shape Shape
}

// The measures of a forest, in the units of its width.
const (
	rowHigh  = 36 // a line of text, and below it the bar
	axisHigh = 24
	inset    = 8
	// lettersWide is about how many letters a row takes, so that texts do not meet.
	lettersWide = 70
	// farthest is the largest ratio that has a place; others are drawn at the edge.
	farthest = 1000
)

// SVG draws the forest; empty without rows.
func (f Forest) SVG() template.HTML {
	if len(f.Rows) == 0 {
		return ""
	}
	high := vg.Length(len(f.Rows)*rowHigh + axisHigh)
	s := newSurface(width, high)
	low, top := f.span()
	x := func(ratio float64) vg.Length {
		share := math.Log(min(max(ratio, 1/float64(farthest)), farthest)/low) / math.Log(top/low)
		return inset + vg.Length(share*(width-2*inset))
	}
	for _, t := range ratioTicks(low, top) {
		class := "grid"
		if t.At == 1 {
			class = "soft"
		}
		fmt.Fprintf(&s.out, `<path class="l %s" d="M%s,0L%[2]s,%[3]s" stroke-width="1"/><text x="%[2]s" y="%[4]s" text-anchor="middle">%[5]s</text>`+"\n",
			class, number(x(t.At)), number(high-axisHigh+4), number(high-6), html.EscapeString(t.Text))
	}
	for i, r := range f.Rows {
		f.row(s, r, vg.Length(i*rowHigh), x)
	}
	return template.HTML(s.document(f.ID, f.Title, f.Text)) //nolint:gosec // every text in it is escaped
}

func (f Forest) row(s *surface, r Row, top vg.Length, x func(float64) vg.Length) {
	class := html.EscapeString(r.Class)
	fmt.Fprintf(&s.out, `<g class="row"><title>%s</title>`, html.EscapeString(r.Title))
	room := lettersWide - len([]rune(r.Says)) - 2
	name := []rune(r.Name)
	if len(name) > max(room, 8) { // its beginning and its end: cells differ at both
		half := max(room, 8) / 2
		name = []rune(string(name[:half]) + "…" + string(name[len(name)-half+1:]))
	}
	fmt.Fprintf(&s.out, `<text class="name" x="%d" y="%s">%s</text><text class="%s" x="%d" y="%s" text-anchor="end">%s</text>`,
		inset, number(top+13), html.EscapeString(string(name)), class, width-inset, number(top+13), html.EscapeString(r.Says))
	if valid(r.Ratio) {
		y := top + 24
		if valid(r.Low) && valid(r.High) {
			fmt.Fprintf(&s.out, `<path class="l %s" d="M%s,%sL%s,%[3]s" stroke-width="2"/>`, class, number(x(r.Low)), number(y), number(x(r.High)))
			for _, end := range []float64{r.Low, r.High} {
				if end < farthest && end > 1.0/farthest { // one that goes on has no cap
					fmt.Fprintf(&s.out, `<path class="l %s" d="M%s,%sL%[2]s,%[4]s" stroke-width="2"/>`, class, number(x(end)), number(y-4), number(y+4))
				}
			}
		}
		s.out.WriteString(r.Shape.at(class, x(r.Ratio), y, 5, ""))
	}
	s.out.WriteString("</g>\n")
}

func valid(ratio float64) bool { return ratio > 0 && !math.IsInf(ratio, 0) }

// span is from which to which ratio the axis goes: over all that is drawn, and
// over 1, with some room.
func (f Forest) span() (low, top float64) {
	low, top = 1, 1
	for _, r := range f.Rows {
		for _, v := range []float64{r.Ratio, r.Low, r.High} {
			if valid(v) {
				v = min(max(v, 1.0/farthest), farthest)
				low, top = min(low, v), max(top, v)
			}
		}
	}
	low, top = min(low, 0.97), max(top, 1.03)
	room := math.Pow(top/low, 0.05)
	return low / room, top * room
}

// ratioTicks are percentages where all is near, and else factors.
func ratioTicks(low, top float64) []Tick {
	if low >= 0.45 && top <= 2.2 {
		for _, step := range []float64{0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5} {
			first, last := math.Ceil((low-1)/step-1e-9), math.Floor((top-1)/step+1e-9)
			if last-first > 6 {
				continue
			}
			var all []Tick
			for k := first; k <= last; k++ {
				text := "0"
				if k != 0 {
					text = fmt.Sprintf("%+.0f%%", k*step*100)
				}
				all = append(all, Tick{At: 1 + k*step, Text: text})
			}
			return all
		}
	}
	factors := []float64{2, 5, 10, 20, 50, 100, 200, 500, 1000}
	if decades := math.Log10(top / low); decades > 3.5 {
		factors = []float64{10, 100, 1000}
	} else if decades > 1.6 {
		factors = []float64{3, 10, 30, 100, 300, 1000}
	}
	var all []Tick
	for _, v := range factors {
		if 1/v >= low {
			all = append(all, Tick{At: 1 / v, Text: "÷" + strconv.FormatFloat(v, 'f', -1, 64)})
		}
		if v <= top {
			all = append(all, Tick{At: v, Text: "×" + strconv.FormatFloat(v, 'f', -1, 64)})
		}
	}
	return append(all, Tick{At: 1, Text: "0"})
}
