package report

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"bela/measure"
	"bela/report/chart"
	"bela/store"
)

// mostGroups bounds how many combinations of the other dimensions are drawn.
const mostGroups = 6

// axisDimension is the dimension that charts have along the bottom: the first
// with numbers, else the first; false where the run has none.
func axisDimension(run *store.Reader) (string, bool) {
	for _, name := range run.Plan.Dimensions {
		for _, c := range run.Plan.Cells {
			for _, d := range c.Values {
				if _, number := d.Value.(float64); d.Name == name && number {
					return name, true
				}
			}
		}
	}
	if len(run.Plan.Dimensions) > 0 {
		return run.Plan.Dimensions[0], true
	}
	return "", false
}

// sheet is what all charts of a run share: the values along the bottom, evenly
// spaced in their order, and the combinations of the other dimensions.
type sheet struct {
	along  string
	values []string
	groups []string
	// combinations by group and value
	at   map[[2]string]measure.Combination
	axis chart.Axis
	note string
}

func newSheet(run *store.Reader) (sheet, bool) {
	s := sheet{at: map[[2]string]measure.Combination{}}
	var ok bool
	if s.along, ok = axisDimension(run); !ok {
		return s, false
	}
	excluded := 0
	numbers := map[string]float64{}
	for _, k := range measure.Combinations(run.Cells) {
		excluded += k.Invalid
		if len(k.Cells) == 0 {
			continue
		}
		value, group := dimension(k.Dimensions, s.along), others(k.Dimensions, s.along)
		if !slices.Contains(s.values, value) {
			s.values = append(s.values, value)
		}
		if !slices.Contains(s.groups, group) {
			s.groups = append(s.groups, group)
		}
		for _, d := range k.Dimensions {
			if n, number := d.Value.(float64); d.Name == s.along && number {
				numbers[value] = n
			}
		}
		s.at[[2]string{group, value}] = k
	}
	if len(numbers) == len(s.values) {
		slices.SortFunc(s.values, func(a, b string) int { return int(min(1, max(-1, numbers[a]-numbers[b]))) })
	}
	s.axis = chart.Axis{Title: clean(s.along)}
	every := (len(s.values) + 9) / 10
	for i, v := range s.values {
		if len([]rune(v)) > 12 {
			v = string([]rune(v)[:11]) + "…"
		}
		if i%every == 0 {
			s.axis.Ticks = append(s.axis.Ticks, chart.Tick{At: float64(i), Text: v})
		}
	}
	if excluded > 0 {
		s.note = fmt.Sprintf("Invalid cells are left out: %d.", excluded)
	}
	if len(s.groups) > mostGroups {
		s.note = strings.TrimSpace(s.note + fmt.Sprintf(" Only %d of %d combinations of the other dimensions are drawn.", mostGroups, len(s.groups)))
		s.groups = s.groups[:mostGroups]
	}
	return s, len(s.values) > 1
}

// others names a cell's values in the other dimensions.
func others(dimensions []measure.Dimension, along string) string {
	var parts []string
	for _, d := range dimensions {
		if d.Name != along {
			parts = append(parts, clean(d.Name)+"="+clean(store.FormatValue(d.Value)))
		}
	}
	return strings.Join(parts, " ")
}

// beside is how far a line lies from its place, so that dots and bars of several
// at the same value do not hide one another; from 0, of so many.
func (s sheet) beside(nth, of int) float64 {
	return (float64(nth) - float64(of-1)/2) * min(0.012*float64(len(s.values)), 0.5/float64(of))
}

