package chart

import (
	"fmt"
	"html"
	"image"
	"image/color"
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"
)

// ink is a colour by its name in the style sheet.
type ink string

// RGBA implements color.Color. Nobody asks for it: the surface takes the name.
func (ink) RGBA() (r, g, b, a uint32) { return 0, 0, 0, 0xffff }

// surface is a vg.Canvas that writes SVG with classes where others have colours.
// Lengths are the chart's units; the origin is at the bottom, as in gonum.
type surface struct {
	wide, high vg.Length
	out        strings.Builder
	now        pen
	saved      []pen
}

// pen is a surface's state.
type pen struct {
	colour color.Color
	wide   vg.Length
	dashes []vg.Length
	turn   [6]float64 // the affine transform, as SVG orders it
}

func newSurface(wide, high vg.Length) *surface {
	s := &surface{wide: wide, high: high}
	s.now.turn = [6]float64{1, 0, 0, 1, 0, 0}
	vg.Initialize(s)
	return s
}

// document is the whole picture, with its name and description.
func (s *surface) document(id, title, text string) string {
	return fmt.Sprintf(`<svg class="chart" viewBox="0 0 %s %s" role="img" aria-labelledby="%[3]s-t %[3]s-d"><title id="%[3]s-t">%[4]s</title><desc id="%[3]s-d">%[5]s</desc>`+"\n%[6]s</svg>",
		number(s.wide), number(s.high), html.EscapeString(id), html.EscapeString(title), html.EscapeString(text), s.out.String())
}

// Size implements vg.CanvasSizer.
func (s *surface) Size() (wide, high vg.Length) { return s.wide, s.high }

// SetLineWidth implements vg.Canvas.
func (s *surface) SetLineWidth(w vg.Length) { s.now.wide = w }

// SetLineDash implements vg.Canvas.
func (s *surface) SetLineDash(dashes []vg.Length, _ vg.Length) { s.now.dashes = dashes }

// SetColor implements vg.Canvas.
func (s *surface) SetColor(c color.Color) { s.now.colour = c }

// Rotate implements vg.Canvas.
func (s *surface) Rotate(rad float64) {
	sin, cos := math.Sincos(rad)
	s.now.turn = compose(s.now.turn, [6]float64{cos, sin, -sin, cos, 0, 0})
}

// Translate implements vg.Canvas.
func (s *surface) Translate(p vg.Point) {
	s.now.turn = compose(s.now.turn, [6]float64{1, 0, 0, 1, float64(p.X), float64(p.Y)})
}

// Scale implements vg.Canvas.
func (s *surface) Scale(x, y float64) {
	s.now.turn = compose(s.now.turn, [6]float64{x, 0, 0, y, 0, 0})
}

// compose is first b, then a.
func compose(a, b [6]float64) [6]float64 {
	return [6]float64{
		a[0]*b[0] + a[2]*b[1], a[1]*b[0] + a[3]*b[1],
		a[0]*b[2] + a[2]*b[3], a[1]*b[2] + a[3]*b[3],
		a[0]*b[4] + a[2]*b[5] + a[4], a[1]*b[4] + a[3]*b[5] + a[5],
	}
}

// Push implements vg.Canvas.
func (s *surface) Push() { s.saved = append(s.saved, s.now) }

// Pop implements vg.Canvas.
func (s *surface) Pop() {
	s.now, s.saved = s.saved[len(s.saved)-1], s.saved[:len(s.saved)-1]
}

// at is where a point lies in the picture, whose origin is at the top.
func (s *surface) at(p vg.Point) string {
	t, x, y := s.now.turn, float64(p.X), float64(p.Y)
	return number(vg.Length(t[0]*x+t[2]*y+t[4])) + "," + number(s.high-vg.Length(t[1]*x+t[3]*y+t[5]))
}

// path is the data of a path of straight lines; what is round is drawn as dots.
func (s *surface) path(p vg.Path) string {
	var b strings.Builder
	for _, part := range p {
		switch part.Type {
		case vg.MoveComp:
			b.WriteString("M" + s.at(part.Pos))
		case vg.LineComp, vg.ArcComp, vg.CurveComp:
			b.WriteString("L" + s.at(part.Pos))
		case vg.CloseComp:
			b.WriteString("Z")
		}
	}
	return b.String()
}

// class is the current colour's name.
func (s *surface) class() string {
	if named, ok := s.now.colour.(ink); ok {
		return string(named)
	}
	return "ink"
}

// Stroke implements vg.Canvas.
func (s *surface) Stroke(p vg.Path) {
	if s.now.wide <= 0 || s.now.colour == nil {
		return
	}
	dashes := ""
	if len(s.now.dashes) > 0 {
		var lengths []string
		for _, d := range s.now.dashes {
			lengths = append(lengths, number(d))
		}
		dashes = ` stroke-dasharray="` + strings.Join(lengths, " ") + `"`
	}
	fmt.Fprintf(&s.out, `<path class="l %s" d="%s" stroke-width="%s"%s/>`+"\n", s.class(), s.path(p), number(s.now.wide), dashes)
}

// Fill implements vg.Canvas.
func (s *surface) Fill(p vg.Path) {
	fmt.Fprintf(&s.out, `<path class="f %s" d="%s"/>`+"\n", s.class(), s.path(p))
}

// FillString implements vg.Canvas.
func (s *surface) FillString(_ font.Face, p vg.Point, text string) {
	x, y, _ := strings.Cut(s.at(p), ",")
	turned := ""
	if angle := math.Atan2(s.now.turn[1], s.now.turn[0]); angle != 0 {
		turned = fmt.Sprintf(` transform="rotate(%s %s %s)"`, number(vg.Length(-angle*180/math.Pi)), x, y)
	}
	fmt.Fprintf(&s.out, `<text class="%s" x="%s" y="%s"%s>%s</text>`+"\n", s.class(), x, y, turned, html.EscapeString(text))
}

// DrawImage implements vg.Canvas. Charts hold no images.
func (s *surface) DrawImage(vg.Rectangle, image.Image) {}

// band fills a stretch from the bottom to the top and names it there.
func (s *surface) band(class string, from, to, bottom, top vg.Length, name string) {
	fmt.Fprintf(&s.out, `<g class="band %s"><title>%s</title><rect x="%s" y="%s" width="%s" height="%s"/>`,
		html.EscapeString(class), html.EscapeString(name), number(from), number(s.high-top), number(to-from), number(top-bottom))
	if room := int((to - from) / (letters * 0.58)); room >= len([]rune(name)) {
		fmt.Fprintf(&s.out, `<text x="%s" y="%s">%s</text>`, number(from+3), number(s.high-top+letters), html.EscapeString(name))
	}
	s.out.WriteString("</g>\n")
}

// dot draws a single value.
func (s *surface) dot(colour ink, shape Shape, x, y vg.Length, title string) {
	s.out.WriteString(shape.at(string(colour), x, s.high-y, 3, title) + "\n")
}

// number writes a length with a tenth of a unit.
func number(v vg.Length) string {
	return strconv.FormatFloat(math.Round(float64(v)*10)/10, 'f', -1, 64)
}
