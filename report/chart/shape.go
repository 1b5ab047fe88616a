package chart

import (
	"fmt"
	"html"
	"html/template"

	"gonum.org/v1/plot/vg"
)

// Shape is what a mark looks like, so that no meaning hangs on a colour alone.
type Shape int

// The shapes. Hollow is a circle that is not filled.
const (
	Circle Shape = iota
	Square
	Triangle
	Diamond
	Hollow
)

// shapeOf is the shape of a line's dots, by its colour.
func shapeOf(colour int) Shape { return Shape(colour % 4) }

// at draws the shape around a point, whose origin is at the top left; size is
// half of what it is wide.
func (s Shape) at(class string, x, y, size vg.Length, title string) string {
	element, kind, shape := "path", "f", ""
	switch s {
	case Square:
		shape = fmt.Sprintf(`d="M%s,%sh%[3]sv%[3]sh-%[3]sZ"`, number(x-0.85*size), number(y-0.85*size), number(1.7*size))
	case Triangle:
		shape = fmt.Sprintf(`d="M%s,%sl%s,%sh-%sZ"`, number(x), number(y-1.1*size), number(1.1*size), number(1.95*size), number(2.2*size))
	case Diamond:
		shape = fmt.Sprintf(`d="M%s,%sl%[3]s,%[3]sl-%[3]s,%[3]sl-%[3]s,-%[3]sZ"`, number(x), number(y-1.2*size), number(1.2*size))
	case Circle, Hollow:
		element, shape = "circle", fmt.Sprintf(`cx="%s" cy="%s" r="%s"`, number(x), number(y), number(size))
	}
	if s == Hollow {
		kind = "hollow"
	}
	head := fmt.Sprintf(`<%s class="%s %s" %s`, element, kind, class, shape)
	if title == "" {
		return head + "/>"
	}
	return head + "><title>" + html.EscapeString(title) + "</title></" + element + ">"
}

// Key is the shape as it stands in a legend.
func (s Shape) Key() template.HTML {
	return template.HTML(`<svg width="14" height="12" aria-hidden="true">` + s.at("", 7, 6, 4.5, "") + `</svg>`) //nolint:gosec // made of numbers
}

// Key is the line as it stands in a legend: its stroke, and the mark of its dots.
func (l Line) Key() template.HTML {
	dashes, mark := "", ""
	if l.Dashed {
		dashes = ` stroke-dasharray="6 4"`
	}
	if len(l.Dots) > 0 {
		mark = shapeOf(l.Colour).at("", 13, 6, 3.5, "")
	}
	return template.HTML(`<svg width="26" height="12" aria-hidden="true"><path class="l" d="M0,6L26,6" stroke-width="2"` + dashes + `/>` + mark + `</svg>`) //nolint:gosec // made of numbers
}