// line is one metric of a group along the values: medians over repetitions,
// every repetition a dot, and the median's interval where there is one. It is one
// of so many in its chart, and has the colour of its number.
func (s sheet) line(name, group string, colour, of int, m measure.Metric, unit string) chart.Line {
	l := chart.Line{Name: name, Colour: colour}
	for i, value := range s.values {
		samples := s.at[[2]string{group, value}].Samples(m)
		x := float64(i) + s.beside(colour, of)
		for _, v := range samples {
			l.Dots = append(l.Dots, chart.Point{X: x, Y: v, Title: fmt.Sprintf("%s, %s %s: %s %s", name, clean(s.along), value, number(&v), unit)})
		}
		if median := measure.MedianOf(samples); median != nil {
			l.Points = append(l.Points, chart.Point{X: x, Y: median.Value})
			if median.Low != nil && median.High != nil {
				l.Intervals = append(l.Intervals, chart.Interval{X: x, Low: *median.Low, High: *median.High})
			}
		}
	}
	return l
}

func named(metrics []measure.Metric, name string) measure.Metric {
	return metrics[slices.IndexFunc(metrics, func(m measure.Metric) bool { return m.Name == name })]
}

// plots are the charts over the whole run, those without a value left out.
func plots(run *store.Reader) []chart.Chart {
	var all []chart.Chart
	s, several := newSheet(run)
	if several {
		all = append(all, s.latency(), s.delivery())
	}
	all = append(all, percentiles(run)...)
	if several {
		for _, group := range s.groups {
			all = append(all, s.hops(group), s.components(run, group, "cpu_mcpu_mean", "CPU", "thousandths of a core, mean"), s.components(run, group, "memory_mib_max", "Memory", "MiB, maximum"))
		}
	}
	all = slices.DeleteFunc(all, func(c chart.Chart) bool { return !c.Drawn() })
	for i := range all {
		all[i].ID = "plot" + strconv.Itoa(i+1)
	}
	return all
}

func (s sheet) latency() chart.Chart {
	c := chart.Chart{Title: "Latency against " + clean(s.along), X: s.axis, Y: chart.Axis{Title: "ms from the intended send time, logarithmic", Log: true},
		Text: "p50 and p99 of the latency for each value of " + clean(s.along) + "; the table of cells has the numbers.", Note: s.note}
	for g, group := range s.groups {
		p99 := s.line(strings.TrimSpace("p99 "+group), group, g, len(s.groups), named(measure.CellMetrics(), "latency_p99_ms"), "ms")
		p99.Dashed = true
		c.Lines = append(c.Lines, s.line(strings.TrimSpace("p50 "+group), group, g, len(s.groups), named(measure.CellMetrics(), "latency_p50_ms"), "ms"), p99)
	}
	return c
}

func (s sheet) delivery() chart.Chart {
	c := chart.Chart{Title: "Drops against " + clean(s.along), X: s.axis, Y: chart.Axis{Title: "dropped deliveries in 5 minutes", FromZero: true},
		Text: "Drops in five minutes for each value of " + clean(s.along) + ".", Note: s.note}
	for g, group := range s.groups {
		name := group
		if name == "" {
			name = "drops"
		}
		c.Lines = append(c.Lines, s.line(name, group, g, len(s.groups), named(measure.CellMetrics(), "drops_per_5min"), "drops in 5 min"))
	}
	return c
}

func (s sheet) hops(group string) chart.Chart {
	c := chart.Chart{Title: titled("Throughput per hop", group), X: s.axis, Y: chart.Axis{Title: "bytes a second, logarithmic", Log: true},
		Text: "Bytes a second into and out of each hop, for each value of " + clean(s.along) + ".", Note: s.note}
	for i, hop := range []string{"broker_in", "broker_out", "gateway_in", "gateway_out", "hub_in"} {
		l := s.line(strings.ReplaceAll(hop, "_", " "), group, i, 5, named(measure.CellMetrics(), hop+"_Bps"), "B/s")
		l.Dashed = strings.HasSuffix(hop, "_out")
		c.Lines = append(c.Lines, l)
	}
	return withValues(c)
}

