package report

import (
	"bytes"
	"io"
	"slices"
	"strings"

	"bela/store"

	"github.com/mattn/go-runewidth"
	"github.com/mitchellh/go-wordwrap"
)

// Text writes the report for a terminal, or for a log with neither colour nor
// terminal. Lines stay within the width as long as the experiment's own names do.
func Text(w io.Writer, run *store.Reader, o Options) error {
	if o.Width == 0 {
		o.Width = 100
	}
	p := printer{width: max(o.Width, 60), color: o.Color}
	d := newDocument(run, o)
	p.line(p.bold(clean(d.Title)))
	if d.Subtitle != "" {
		p.wrapped("", item{Text: d.Subtitle})
	}
	for _, f := range d.Facts {
		p.wrapped("", item{Text: f})
	}
	p.table(d.Cells)
	p.table(d.Repeated)
	p.table(d.Faults)
	for _, t := range d.Hops {
		p.table(t)
	}
	p.table(d.Use)
	p.table(d.Limits)
	p.wide(d.CPU)
	p.wide(d.Memory)
	for _, s := range d.Sections {
		p.line("")
		p.line(p.bold(s.Title))
		for _, i := range s.Items {
			p.wrapped("  ", i)
			if i.Command != "" {
				p.line("    " + i.Command)
			}
		}
	}
	p.line("")
	p.line(d.Dir) // never wrapped: it is there to be copied
	_, err := w.Write(p.out.Bytes())
	return err
}

type printer struct {
	out   bytes.Buffer
	width int
	color bool
}

func (p *printer) line(text string) {
	p.out.WriteString(strings.TrimRight(text, " "))
	p.out.WriteByte('\n')
}

func (p *printer) bold(text string) string { return p.paint("1", text) }

func (p *printer) paint(code, text string) string {
	if !p.color || code == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// tone paints by meaning; colour is never the only carrier of it.
func (p *printer) tone(t tone, text string) string {
	return p.paint(map[tone]string{good: "32", fair: "33", bad: "31"}[t], text)
}

func (p *printer) wrapped(indent string, i item) {
	lines := strings.Split(wordwrap.WrapString(i.Text, uint(p.width-len(indent)-2)), "\n")
	for n, l := range lines {
		if n > 0 {
			l = "  " + strings.TrimLeft(l, " ")
		}
		p.line(indent + p.tone(i.Tone, l))
	}
}

const gutter = "  "

// table prints a table, leaving out columns by rank where there is no room.
func (p *printer) table(t table) {
	if len(t.Rows) == 0 {
		return
	}
	keep := make([]int, len(t.Columns))
	for i := range keep {
		keep[i] = i
	}
	for p.breadth(t, keep) > p.width {
		worst := slices.MaxFunc(keep, func(a, b int) int { return t.Columns[a].Rank - t.Columns[b].Rank })
		if t.Columns[worst].Rank == 0 {
			break
		}
		keep = slices.DeleteFunc(keep, func(i int) bool { return i == worst })
	}
	p.heading(t)
	p.rows(t, keep)
}

// wide prints a table whose first column names the rows, in as many blocks as
// it takes.
func (p *printer) wide(t table) {
	if len(t.Rows) == 0 {
		return
	}
	p.heading(t)
	for next := 1; next < len(t.Columns); {
		if next > 1 {
			p.line("")
		}
		keep := []int{0, next}
		next++
		for next < len(t.Columns) && p.breadth(t, append(slices.Clone(keep), next)) <= p.width {
			keep = append(keep, next)
			next++
		}
		p.rows(t, keep)
	}
}

func (p *printer) heading(t table) {
	p.line("")
	p.line(p.bold(t.Title))
	if t.Note != "" {
		p.wrapped("", item{Text: t.Note})
	}
}

func (t table) widthOf(i int) int {
	w := runewidth.StringWidth(t.Columns[i].Head)
	for _, row := range t.Rows {
		w = max(w, runewidth.StringWidth(row[i].Text))
	}
	return w
}

func (p *printer) breadth(t table, keep []int) int {
	n := 0
	for _, i := range keep {
		n += len(gutter) + t.widthOf(i)
	}
	return n
}

func (p *printer) rows(t table, keep []int) {
	print := func(text func(i int) (string, tone)) {
		var line strings.Builder
		for _, i := range keep {
			s, tone := text(i)
			pad := strings.Repeat(" ", t.widthOf(i)-runewidth.StringWidth(s))
			s = p.tone(tone, s)
			if t.Columns[i].Left {
				s += pad
			} else {
				s = pad + s
			}
			line.WriteString(gutter + s)
		}
		p.line(line.String())
	}
	print(func(i int) (string, tone) { return t.Columns[i].Head, plain })
	for _, row := range t.Rows {
		print(func(i int) (string, tone) { return row[i].Text, row[i].Tone })
	}
}
