package tui

import (
	"fmt"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"bela/event"
	"bela/live"
)

// machinesSection shows the nodes beside the components. The nodes get what the
// components do not need.
func (d *drawing) machinesSection() *section {
	rw := min(max(d.componentName()+4+componentNumbers, 30), (d.width-3)/2)
	if d.width >= 110 {
		rw = (d.width - 3) / 2
	}
	lw := d.width - 3 - rw
	nodes, comps := d.nodesSection(lw), d.componentsSection(rw)
	want := max(nodes.want, comps.want)
	return &section{
		title: nodes.title + d.t.faint.Render("─┬─") + comps.title,
		least: min(2, want), want: want,
		draw: func(rows int) []string {
			l, r := nodes.draw(rows), comps.draw(rows)
			out := make([]string, 0, rows)
			for i := range max(len(l), len(r)) {
				line := ""
				if i < len(l) {
					line = l[i]
				}
				line += spaces(lw - ansi.StringWidth(line))
				line += d.t.faint.Render(" │ ")
				if i < len(r) {
					line += r[i]
				}
				out = append(out, line)
			}
			return out
		},
	}
}

// troubleSection is the machines where there is hardly any room: how many nodes
// are ready, who is busiest, and what is in trouble.
func (d *drawing) troubleSection() *section {
	var lines []string
	nodes := d.nodesByTrouble()
	ready := 0
	for _, n := range nodes {
		switch n.State {
		case "ready":
			ready++
		default:
			if live.NodeTrouble(n.State) {
				lines = append(lines, d.nodeRow(n, d.width))
			}
		}
	}
	comps := d.componentsByTrouble()
	for _, c := range comps {
		if c.State == "exited" {
			lines = append(lines, d.componentRow(c, d.width))
		}
	}
	sum := fmt.Sprintf(" %d of %s ready", ready, live.Plural(len(nodes), "node"))
	if c := d.s.Busiest(); c != nil {
		sum += fmt.Sprintf("  %s %s mCPU", live.InstanceName(c.Name, c.Instance), live.Short(c.Sample.CPU))
	}
	lines = append(lines, d.t.faint.Render(sum))
	return &section{least: min(len(lines), 2), want: len(lines), draw: func(rows int) []string { return lines[:min(rows, len(lines))] }}
}

// nodesSection shows each node's state, CPU and memory in width columns.
func (d *drawing) nodesSection(width int) *section {
	nodes := d.nodesByTrouble()
	extra := ""
	if n := len(nodes); n > 0 {
		ready := 0
		for _, k := range nodes {
			if k.State == "ready" {
				ready++
			}
		}
		extra = fmt.Sprintf("%d of %d ready", ready, n)
		if slow, ok := d.s.Slowest(); ok {
			extra += fmt.Sprintf("; slowest %s: %s", slow.Node, slow.Why)
		}
	}
	sec := &section{pane: paneNodes, title: d.rule("nodes", extra, width), least: min(2, len(nodes)), want: d.most(paneNodes, len(nodes))}
	sec.draw = func(rows int) []string {
		return d.table(len(nodes), rows, paneNodes, width, func(i int) string { return d.nodeRow(nodes[i], width) })
	}
	return sec
}

// nodesByTrouble lists the lost nodes first, so that they are never scrolled
// out of sight, and the others as the experiment has them.
func (d *drawing) nodesByTrouble() []*live.Node {
	var lost, rest []*live.Node
	for i := range d.s.Nodes {
		if n := &d.s.Nodes[i]; live.NodeTrouble(n.State) {
			lost = append(lost, n)
		} else {
			rest = append(rest, n)
		}
	}
	return append(lost, rest...)
}

// componentsByTrouble lists the instances that exited first.
func (d *drawing) componentsByTrouble() []*live.Component {
	var exited, rest []*live.Component
	for i := range d.s.Components {
		if c := &d.s.Components[i]; c.State == "exited" {
			exited = append(exited, c)
		} else {
			rest = append(rest, c)
		}
	}
	return append(exited, rest...)
}

// nodeName is the width of the nodes' names.
func (d *drawing) nodeName(width int) int {
	w := 8
	for i := range d.s.Nodes {
		w = max(w, ansi.StringWidth(d.s.Nodes[i].Name))
	}
	return min(w, max(width/3, 8))
}

