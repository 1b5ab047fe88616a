package tui

import (
	"fmt"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"bela/event"
	"bela/live"
)

// header tells the run in one line: what it is, how far it is, how long it
// goes on.
func (d *drawing) header() string {
	s := d.s
	name := s.Run.Experiment
	l := " " + d.t.run.Render("bela")
	if name != "" {
		l += "  " + d.t.bold.Render(name)
	}
	if d.width >= 100 && s.Run.Run != "" {
		l += "  " + d.t.faint.Render(s.Run.Run)
	}
	return ends(l, d.progress()+" ", d.width)
}

func (d *drawing) progress() string {
	s := d.s
	var parts []string
	if n := len(s.Cells); n > 0 {
		parts = append(parts, fmt.Sprintf("%d of %s done", s.Done(), live.Plural(n, "cell")))
	}
	elapsed := live.Clock(s.Now.Sub(s.Start))
	if d.width < 60 {
		parts = parts[:0]
		if n := len(s.Cells); n > 0 {
			parts = append(parts, fmt.Sprintf("%d/%d", s.Done(), n))
		}
	}
	if s.Start.IsZero() {
		elapsed = "starting"
	}
	parts = append(parts, elapsed)
	text := strings.Join(parts, "  ")
	switch left, known := s.Remaining(); {
	case s.Finished != nil:
		text += "  " + d.t.bold.Render("finished")
	case d.v.Stops > 1:
		text += "  " + d.t.bad.Render("stopping at once")
	case d.v.Stops == 1:
		text += "  " + d.t.warn.Render("stopping")
	case known && d.width >= 60:
		text += "  " + d.t.accent.Render("about "+live.Clock(left)+" left")
	case known:
		text += " " + d.t.accent.Render("-"+live.Clock(left))
	}
	return text
}

// footer tells the keys, or asks, or says what came of it.
func (d *drawing) footer() string {
	switch {
	case d.v.Ask.kind != askNothing:
		return " " + cutStyled(d.t.warn.Render(d.v.Ask.String())+"  "+d.t.bold.Render("y")+" "+d.t.faint.Render("yes")+"   "+d.t.bold.Render("n")+" "+d.t.faint.Render("no"), d.width-1)
	case d.v.Answer != "":
		return " " + d.t.warn.Render(cut(d.v.Answer, d.width-1))
	case d.v.Typing:
		return " " + cutStyled(d.t.bold.Render("filter: ")+d.v.Filter+"▏  "+d.t.bold.Render("enter")+d.t.faint.Render(" keep   ")+d.t.bold.Render("esc")+d.t.faint.Render(" all lines"), d.width-1)
	}
	return " " + cutStyled(d.keys(), d.width-1)
}

func (d *drawing) keys() string {
	stop, pause := "stop", "pause the log"
	if d.v.Stops == 1 {
		stop = "again: stop at once"
	}
	if d.v.Paused {
		pause = "go on with the log"
	}
	var b strings.Builder
	key := func(k, what string) {
		if b.Len() > 0 {
			b.WriteString("   ")
		}
		b.WriteString(d.t.bold.Render(k) + " " + d.t.faint.Render(what))
	}
	key("q", stop)
	if d.v.Steps {
		key("s", "skip the cell")
	}
	key("p", pause)
	key("/", "filter it")
	key("tab", "enlarge a pane")
	if d.v.Focus != paneAll {
		key("↑↓", "scroll")
		key("esc", "all panes")
	}
	return b.String()
}

func cutStyled(s string, w int) string { return ansi.Truncate(s, max(w, 0), "…") }

// cellSection tells the current cell: its phase, how far that is, and for whom
// it waits.
func (d *drawing) cellSection() *section {
	sec := &section{least: 2, want: 3, draw: d.drawCell}
	if len(d.s.Waiting) > 0 {
		sec.least = 3
	} else if d.compact() {
		sec.want = 2
	}
	if len(d.s.Faults) > 0 {
		sec.least, sec.want = sec.least+1, sec.want+1
	}
	name, extra := "cell", ""
	if d.s.Current >= 0 {
		ref := d.s.Cells[d.s.Current].Ref
		name = fmt.Sprintf("cell %d/%d", ref.Position, len(d.s.Cells))
		extra = d.cellLabel()
	}
	sec.title = d.rule(name, extra, d.width)
	return sec
}

// cellLabel is the current cell's place in the matrix.
func (d *drawing) cellLabel() string {
	c := d.s.Cells[d.s.Current]
	label := c.Label
	if d.s.Repeated {
		label += fmt.Sprintf("  repetition %d", c.Ref.Repetition)
	}
	if c.Ref.Attempt > 1 {
		label += fmt.Sprintf("  attempt %d", c.Ref.Attempt)
	}
	return strings.TrimSpace(label)
}

func (d *drawing) drawCell(rows int) []string {
	lines := []string{d.phases(), d.phaseBar()}
	if len(d.s.Faults) > 0 {
		lines = append(lines, d.faultLine())
	}
	if len(d.s.Waiting) > 0 {
		lines = append(lines, d.waitingLine())
	} else {
		lines = append(lines, d.cellBar())
	}
	return lines[:min(rows, len(lines))]
}

