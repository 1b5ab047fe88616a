package report

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"bela/measure"
)

// CompareText writes comparisons for a terminal. The others are all compared
// with the same base.
func CompareText(w io.Writer, cs []Comparison, o Options) error {
	if o.Width == 0 {
		o.Width = 100
	}
	p := printer{width: max(o.Width, 60), color: o.Color}
	for i, c := range cs {
		if i > 0 {
			p.line("")
		}
		for _, l := range comparisonHead(c) {
			p.line(p.bold(l)) // never wrapped: names are there to be copied
		}
		for _, s := range comparisonRemarks(c) {
			p.section(s)
		}
		p.table(findingsTable(c))
		for _, k := range c.Cells {
			t, items := cellsTable(k)
			if len(t.Rows) == 0 {
				p.heading(t)
			}
			p.table(t)
			for _, i := range items {
				p.wrapped("  ", i)
			}
		}
		p.section(reading(c))
	}
	_, err := w.Write(p.out.Bytes())
	return err
}

// CompareMarkdown writes comparisons as GitHub-flavoured Markdown.
func CompareMarkdown(w io.Writer, cs []Comparison) error {
	var b bytes.Buffer
	list := func(items []item) {
		for _, i := range items {
			b.WriteString("- " + escapeMarkdown(i.Text) + "\n")
		}
	}
	for i, c := range cs {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString("# Comparison\n\n")
		for _, l := range comparisonHead(c) {
			b.WriteString("- " + escapeMarkdown(l) + "\n")
		}
		for _, s := range comparisonRemarks(c) {
			b.WriteString("\n## " + escapeMarkdown(s.Title) + "\n\n")
			list(s.Items)
		}
		if t := findingsTable(c); len(t.Rows) > 0 {
			markdownTable(&b, t)
		}
		for _, k := range c.Cells {
			t, items := cellsTable(k)
			if len(t.Rows) > 0 {
				markdownTable(&b, t)
			} else {
				b.WriteString("\n## " + escapeMarkdown(t.Title) + "\n\n" + escapeMarkdown(t.Note) + "\n")
			}
			if len(items) > 0 {
				b.WriteString("\n")
			}
			list(items)
		}
		s := reading(c)
		b.WriteString("\n## " + escapeMarkdown(s.Title) + "\n\n")
		list(s.Items)
	}
	_, err := w.Write(b.Bytes())
	return err
}

func comparisonHead(c Comparison) []string {
	return []string{"base   " + clean(c.Base), "other  " + clean(c.Other)}
}

// comparisonRemarks are what a reader must know before the numbers.
func comparisonRemarks(c Comparison) []section {
	conditions := section{Title: "Other conditions: a difference may come from these"}
	for _, d := range c.Conditions {
		i := item{Tone: fair, Text: "warning: " + d.String()}
		if d.Refuse {
			i = item{Tone: bad, Text: "not comparable: " + d.String()}
		}
		conditions.Items = append(conditions.Items, i)
	}
	notes := section{Title: "Published figures"}
	for _, n := range c.Notes {
		notes.Items = append(notes.Items, item{Text: clean(n)})
	}
	alone := section{Title: "Measured in one run only"}
	for _, name := range c.BaseOnly {
		alone.Items = append(alone.Items, item{Text: "base: " + name})
	}
	for _, name := range c.OtherOnly {
		alone.Items = append(alone.Items, item{Text: "other: " + name})
	}
	return slices.DeleteFunc([]section{notes, conditions, alone}, func(s section) bool { return len(s.Items) == 0 })
}

// cellsTable is the table of two matched cells, and what is to be said below it.
func cellsTable(k ComparedCells) (table, []item) {
	t := table{Title: k.Cell, Columns: []column{
		{Head: "metric", Left: true}, {Head: "base"}, {Head: "other"}, {Head: "change"}, {Head: "interval", Rank: 2}, {Head: "p", Rank: 1}, {Head: "finding", Left: true},
	}}
	if t.Title == "" {
		t.Title = "The one cell"
	}
	t.Note = sideNote("base", k.Base) + "; " + sideNote("other", k.Other)
	var few []item
	counts := map[string]int{}
	for _, d := range k.Metrics {
		t.Rows = append(t.Rows, differenceRow(d))
		if d.TooFew {
			n := fmt.Sprintf("too few repetitions: n=%d and %d", d.Base.N, d.Other.N)
			counts[n]++
			few = append(few, item{Text: d.String() + ": " + n})
		}
	}
	if len(few) == len(t.Rows) && len(counts) == 1 {
		for n := range counts {
			t.Note += "; " + n
		}
		few = nil
	}
	for side, doubt := range map[string]string{"base": k.Base.Doubt, "other": k.Other.Doubt} {
		if doubt != "" {
			few = append(few, item{Tone: fair, Text: side + ": " + clean(doubt)})
		}
	}
	return t, few
}

func sideNote(side string, c ComparedCell) string {
	note := fmt.Sprintf("%s: cell %d", side, c.Number)
	if c.Own != "" {
		note += " (" + c.Own + ")"
	}
	note += ", n=" + strconv.Itoa(c.Repetitions)
	if c.Degraded > 0 {
		note += fmt.Sprintf(", %d of them degraded", c.Degraded)
	}
	if c.Invalid > 0 {
		note += fmt.Sprintf(", %d invalid left out", c.Invalid)
	}
	return note
}

