package tui

import (
	"strings"

	"github.com/charmbracelet/x/ansi"

	"bela/live"
)

// render draws a state in at most height lines of at most width columns. It is
// a pure function of what it is given.
func render(s *live.State, v viewport, width, height int) string {
	if width < 1 || height < 1 {
		return ""
	}
	d := drawing{s: s, v: v, t: newTheme(), width: width, height: height}
	lines := d.draw()
	if len(lines) > height {
		lines = lines[:height]
	}
	for i, l := range lines {
		lines[i] = ansi.Truncate(l, width, "")
	}
	return strings.Join(lines, "\n")
}

// drawing is one picture in the making.
type drawing struct {
	s             *live.State
	v             viewport
	t             theme
	width, height int
}

// section is a titled part of the picture. Least and want are its lines without
// the title; draw returns at most as many lines as it is given.
type section struct {
	pane        pane
	title       string // set already styled
	least, want int
	draw        func(rows int) []string
	rows        int
}

// compact says that the picture is too low for titles and the line of keys.
func (d *drawing) compact() bool { return d.height < 15 }

func (d *drawing) draw() []string {
	out := []string{d.header()}
	room := d.height - 1
	title := 1
	var foot []string
	if d.compact() {
		title = 0
	} else {
		foot = []string{d.footer()}
		room--
	}
	sections := d.sections()
	d.allot(sections, room, title)
	for _, sec := range sections {
		if sec.rows == 0 {
			continue
		}
		if title > 0 {
			out = append(out, sec.title)
		}
		// Blank lines keep the picture's height: one that jumps is hard to read.
		lines := sec.draw(sec.rows)
		out = append(out, lines...)
		for range sec.rows - len(lines) {
			out = append(out, "")
		}
	}
	for len(out)+len(foot) < min(d.v.Tall, d.height) {
		out = append(out, "")
	}
	return append(out, foot...)
}

// sections lists the parts from top to bottom. The focused one wants all that
// it has.
func (d *drawing) sections() []*section {
	all := []*section{d.matrixSection(), d.cellSection(), d.loadSection()}
	if d.compact() {
		all = append(all, d.troubleSection())
	} else if d.width >= 72 && d.v.Focus != paneNodes && d.v.Focus != paneComponents {
		all = append(all, d.machinesSection())
	} else {
		all = append(all, d.nodesSection(d.width), d.componentsSection(d.width))
	}
	return append(all, d.logSection())
}

// allot shares the room out. First every part gets its least, the most
// important ones first; then they grow in turn to what they want.
func (d *drawing) allot(sections []*section, room, title int) {
	order := make([]*section, 0, len(sections))
	for _, sec := range sections {
		if sec.pane == d.v.Focus && sec.pane != paneAll {
			order = append(order, sec)
		}
	}
	for _, i := range []int{1, 2, 0} { // cell, load, matrix
		order = appendNew(order, sections[i])
	}
	for _, sec := range sections {
		order = appendNew(order, sec)
	}
	for _, sec := range order {
		if sec.want > 0 && room >= sec.least+title {
			sec.rows = sec.least
			room -= sec.least + title
		}
	}
	// The log grows last: what stands in it stays readable in the scrollback.
	for _, logs := range []bool{false, true} {
		for grown := true; grown && room > 0; {
			grown = false
			for _, sec := range order {
				if (sec.pane == paneLog) == logs && sec.rows > 0 && sec.rows < sec.want && room > 0 {
					sec.rows++
					room--
					grown = true
				}
			}
		}
	}
}

func appendNew(list []*section, sec *section) []*section {
	for _, have := range list {
		if have == sec {
			return list
		}
	}
	return append(list, sec)
}

// rule is a section's title line: ── name ── extra ─────.
func (d *drawing) rule(name, extra string, width int) string {
	t := d.t.faint.Render("─ ") + d.t.title.Render(name) + " "
	used := 3 + ansi.StringWidth(name)
	if extra = cut(extra, width-used-2); extra != "" {
		t += d.t.faint.Render(extra) + " "
		used += ansi.StringWidth(extra) + 1
	}
	if n := width - used; n > 0 {
		t += d.t.faint.Render(strings.Repeat("─", n))
	}
	return t
}

// ends sets one text at the left and one at the right of a line; the left one
// gives way. Both may be styled.
func ends(l, r string, width int) string {
	rw := ansi.StringWidth(r)
	if rw >= width {
		return ansi.Truncate(r, width, "…")
	}
	l = ansi.Truncate(l, width-rw-1, "…")
	return l + spaces(width-rw-ansi.StringWidth(l)) + r
}