func (s sheet) components(run *store.Reader, group, metric, title, unit string) chart.Chart {
	c := chart.Chart{Title: titled(title+" by component", group), X: s.axis, Y: chart.Axis{Title: unit, FromZero: true},
		Text: title + " of each component, summed over its instances, for each value of " + clean(s.along) + ".", Note: s.note}
	var names []string
	for _, cell := range run.Cells {
		for _, k := range cell.Components {
			if !slices.Contains(names, k.Component) {
				names = append(names, k.Component)
			}
		}
	}
	if len(names) > chart.Colours {
		c.Note = strings.TrimSpace(c.Note + fmt.Sprintf(" Only %d of %d components are drawn.", chart.Colours, len(names)))
		names = names[:chart.Colours]
	}
	for i, name := range names {
		c.Lines = append(c.Lines, s.line(clean(name), group, i, len(names), named(measure.ComponentMetrics(name), metric), unit))
	}
	return withValues(c)
}

// withValues leaves out lines that have nothing to show.
func withValues(c chart.Chart) chart.Chart {
	c.Lines = slices.DeleteFunc(c.Lines, func(l chart.Line) bool { return len(l.Points) == 0 && len(l.Dots) == 0 })
	return c
}

func titled(title, group string) string {
	if group == "" {
		return title
	}
	return title + ", " + group
}

// percentileTicks are the percentiles that the axis marks, by how many messages
// one of them stands for: 1/(1-q).
var percentileMarks = [...]struct {
	of   float64
	name string
}{{1, "0"}, {2, "50"}, {10, "90"}, {100, "99"}, {1000, "99.9"}, {10000, "99.99"}, {100000, "99.999"}}

// percentiles are latencies by percentile: a chart for each combination of the
// other dimensions, and in it a line for each value of the first. Repetitions
// are merged, histogram by histogram.
func percentiles(run *store.Reader) []chart.Chart {
	along, _ := axisDimension(run)
	var charts []chart.Chart
	byGroup := map[string]int{}
	for _, k := range measure.Combinations(run.Cells) {
		merged := &measure.Histogram{}
		for _, c := range k.Cells {
			if h, err := run.Latency(c.Position); err == nil && h != nil {
				merged.Merge(h)
			}
		}
		if merged.Count() == 0 {
			continue
		}
		group := others(k.Dimensions, along)
		at, ok := byGroup[group]
		if !ok {
			if len(charts) == mostGroups {
				continue
			}
			at = len(charts)
			byGroup[group] = at
			c := chart.Chart{Title: titled("Latency by percentile", group), X: chart.Axis{Title: "percentile, each mark ten times rarer", Log: true, Ticks: []chart.Tick{}},
				Y:    chart.Axis{Title: "ms, logarithmic", Log: true},
				Text: "Latency by percentile, one line a cell; repetitions are merged."}
			for _, m := range percentileMarks[:5] {
				c.X.Ticks = append(c.X.Ticks, chart.Tick{At: m.of, Text: m.name})
			}
			charts = append(charts, c)
		}
		c := &charts[at]
		if len(c.Lines) == chart.Colours {
			c.Note = fmt.Sprintf("Only %d values of %s are drawn.", chart.Colours, clean(along))
			continue
		}
		name := strings.TrimSpace(clean(along) + " " + dimension(k.Dimensions, along))
		if along == "" {
			name = "latency"
		}
		c.Lines = append(c.Lines, percentileLine(name, len(c.Lines), merged))
	}
	return charts
}

// percentileLine ends where a percentile would rest on less than one message.
func percentileLine(name string, colour int, h *measure.Histogram) chart.Line {
	l := chart.Line{Name: name, Colour: colour}
	most := min(float64(h.Count()), 1000)
	const steps = 10 // a decade
	for i := 0; ; i++ {
		rarity := pow10(float64(i) / steps)
		if rarity > most*1.0001 {
			return l
		}
		if ns, ok := h.Quantile(1 - 1/rarity); ok {
			l.Points = append(l.Points, chart.Point{X: rarity, Y: ns / 1e6})
		}
	}
}