func differenceRow(d MetricDifference) []field {
	p := ""
	switch {
	case d.P == nil:
		p = missing
	case *d.P < 0.001:
		p = "<0.001"
	default:
		p = strconv.FormatFloat(*d.P, 'f', 3, 64)
	}
	finding := field{Text: string(d.Finding)}
	if d.Improved != nil {
		finding.Text, finding.Tone = finding.Text+": worse", bad
		if *d.Improved {
			finding.Text, finding.Tone = string(d.Finding)+": better", good
		}
	}
	return []field{{Text: clean(d.String())}, {Text: medianText(d.Base)}, {Text: medianText(d.Other)}, {Text: changeText(d.Change)}, {Text: ratioText(d.Ratio)}, {Text: p}, finding}
}

// medianText is a median, and how far its interval reaches where it has one: in
// percent to the farther end, or both ends where a percentage says nothing.
func medianText(m *measure.Median) string {
	if m == nil {
		return missing
	}
	s := number(&m.Value)
	switch {
	case m.Low == nil || m.High == nil:
		return s
	case *m.Low == *m.High:
		return s + " ±0%"
	case m.Value != 0 && *m.Low/m.Value > 0:
		reach := max(*m.High/m.Value-1, 1-*m.Low/m.Value) * 100
		if m.Value < 0 {
			reach = max(*m.Low/m.Value-1, 1-*m.High/m.Value) * 100
		}
		return fmt.Sprintf("%s ±%.0f%%", s, math.Ceil(reach-1e-9))
	}
	return fmt.Sprintf("%s [%s, %s]", s, number(m.Low), number(m.High))
}

// changeText is a relative change in percent, with its sign.
func changeText(change *float64) string {
	if change == nil {
		return missing
	}
	percent := *change * 100
	switch {
	case math.Abs(percent) < 0.05:
		return "0.0%"
	case math.Abs(percent) >= 1000:
		return fmt.Sprintf("%+.0f%%", percent)
	}
	return fmt.Sprintf("%+.1f%%", percent)
}

// ratioText is between which relative changes the truth lies.
func ratioText(r *measure.Ratio) string {
	if r == nil {
		return missing
	}
	low, high := r.Low-1, r.High-1
	return "[" + changeText(&low) + ", " + changeText(&high) + "]"
}

// reading says how the tables are to be read.
func reading(c Comparison) section {
	s := section{Title: "How to read this"}
	say := func(format string, args ...any) {
		s.Items = append(s.Items, item{Text: fmt.Sprintf(format, args...)})
	}
	say("base and other are medians over repetitions (n): the run, not the message, is the sample. CPU, memory and bytes of a component are summed over its instances.")
	say("A finding is about these runs. Repetitions of a run follow one another, so whatever else changed on the machines between the runs counts as well; run the base again to see how much.")
	if reached := confidences(c); len(reached) > 0 {
		say("± is how far the median's interval reaches to its farther end. It holds the median with a confidence of %s.", strings.Join(reached, ", "))
	} else {
		say("There are no intervals: they need 6 repetitions.")
	}
	if reached := ratioConfidences(c); len(reached) > 0 {
		say("The interval is that of the relative change, after Hodges and Lehmann, with a confidence of %s. It leaves out 0 where there is a finding. There is none where a value is 0.", strings.Join(reached, ", "))
	}
	tested, found := 0, 0
	for _, k := range c.Cells {
		for _, d := range k.Metrics {
			if d.P != nil {
				tested++
			}
			if d.Finding == measure.Lower || d.Finding == measure.Higher {
				found++
			}
		}
	}
	alpha := strconv.FormatFloat(c.Alpha, 'g', -1, 64)
	if tested == 0 {
		say("No difference was tested, and none is claimed: at p < %s the test of Mann and Whitney needs 4 repetitions on each side.", alpha)
	} else {
		say("Lower and higher are findings at p < %s (Mann and Whitney, two-sided). %d differences were tested and %d found; about %s would be found by chance where there is none at all.",
			alpha, tested, found, strconv.FormatFloat(c.Alpha*float64(tested), 'g', 2, 64))
	}
	return s
}

// confidences are those that the intervals reach, by number of repetitions.
func confidences(c Comparison) []string {
	reached := map[int]float64{}
	for _, k := range c.Cells {
		for _, d := range k.Metrics {
			for _, m := range []*measure.Median{d.Base, d.Other} {
				if m != nil && m.Low != nil {
					reached[m.N] = m.Confidence
				}
			}
		}
	}
	return confidenceTexts(reached)
}

// ratioConfidences are those that the intervals of the change reach, by numbers
// of repetitions.
func ratioConfidences(c Comparison) []string {
	var all []string
	for _, k := range c.Cells {
		for _, d := range k.Metrics {
			if d.Ratio == nil {
				continue
			}
			if s := fmt.Sprintf("%.1f %% at n=%d and %d", math.Floor(d.Ratio.Confidence*1000)/10, d.Base.N, d.Other.N); !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
	}
	return all
}

func confidenceTexts(reached map[int]float64) []string {
	type at struct {
		n          int
		confidence float64
	}
	var all []at
	for n, v := range reached {
		all = append(all, at{n, v})
	}
	slices.SortFunc(all, func(a, b at) int { return cmp.Compare(a.n, b.n) })
	var out []string
	for _, a := range all {
		out = append(out, fmt.Sprintf("%.1f %% at n=%d", math.Floor(a.confidence*1000)/10, a.n))
	}
	return out
}

func (p *printer) section(s section) {
	p.line("")
	p.line(p.bold(s.Title))
	for _, i := range s.Items {
		p.wrapped("  ", i)
	}
}
