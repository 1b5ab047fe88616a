package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strings"

	"bela/store"
)

// topology is what a cell's plan says of who runs where and who connects to whom.
type topology struct {
	Components []struct {
		Name      string `json:"name"`
		Kind      string `json:"kind"`
		Instances []struct {
			Index int    `json:"index"`
			Node  string `json:"node"`
		} `json:"instances"`
		Links map[string]string `json:"links"`
	} `json:"components"`
	Devices   *load `json:"devices"`
	Customers *load `json:"customers"`
}

// load is who makes messages, or takes them.
type load struct {
	Count  int    `json:"count"`
	Via    string `json:"via"`
	Shares []struct {
		Node  string `json:"node"`
		Count int    `json:"count"`
	} `json:"shares"`
}

// box is a part of the diagram: a component with its instances, or a load.
type box struct {
	Name  string
	Kind  string // "load" or "component"
	Lines []string
	X, Y  int
	Wide  int
	High  int
}

// diagram is a testbed as a picture, laid out.
type diagram struct {
	Wide, High int
	Boxes      []box
	Edges      []edge
	Cell       string
	Text       string
}

type edge struct {
	Path  string
	Title string
}

const (
	boxWide, boxGap   = 190, 70
	lineHigh, boxHead = 17, 30
	mostLines         = 6 // instances by name in one box
	mostBoxes         = 40
)

// newDiagram draws the first cell that was measured; nil where the plan has none
// that can be drawn.
func newDiagram(run *store.Reader) *diagram {
	var plan struct {
		Cells []struct {
			Position int `json:"position"`
			topology
		} `json:"cells"`
	}
	if len(run.Cells) == 0 || json.Unmarshal(run.PlanJSON, &plan) != nil {
		return nil
	}
	first := run.Cells[0]
	for _, c := range plan.Cells {
		if c.Position == first.Position && len(c.Components) > 0 && len(c.Components) <= mostBoxes {
			d := lay(c.topology)
			d.Cell = "cell " + label(run, first.Number, first.Repetition)
			return d
		}
	}
	return nil
}

// lay places boxes in columns by how many connections they are away from the
// devices. An edge goes from who connects to what it connects to.
func lay(t topology) *diagram {
	d := &diagram{}
	near := map[string]map[string]bool{}
	join := func(a, b string) {
		for _, p := range [][2]string{{a, b}, {b, a}} {
			if near[p[0]] == nil {
				near[p[0]] = map[string]bool{}
			}
			near[p[0]][p[1]] = true
		}
	}
	const devices, customers = "\x00devices", "\x00customers" // no component is called so
	depth := map[string]int{}
	var said []string
	addLoad := func(id, name string, l *load) {
		if l == nil {
			return
		}
		b := box{Name: fmt.Sprintf("%d %s", l.Count, name), Kind: "load"}
		for _, s := range l.Shares {
			b.Lines = append(b.Lines, fmt.Sprintf("%d on %s", s.Count, clean(s.Node)))
		}
		d.Boxes = append(d.Boxes, b)
		depth[id] = 0
		join(id, l.Via)
		said = append(said, fmt.Sprintf("%d %s connect to %s", l.Count, name, clean(l.Via)))
	}
	ids := []string{}
	if t.Devices != nil {
		addLoad(devices, "devices", t.Devices)
		ids = append(ids, devices)
	}
	if t.Customers != nil {
		addLoad(customers, "customers", t.Customers)
		ids = append(ids, customers)
	}
	for _, c := range t.Components {
		b := box{Name: clean(c.Name), Kind: "component"}
		for _, i := range c.Instances {
			b.Lines = append(b.Lines, fmt.Sprintf("%d on %s", i.Index, clean(i.Node)))
		}
		d.Boxes = append(d.Boxes, b)
		ids = append(ids, c.Name)
		for _, to := range slices.Sorted(maps.Values(c.Links)) {
			join(c.Name, to)
			said = append(said, clean(c.Name)+" connects to "+clean(to))
		}
	}
	for changed := true; changed; {
		changed = false
		for _, from := range slices.Sorted(maps.Keys(depth)) {
			for to := range near[from] {
				if at, ok := depth[to]; !ok || at > depth[from]+1 {
					depth[to], changed = depth[from]+1, true
				}
			}
		}
	}
	d.place(ids, depth)
	at := map[string]box{}
	for i, id := range ids {
		at[id] = d.Boxes[i]
	}
	link := func(from, to string) {
		if a, ok := at[from]; ok {
			if b, ok := at[to]; ok {
				d.Edges = append(d.Edges, edge{Path: curve(a, b), Title: a.Name + " → " + b.Name})
			}
		}
	}
	if t.Devices != nil {
		link(devices, t.Devices.Via)
	}
	if t.Customers != nil {
		link(customers, t.Customers.Via)
	}
	for _, c := range t.Components {
		for _, to := range slices.Sorted(maps.Values(c.Links)) {
			link(c.Name, to)
		}
	}
	d.Text = strings.Join(said, "; ") + "."
	return d
}

