package tui

import (
	"time"

	"bela/event"
	"bela/live"
)

// shades are the steps from nothing to all of a second's messages. A single one
// of many still shows.
const shades = " ░▒▓█"

// heatRange is the lowest and the highest band with a message in the history.
func (d *drawing) heatRange() (low, high int, there bool) {
	low = len(event.LatencyBounds())
	for _, p := range d.s.History {
		for i, n := range p.Bands {
			if n > 0 {
				low, high, there = min(low, i), max(high, i), true
			}
		}
	}
	return low, high, there
}

// heatBands is how many rows the heat strip can use; 0 where there is nothing to
// show.
func (d *drawing) heatBands() int {
	low, high, there := d.heatRange()
	if !there {
		return 0
	}
	return high - low + 1
}

// heat draws time across and latency up, in rows lines: the darker, the larger
// the share of a second's messages. Where there are fewer lines than bands of
// latency, neighbours share one.
func (d *drawing) heat(rows int) []string {
	const labelWidth = 9
	low, high, there := d.heatRange()
	width := min(d.width-labelWidth-3, live.HistorySeconds)
	if !there || rows < 1 || width < 4 {
		return nil
	}
	per := (high - low + rows) / rows // bands a line
	rows = (high - low + per) / per
	counts := make([][]int64, rows)
	for r := range counts {
		counts[r] = make([]int64, width)
	}
	sums := make([]int64, width)
	newest := d.s.History[len(d.s.History)-1].T
	for _, p := range d.s.History {
		x := width - 1 - (newest - p.T)
		if x < 0 || x >= width {
			continue
		}
		for i, n := range p.Bands {
			if i >= low && i <= high {
				counts[(i-low)/per][x] += n
				sums[x] += n
			}
		}
	}
	all, bounds := []rune(shades), event.LatencyBounds()
	var out []string
	for r := rows - 1; r >= 0; r-- {
		line := make([]rune, width)
		for x := range line {
			line[x] = all[shade(counts[r][x], sums[x], len(all)-1)]
		}
		top := min(low+(r+1)*per-1, high)
		label := "longer"
		if top < len(bounds) {
			label = "≤ " + heatBound(bounds[top])
		}
		out = append(out, " "+d.t.label.Render(right(label, labelWidth))+" "+d.t.accent.Render(string(line)))
	}
	return out
}

func heatBound(b time.Duration) string {
	if b < time.Millisecond {
		return b.String()
	}
	return live.Length(b)
}

// shade is the step from 0 to most for n of sum.
func shade(n, sum int64, most int) int {
	if n <= 0 || sum <= 0 {
		return 0
	}
	return min(1+int(float64(n)/float64(sum)*float64(most)), most)
}