// componentName is the width of the instances' names.
func (d *drawing) componentName() int {
	w := 8
	for i := range d.s.Components {
		c := &d.s.Components[i]
		w = max(w, ansi.StringWidth(live.InstanceName(c.Name, c.Instance)))
	}
	return min(w, 24)
}

// most is how many of n rows a pane wants: a third of the picture, or all where
// it is enlarged.
func (d *drawing) most(p pane, n int) int {
	if d.v.Focus == p {
		return n
	}
	return min(n, max(6, d.height/3))
}

// table draws the rows of a pane that fit; the last line counts the others.
func (d *drawing) table(n, rows int, p pane, width int, row func(int) string) []string {
	offset := 0
	if d.v.Focus == p {
		offset = d.v.Offset
	}
	shown := rows
	if n > rows && rows > 1 {
		shown = rows - 1
	}
	from, to := window(n, shown, offset)
	var out []string
	for i := from; i < to; i++ {
		out = append(out, row(i))
	}
	if n > to-from && shown < rows {
		out = append(out, d.t.faint.Render(cut(fmt.Sprintf("   and %d more (tab, ↑↓)", n-(to-from)), width)))
	}
	return out
}

func (d *drawing) nodeRow(n *live.Node, width int) string {
	mark, style := "○", d.t.faint
	switch n.State {
	case event.NodeReady, event.NodeReplaced:
		mark, style = "●", d.t.good
	case event.NodeConnected:
		mark, style = "◐", d.t.warn
	case event.NodeLinkLost:
		mark, style = "◌", d.t.warn
	case event.NodeAgentLost, event.NodeRebooted, event.NodeLost, event.NodeRemoved, event.NodeDiskFull:
		mark, style = "✗", d.t.bad
	}
	nameWidth := d.nodeName(width)
	lead := " " + style.Render(mark) + " " + left(n.Name, nameWidth) + " "
	rest := width - nameWidth - 4
	switch {
	case live.NodeTrouble(n.State):
		text := live.NodeWord(n.State)
		if n.Detail != "" {
			text += ": " + n.Detail
		}
		return lead + style.Render(cut(text, rest))
	case !d.s.Fresh(n.SampledAt):
		text := live.NodeWord(n.State)
		if text == "" {
			text = "not connected"
		}
		if !n.SampledAt.IsZero() && n.State == "ready" && d.s.Finished == nil {
			text += ", silent for " + live.Length(d.s.Now.Sub(n.SampledAt))
		} else if n.Detail != "" {
			text += ": " + n.Detail
		}
		return lead + d.t.faint.Render(cut(text, rest))
	}
	return lead + d.nodeGauges(n, rest)
}

// nodeGauges draws CPU, memory, and where there is room the network.
func (d *drawing) nodeGauges(n *live.Node, w int) string {
	s := n.Sample
	cpu, mem := 0.0, 0.0
	if s.CPUs > 0 {
		cpu = s.CPU / (1000 * float64(s.CPUs))
	}
	if s.MemoryTotal > 0 {
		mem = s.Memory / s.MemoryTotal
	}
	net := ""
	if w >= 44 {
		net = "  " + d.t.faint.Render(right("↓"+bytesRate(s.NetIn), 6)+" "+right("↑"+bytesRate(s.NetOut), 6))
		w -= 15
	}
	if w >= 44 {
		errors, clock := right("0 err", 9), "-"
		if e := live.Errors(&s); e > 0 {
			errors = d.t.warn.Render(right(live.Short(e)+" err/s", 9))
		}
		if s.ClockError != nil {
			clock = "±" + live.Millis(s.ClockError)
		}
		net += " " + errors + d.t.faint.Render(right(clock, 10))
		w -= 20
	}
	const cpuText, memText = 5, 9
	bars := w - cpuText - memText - 1
	if bars < 6 {
		return cut(fmt.Sprintf("%3.0f%% %s", cpu*100, live.MiB(s.Memory)), w)
	}
	cb := (bars + 1) / 2
	return d.t.gauge(cpu, cb) + right(fmt.Sprintf("%.0f%%", cpu*100), cpuText) + " " +
		d.t.gauge(mem, bars-cb) + right(live.MiB(s.Memory), memText) + net
}

