package tui

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"bela/live"
)

// combination is one place in the matrix with its repetitions.
type combination struct {
	number  int
	values  []string // one a dimension
	cells   []*live.Cell
	current bool
}

// matrix is the cells as a grid: at most two dimensions that vary.
type matrix struct {
	combos []combination
	vary   []int    // the dimensions with more than one value
	fixed  string   // the others: qos=1
	names  []string // the dimensions' names
}

func newMatrix(s *live.State) matrix {
	var m matrix
	index := map[int]int{}
	for i := range s.Cells {
		c := &s.Cells[i]
		k, ok := index[c.Ref.Number]
		if !ok {
			k = len(m.combos)
			index[c.Ref.Number] = k
			combo := combination{number: c.Ref.Number}
			for _, v := range c.Ref.Dimensions {
				combo.values = append(combo.values, live.Coordinate(v.Value))
			}
			m.combos = append(m.combos, combo)
		}
		m.combos[k].cells = append(m.combos[k].cells, c)
		m.combos[k].current = m.combos[k].current || i == s.Current
	}
	sort.SliceStable(m.combos, func(i, j int) bool { return m.combos[i].number < m.combos[j].number })
	if len(m.combos) == 0 {
		return m
	}
	for _, v := range m.combos[0].cells[0].Ref.Dimensions {
		m.names = append(m.names, live.Clean(v.Name))
	}
	var fixed []string
	for dim := range m.names {
		if vs := m.values(dim); len(vs) > 1 {
			m.vary = append(m.vary, dim)
		} else if len(vs) == 1 {
			fixed = append(fixed, m.names[dim]+"="+vs[0])
		}
	}
	m.fixed = strings.Join(fixed, " ")
	return m
}

// values lists a dimension's values in the order as written.
func (m matrix) values(dim int) []string {
	var vs []string
	for _, c := range m.combos {
		if dim < len(c.values) && !slices.Contains(vs, c.values[dim]) {
			vs = append(vs, c.values[dim])
		}
	}
	return vs
}

// find returns the combination at a column and a row; nil where the matrix
// leaves it out. A dimension of -1 does not count.
func (m matrix) find(colDim int, col string, rowDim int, row string) *combination {
	for i := range m.combos {
		c := &m.combos[i]
		if (colDim < 0 || colDim < len(c.values) && c.values[colDim] == col) && (rowDim < 0 || rowDim < len(c.values) && c.values[rowDim] == row) {
			return c
		}
	}
	return nil
}

// text is what a combination's place shows: a sign a repetition, and where wide
// the latency that came out, or how far it is.
func (c *combination) text(s *live.State, wide bool) string {
	if c == nil {
		return ""
	}
	var b strings.Builder
	if len(c.cells) <= 5 {
		for _, k := range c.cells {
			b.WriteString(sign(k.Status))
		}
	} else {
		done := 0
		for _, k := range c.cells {
			if k.Status > live.Running {
				done++
			}
		}
		fmt.Fprintf(&b, "%s %d/%d", sign(c.status()), done, len(c.cells))
	}
	if !wide {
		return b.String()
	}
	for i := len(c.cells) - 1; i >= 0; i-- {
		k := c.cells[i]
		if k.Status == live.Running && k.Ref.Expected > 0 {
			share := s.Now.Sub(k.Started).Seconds() / k.Ref.Expected.Seconds()
			return fmt.Sprintf("%s %.0f%%", b.String(), min(max(share, 0), 0.99)*100)
		}
	}
	for i := len(c.cells) - 1; i >= 0; i-- {
		if k := c.cells[i]; k.P99 != nil {
			return b.String() + " " + live.Millis(k.P99)
		}
	}
	return b.String()
}

// status is the one that counts among the repetitions: running, else the worst.
func (c *combination) status() live.Status {
	worst := live.Pending
	for _, k := range c.cells {
		if k.Status == live.Running {
			return live.Running
		}
		worst = max(worst, k.Status)
	}
	return worst
}

// matrixSection shows the state of every cell.
func (d *drawing) matrixSection() *section {
	m := newMatrix(d.s)
	extra := m.fixed
	if d.width >= 64 {
		extra = strings.TrimSpace(extra + "   ✓ valid  ~ degraded  ✗ invalid  – skipped  ▸ running  · to come")
	}
	sec := &section{pane: paneMatrix, title: d.rule("matrix", extra, d.width), least: 2, want: 2}
	switch {
	case len(m.combos) == 0, len(m.combos) == 1 && len(d.s.Cells) == 1:
		sec.want = 0 // one cell is no matrix
	case d.compact():
		sec.least, sec.want = 1, 1
		sec.draw = func(int) []string { return []string{" " + d.strip(m)} }
	case len(m.vary) <= 2:
		colDim, rowDim := m.axes()
		rows := 1
		if rowDim >= 0 {
			rows = len(m.values(rowDim))
		}
		sec.want = 1 + rows
		if rows > 6 && d.v.Focus != paneMatrix {
			sec.want = 7
		}
		sec.draw = func(rows int) []string { return d.grid(m, colDim, rowDim, rows) }
	default:
		lines, current := d.list(m)
		sec.want = len(lines)
		if sec.want > 6 && d.v.Focus != paneMatrix {
			sec.want = 6
		}
		sec.least = min(2, len(lines))
		sec.draw = func(rows int) []string {
			from, to := window(len(lines), rows, d.matrixOffset(current-rows/2))
			return lines[from:to]
		}
	}
	return sec
}

// matrixOffset is where the matrix is scrolled to: at the current cell, or
// where the operator chose.
func (d *drawing) matrixOffset(auto int) int {
	if d.v.Focus == paneMatrix {
		return d.v.Offset
	}
	return auto
}