// place gives every box its place, column by column.
func (d *diagram) place(ids []string, depth map[string]int) {
	columns := map[int][]int{}
	last := 0
	for i, id := range ids {
		b := &d.Boxes[i]
		if n := len(b.Lines); n > mostLines {
			b.Lines = append(b.Lines[:mostLines-1:mostLines-1], fmt.Sprintf("and %d more", n-mostLines+1))
		}
		b.Wide, b.High = boxWide, boxHead+lineHigh*len(b.Lines)+4
		column, reached := depth[id]
		if !reached {
			column = 1
		}
		columns[column] = append(columns[column], i)
		last = max(last, column)
	}
	for column := 0; column <= last; column++ {
		high := 0
		for _, i := range columns[column] {
			high += d.Boxes[i].High + 24
		}
		d.High = max(d.High, high)
	}
	for column := 0; column <= last; column++ {
		high := -24
		for _, i := range columns[column] {
			high += d.Boxes[i].High + 24
		}
		y := (d.High - high) / 2
		for _, i := range columns[column] {
			d.Boxes[i].X, d.Boxes[i].Y = 2+column*(boxWide+boxGap), y
			y += d.Boxes[i].High + 24
		}
	}
	d.Wide = 4 + last*(boxWide+boxGap) + boxWide
}

// curve leads from one box to another: from side to side, or around where they
// stand in one column.
func curve(a, b box) string {
	ay, by := a.Y+a.High/2, b.Y+b.High/2
	switch cmp.Compare(a.X, b.X) {
	case -1:
		x1, x2 := a.X+a.Wide, b.X-4
		return fmt.Sprintf("M%d,%d C%d,%d %d,%d %d,%d", x1, ay, x1+boxGap/2, ay, x2-boxGap/2, by, x2, by)
	case 1:
		x1, x2 := a.X, b.X+b.Wide+4
		return fmt.Sprintf("M%d,%d C%d,%d %d,%d %d,%d", x1, ay, x1-boxGap/2, ay, x2+boxGap/2, by, x2, by)
	}
	x := a.X + a.Wide
	return fmt.Sprintf("M%d,%d C%d,%d %d,%d %d,%d", x, ay, x+boxGap/2, ay, x+boxGap/2, by, x+4, by)
}

// SVG draws the diagram.
func (d *diagram) SVG() template.HTML {
	esc := template.HTMLEscapeString
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="diagram" viewBox="0 0 %d %d" width="%[1]d" role="img" aria-labelledby="topology-t topology-d"><title id="topology-t">Topology</title><desc id="topology-d">%[3]s</desc>`, d.Wide, d.High, esc(d.Text))
	b.WriteString(`<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path class="f soft" d="M0,0L8,4L0,8Z"/></marker></defs>`)
	for _, e := range d.Edges {
		fmt.Fprintf(&b, `<path class="l soft" d="%s" stroke-width="1.5" marker-end="url(#arrow)"><title>%s</title></path>`+"\n", e.Path, esc(e.Title))
	}
	for _, k := range d.Boxes {
		fmt.Fprintf(&b, `<g class="box %s"><title>%s: %s</title><rect x="%d" y="%d" width="%d" height="%d" rx="6"/><text class="head" x="%d" y="%d">%s</text>`,
			k.Kind, esc(k.Name), esc(strings.Join(k.Lines, ", ")), k.X, k.Y, k.Wide, k.High, k.X+10, k.Y+20, esc(shorten(k.Name, 22)))
		for i, l := range k.Lines {
			fmt.Fprintf(&b, `<text x="%d" y="%d">%s</text>`, k.X+10, k.Y+boxHead+8+lineHigh*i, esc(shorten(l, 26)))
		}
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>")
	return template.HTML(b.String()) //nolint:gosec // every text in it is escaped above
}

// shorten cuts a text to so many signs.
func shorten(text string, most int) string {
	if signs := []rune(text); len(signs) > most {
		return string(signs[:most-1]) + "…"
	}
	return text
}
