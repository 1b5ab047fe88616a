package tui

import (
	"fmt"

	"charm.land/lipgloss/v2"

	"bela/live"
)

// measureRow is one quantity of the load: its value and its last minutes.
type measureRow struct {
	label, value string
	style        lipgloss.Style
	at           func(live.Second) (float64, bool)
	peak         bool // a column that holds several seconds shows the highest, not the mean
}

// loadSection tells what the devices send and the customers get.
func (d *drawing) loadSection() *section {
	extra := ""
	if d.s.HasLoad {
		l := d.s.Load
		extra = fmt.Sprintf("%s  %s  published %s  delivered %s", live.Plural(l.Devices, "device"), live.Plural(l.Customers, "customer"),
			live.Count(l.PublishedTotal), live.Count(l.DeliveredTotal))
	}
	sec := &section{pane: paneLoad, title: d.rule("load", extra, d.width), least: 1, want: 3, draw: d.drawLoad}
	if d.width < 60 {
		sec.least, sec.want = 2, 5
	}
	if bands := d.heatBands(); bands > 0 && (d.height >= 30 || d.v.Focus == paneLoad) {
		if d.v.Focus != paneLoad {
			bands = min(bands, d.height/8)
		}
		sec.want += bands
	}
	return sec
}

func (d *drawing) drawLoad(rows int) []string {
	l, rate6 := d.s.Load, func(v float64) string { return live.Rate(v) }
	if !d.s.HasLoad {
		return []string{" " + d.t.faint.Render("no load yet")}
	}
	published := measureRow{"published", rate6(l.Published), d.t.accent, func(p live.Second) (float64, bool) { return p.Published, true }, false}
	delivered := measureRow{"delivered", rate6(l.Delivered), d.t.good, func(p live.Second) (float64, bool) { return p.Delivered, true }, false}
	underWay := measureRow{"under way", live.Count(l.UnderWay), d.t.warn, func(p live.Second) (float64, bool) { return max(p.UnderWay, 0), true }, true}
	p50 := measureRow{"p50", live.Millis(l.P50), d.t.accent, func(p live.Second) (float64, bool) { return max(p.P50, 0), p.HasP50 }, true}
	p99 := measureRow{"p99", live.Millis(l.P99), d.t.good, func(p live.Second) (float64, bool) { return max(p.P99, 0), p.HasP99 }, true}
	late := measureRow{"lateness", live.Millis(l.Lateness), d.t.warn, func(p live.Second) (float64, bool) { return max(p.Lateness, 0), p.HasLateness }, true}

	var out []string
	if d.width < 60 {
		for _, r := range []measureRow{delivered, p99, published, p50, underWay}[:min(rows, 5)] {
			out = append(out, " "+d.measure(r, d.width-2))
		}
		if rows > len(out) {
			out = append(out, d.heat(rows-len(out))...)
		}
		return out
	}
	half := (d.width - 4) / 2
	pairs := [][2]measureRow{{published, p50}, {delivered, p99}, {underWay, late}}
	if rows == 1 {
		pairs = [][2]measureRow{{delivered, p99}}
	}
	for _, p := range pairs[:min(rows, len(pairs))] {
		out = append(out, " "+d.measure(p[0], half)+"  "+d.measure(p[1], d.width-4-half))
	}
	if rows > len(out) {
		out = append(out, d.heat(rows-len(out))...)
	}
	return out
}

// measure draws one quantity in w columns.
func (d *drawing) measure(r measureRow, w int) string {
	const labelWidth, valueWidth = 9, 9
	lead := d.t.label.Render(left(r.label, labelWidth)) + " " + d.t.bold.Render(right(r.value, valueWidth))
	n := w - labelWidth - valueWidth - 3
	if n < 4 {
		return lead + spaces(w-labelWidth-valueWidth-1)
	}
	n = min(n, live.HistorySeconds)
	line := left(sparkline(columns(d.s.History, n, r)), w-labelWidth-valueWidth-3)
	return lead + "  " + r.style.Render(line)
}

// columns folds the last seconds into n values, at least a minute's worth, with
// the newest at the right; -1 is a column without a value. The seconds of a
// column are fixed by T, so that columns move and do not change as time goes on.
func columns(history []live.Second, n int, r measureRow) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = -1
	}
	if len(history) == 0 {
		return out
	}
	per := max((60+n-1)/n, 1)
	newest := floorDiv(history[len(history)-1].T, per)
	sums, counts := make([]float64, n), make([]int, n)
	for _, p := range history {
		i := n - 1 - (newest - floorDiv(p.T, per))
		v, ok := r.at(p)
		if i < 0 || i >= n || !ok {
			continue
		}
		if r.peak {
			sums[i] = max(sums[i], v)
			counts[i] = 1
		} else {
			sums[i] += v
			counts[i]++
		}
	}
	for i := range out {
		if counts[i] > 0 {
			out[i] = sums[i] / float64(counts[i])
		}
	}
	return out
}

func floorDiv(a, b int) int {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