// phases shows where the cell is in its life.
func (d *drawing) phases() string {
	s := d.s
	switch {
	case s.Finished != nil:
		return " " + fmt.Sprintf("finished with status %d: %s", s.Finished.Status, live.Clean(s.Finished.Reason))
	case s.Current < 0:
		return " " + d.t.faint.Render(d.between())
	case d.width < 79 || d.compact():
		return d.phaseShort()
	}
	at := live.PhaseIndex(s.Phase)
	var parts []string
	for i, p := range event.Phases() {
		style := d.t.faint
		switch {
		case i == at:
			style = d.t.run
		case i < at:
			style = d.t.good
		}
		parts = append(parts, style.Render(string(p)))
	}
	return " " + strings.Join(parts, d.t.faint.Render(" › "))
}

func (d *drawing) between() string {
	switch {
	case len(d.s.Cells) == 0:
		return "waiting for the run to start"
	case d.s.Last < 0:
		return "preparing the nodes"
	}
	return "between cells"
}

// phaseShort names the cell and the phase where there is no room for all.
func (d *drawing) phaseShort() string {
	s := d.s
	ref := s.Cells[s.Current].Ref
	l := fmt.Sprintf(" %d/%d %s", ref.Position, len(s.Cells), d.cellLabel())
	if !d.compact() {
		l = " " + d.t.faint.Render("phase")
	}
	r := d.t.run.Render(live.Clean(string(s.Phase)))
	if at := live.PhaseIndex(s.Phase); at >= 0 {
		r += d.t.faint.Render(fmt.Sprintf(" %d/%d ", at+1, len(event.Phases())))
	}
	return ends(l, r, d.width)
}

// phaseBar draws the phase's time: towards its end where that is fixed, and
// faintly towards its deadline where it is not.
func (d *drawing) phaseBar() string {
	s := d.s
	if s.Current < 0 || s.PhaseLimit <= 0 {
		return d.runBar()
	}
	elapsed := s.Now.Sub(s.PhaseStarted)
	share := elapsed.Seconds() / s.PhaseLimit.Seconds()
	text := fmt.Sprintf("%s, at most %s", live.Length(elapsed.Truncate(time.Second)), live.Length(s.PhaseLimit))
	style := d.t.faint
	if s.PhaseFixed {
		text = fmt.Sprintf("%s of %s", live.Length(min(elapsed, s.PhaseLimit).Truncate(time.Second)), live.Length(s.PhaseLimit))
		style = d.t.accent
	}
	return d.labelledBar(string(s.Phase), share, text, style)
}

// cellBar draws the whole cell's time towards what the plan expects of it.
func (d *drawing) cellBar() string {
	s := d.s
	if s.Current < 0 || s.Cells[s.Current].Ref.Expected <= 0 {
		return ""
	}
	c := &s.Cells[s.Current]
	elapsed := s.Now.Sub(c.Started).Truncate(time.Second)
	text := fmt.Sprintf("%s of about %s", live.Length(elapsed), live.Length(c.Ref.Expected))
	return d.labelledBar("cell", elapsed.Seconds()/c.Ref.Expected.Seconds(), text, d.t.faint)
}

// labelledBar draws a share between its name and a text.
func (d *drawing) labelledBar(label string, share float64, text string, style lipgloss.Style) string {
	const labelWidth = 8
	textWidth := max(19, ansi.StringWidth(text))
	w := d.width - labelWidth - textWidth - 4
	if w < 4 {
		return " " + text
	}
	full, rest := bar(share, w)
	return " " + d.t.bold.Render(left(live.Clean(label), labelWidth)) + " " + style.Render(full) + d.t.faint.Render(rest) + " " + right(text, textWidth) + " "
}

// runBar draws the whole run, where no phase is on.
func (d *drawing) runBar() string {
	n := len(d.s.Cells)
	if n == 0 {
		return ""
	}
	return d.labelledBar("cells", float64(d.s.Done())/float64(n), fmt.Sprintf("%d of %d", d.s.Done(), n), d.t.accent)
}

// waitingLine says for whom the phase waits, and since when. Names that have no
// room are counted.
func (d *drawing) waitingLine() string {
	s := d.s
	lead := fmt.Sprintf("waiting %s for ", live.Length(s.Now.Sub(s.WaitingSince).Truncate(time.Second)))
	text := fmt.Sprintf("%d: %s", len(s.Waiting), live.Some(s.Waiting, 1))
	for n := min(len(s.Waiting), 20); n >= 1; n-- {
		if t := live.Some(s.Waiting, n); ansi.StringWidth(lead+t)+2 <= d.width {
			text = t
			break
		}
	}
	return " " + d.t.warn.Render(lead) + cut(text, d.width-len(lead)-2)
}

// faultLine tells what is done to the testbed on purpose: the newest of it.
func (d *drawing) faultLine() string {
	n := len(d.s.Faults)
	f := d.s.Faults[n-1]
	text := "fault: " + f.Text + ", since " + live.Length(d.s.Now.Sub(f.Since).Truncate(time.Second))
	if f.For > 0 {
		text += " of " + live.Length(f.For)
	}
	if n > 1 {
		text += fmt.Sprintf("; and %d more", n-1)
	}
	return " " + d.t.warn.Render(cut(text, d.width-1))
}