// axes picks the dimension across and the one down (-1 for none): the one with
// more values goes across, where lines are longer than the screen is high.
func (m matrix) axes() (colDim, rowDim int) {
	switch len(m.vary) {
	case 0:
		return -1, -1
	case 1:
		return m.vary[0], -1
	}
	a, b := m.vary[0], m.vary[1]
	if len(m.values(b)) > len(m.values(a)) {
		a, b = b, a
	}
	return a, b
}

// grid draws the matrix as a table, scrolled to the current cell.
func (d *drawing) grid(m matrix, colDim, rowDim, rows int) []string {
	cols, down := []string{""}, []string{""}
	corner := ""
	if colDim >= 0 {
		cols = m.values(colDim)
		corner = m.names[colDim]
	}
	if rowDim >= 0 {
		down = m.values(rowDim)
		corner = m.names[rowDim] + " \\ " + m.names[colDim]
	}
	labelWidth := min(ansi.StringWidth(corner), 24)
	for _, r := range down {
		labelWidth = min(max(labelWidth, ansi.StringWidth(r)), 24)
	}
	wide := true
	cw := d.columnWidth(m, cols, wide)
	if labelWidth+2+len(cols)*(cw+2) > d.width {
		wide = false
		cw = d.columnWidth(m, cols, wide)
	}
	curCol, curRow := d.currentPlace(m, colDim, cols, rowDim, down)
	room := d.width - labelWidth - 2
	if len(cols)*(cw+2) > room {
		room -= len(" 99 more ›") // which the first line says then
	}
	fit := max(room/(cw+2), 1)
	cfrom, cto := window(len(cols), fit, curCol-fit/2)
	rfrom, rto := window(len(down), rows-1, d.matrixOffset(curRow-(rows-1)/2))

	head := " "
	if cfrom > 0 {
		head = d.t.faint.Render("‹")
	}
	head += d.t.label.Render(left(corner, labelWidth)) + " "
	for _, c := range cols[cfrom:cto] {
		head += d.t.label.Render(left(c, cw)) + "  "
	}
	if cto < len(cols) {
		head = ends(head, d.t.faint.Render(fmt.Sprintf("%d more ›", len(cols)-cto)), d.width)
	}
	out := []string{head}
	for i, r := range down[rfrom:rto] {
		mark := " "
		switch {
		case i == 0 && rfrom > 0:
			mark = "↑"
		case i == rto-rfrom-1 && rto < len(down):
			mark = "↓"
		}
		l := d.t.faint.Render(mark) + d.t.label.Render(left(r, labelWidth)) + " "
		for _, c := range cols[cfrom:cto] {
			combo := m.find(colDim, c, rowDim, r)
			style := lipgloss.NewStyle()
			if combo != nil {
				style = d.t.status(combo.status())
			}
			l += style.Render(left(combo.text(d.s, wide), cw)) + "  "
		}
		out = append(out, l)
	}
	return out
}

func (d *drawing) columnWidth(m matrix, cols []string, wide bool) int {
	w := 1
	for _, c := range cols {
		w = max(w, min(ansi.StringWidth(c), 16))
	}
	for i := range m.combos {
		w = max(w, ansi.StringWidth(m.combos[i].text(d.s, wide)))
	}
	if wide {
		w = max(w, 9)
	}
	return w
}

// currentPlace returns the column and row of the cell that runs, or ran last.
func (d *drawing) currentPlace(m matrix, colDim int, cols []string, rowDim int, down []string) (col, row int) {
	if d.s.Last < 0 {
		return 0, 0
	}
	number := d.s.Cells[d.s.Last].Ref.Number
	for _, c := range m.combos {
		if c.number != number {
			continue
		}
		if colDim >= 0 && colDim < len(c.values) {
			col = slices.Index(cols, c.values[colDim])
		}
		if rowDim >= 0 && rowDim < len(c.values) {
			row = slices.Index(down, c.values[rowDim])
		}
	}
	return col, row
}

// list draws the combinations one after the other, wrapped, and returns the
// line that the current one is on.
func (d *drawing) list(m matrix) (lines []string, current int) {
	w := 0
	labels := make([]string, len(m.combos))
	for i := range m.combos {
		c := &m.combos[i]
		var vs []string
		for _, dim := range m.vary {
			if dim < len(c.values) {
				vs = append(vs, c.values[dim])
			}
		}
		labels[i] = c.text(d.s, false) + " " + strings.Join(vs, "/")
		w = max(w, ansi.StringWidth(labels[i]))
	}
	w = min(w, max(d.width-3, 1))
	per := max((d.width-1)/(w+2), 1)
	for i := range m.combos {
		if i%per == 0 {
			lines = append(lines, " ")
		}
		if m.combos[i].current {
			current = len(lines) - 1
		}
		lines[len(lines)-1] += d.t.status(m.combos[i].status()).Render(left(labels[i], w)) + "  "
	}
	return lines, current
}

// strip draws a sign a combination in one line, around the current one, and
// the counts.
func (d *drawing) strip(m matrix) string {
	n := map[live.Status]int{}
	for _, c := range d.s.Cells {
		n[c.Status]++
	}
	counts := fmt.Sprintf("%d✓ %d~ %d✗", n[live.Valid], n[live.Degraded], n[live.Invalid])
	fit := max(d.width-3-ansi.StringWidth(counts), 1)
	at := 0
	for i, c := range m.combos {
		if c.current {
			at = i
		}
	}
	from, to := window(len(m.combos), fit, at-fit/2)
	var b strings.Builder
	for i := from; i < to; i++ {
		st := m.combos[i].status()
		b.WriteString(d.t.status(st).Render(sign(st)))
	}
	return b.String() + "  " + d.t.faint.Render(counts)
}