// bytesRate writes bytes a second in at most five characters.
func bytesRate(v float64) string {
	switch {
	case v >= 999_500:
		return live.Sig(v/1e6) + "M"
	case v >= 999.5:
		return live.Sig(v/1e3) + "k"
	}
	return live.Short(v)
}

// componentsSection shows each instance's state, CPU and memory.
func (d *drawing) componentsSection(width int) *section {
	cs := d.componentsByTrouble()
	if len(cs) == 0 {
		sec := &section{pane: paneComponents, title: d.rule("components", "", width), draw: func(int) []string {
			return []string{" " + d.t.faint.Render(cut(strings.Join(d.s.Run.Components, ", "), width-1))}
		}}
		if len(d.s.Run.Components) > 0 {
			sec.least, sec.want = 1, 1
		}
		return sec
	}
	ready := 0
	for _, c := range cs {
		if c.State == "ready" || c.State == "restarted" {
			ready++
		}
	}
	extra := fmt.Sprintf("%d of %d ready", ready, len(cs))
	sec := &section{pane: paneComponents, title: d.rule("components", extra, width), least: min(2, len(cs)), want: d.most(paneComponents, len(cs))}
	sec.draw = func(rows int) []string {
		return d.table(len(cs), rows, paneComponents, width, func(i int) string { return d.componentRow(cs[i], width) })
	}
	return sec
}

// componentNumbers is the width of an instance's CPU and memory.
const componentNumbers = 19

func (d *drawing) componentRow(c *live.Component, width int) string {
	mark, style := "○", d.t.faint
	switch c.State {
	case "ready":
		mark, style = "●", d.t.good
	case "starting", "restarted":
		mark, style = "◐", d.t.warn
	case "exited":
		mark, style = "✗", d.t.bad
	}
	nameWidth := min(d.componentName(), max(width/2, 8))
	lead := " " + style.Render(mark) + " " + left(live.InstanceName(c.Name, c.Instance), nameWidth) + " "
	rest := width - nameWidth - 4
	if c.State == "exited" || !d.s.Fresh(c.SampledAt) {
		text := c.State
		if text == "" {
			text = "not started"
		}
		if c.Detail != "" {
			text += ": " + c.Detail
		}
		if c.State != "exited" {
			style = d.t.faint
		}
		return lead + style.Render(cut(text, rest))
	}
	numbers := right(live.Short(c.Sample.CPU)+" mCPU", 10) + right(live.MiB(c.Sample.Memory), componentNumbers-10)
	if c.Sample.Restarts > 0 {
		numbers += d.t.warn.Render(fmt.Sprintf(" %d restarts", c.Sample.Restarts))
	}
	if c.Sample.Counted && rest >= 44 {
		numbers += d.t.faint.Render(fmt.Sprintf("  %s in %s out", right(live.Rate(c.Sample.MessagesIn), 7), right(live.Rate(c.Sample.MessagesOut), 7)))
	}
	if n := rest - componentNumbers; n >= 8 && rest < 44 {
		return lead + d.t.faint.Render(left(c.Node, n)) + numbers
	}
	return lead + cutStyled(numbers, rest)
}

// logSection shows the last lines.
func (d *drawing) logSection() *section {
	log := d.v.log(d.s.Log)
	extra := ""
	if d.v.Paused {
		extra = fmt.Sprintf("paused, %d new", d.v.New)
	}
	if d.v.Filter != "" {
		extra = strings.TrimSpace(extra + fmt.Sprintf("  only %q: %s", d.v.Filter, live.Plural(len(log), "line")))
	}
	sec := &section{pane: paneLog, title: d.rule("log", extra, d.width), least: 1, want: 6}
	switch {
	case d.v.Focus == paneLog:
		sec.want = max(len(log), 6)
	case d.compact():
		sec.want = 2
	}
	sec.draw = func(rows int) []string {
		// Scrolling goes back in time: the newest line is the last.
		from, to := window(len(log), rows, len(log)-rows)
		if d.v.Focus == paneLog {
			from, to = window(len(log), rows, max(len(log)-rows-d.v.Offset, 0))
		}
		var out []string
		for _, n := range log[from:to] {
			out = append(out, " "+d.t.faint.Render(live.Clock(n.At))+" "+d.t.tone(n.Tone).Render(cut(n.Text, d.width-9)))
		}
		return out
	}
	return sec
}
