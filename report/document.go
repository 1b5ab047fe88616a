package report

import (
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"bela/measure"
	"bela/store"
)

// Options say what a report shows.
type Options struct {
	// Width of the text in columns; 0 is 100. Below 60 is taken as 60.
	Width int
	// Color uses ANSI colours in the text.
	Color bool
	// Instances lists each instance of a component instead of their sum.
	Instances bool
}

// document is what all three forms show, in order.
type document struct {
	Title    string
	Subtitle string
	Facts    []string
	Cells    table
	// Repeated is over the repetitions; without rows where there is only one.
	Repeated table
	Faults   table
	// Hops, Use and Limits are in the form in which studies publish.
	Hops     []table
	Use      table
	Limits   table
	CPU      table
	Memory   table
	Sections []section
	Dir      string
}

// section is a list of lines under a heading; each may have a tone.
type section struct {
	Title string
	Items []item
}

type item struct {
	Tone tone
	Text string
	// Command is one to copy; it is never broken over lines.
	Command string
}

// tone is how a thing is to be taken.
type tone string

const (
	plain tone = ""
	good  tone = "good"
	fair  tone = "fair"
	bad   tone = "bad"
)

// table has a head and rows of equally many fields.
type table struct {
	Title   string
	Note    string
	Columns []column
	Rows    [][]field
}

// Long says that a page shows the table folded: it would bury what follows.
func (t table) Long() bool { return len(t.Rows) > 40 || len(t.Columns) > 40 }

type column struct {
	Head string
	// Rank is the order in which columns are left out where there is no room,
	// the highest first; 0 stays.
	Rank int
	Left bool // aligned; numbers are not
	// Wrap says that a page may break the text over lines.
	Wrap bool
}

type field struct {
	Text string
	Tone tone
}

// The sections that the page of a run shows first.
const (
	reasonsTitle  = "Why cells are not valid"
	helpsTitle    = "What helps"
	expectedTitle = "Expectations"
	absentTitle   = "Not measured"
	arrivalsTitle = "What arrived over time, × where a fault was in force"
)

// missing stands for a number that was not taken.
const missing = "–"

func newDocument(run *store.Reader, o Options) document {
	d := document{
		Title:    run.Plan.Experiment,
		Subtitle: clean(run.Plan.Description),
		Facts:    facts(run),
		Cells:    cellTable(run),
		Repeated: repetitionsTable(run),
		Faults:   faultTable(run),
		Hops:     hopTables(run),
		Use:      useTable(run),
		Limits:   limitsTable(run),
		Dir:      run.Dir,
	}
	if len(d.Use.Rows) == 0 || o.Instances {
		d.CPU, d.Memory = componentTables(run, o.Instances)
	}
	for _, s := range []section{reasons(run), helps(run), notes(run), expectations(run), arrivals(run), losses(run), drops(run), remarks(run), absent(run)} {
		if len(s.Items) > 0 {
			d.Sections = append(d.Sections, s)
		}
	}
	return d
}

// tables are all of the document's, in order.
func (d document) tables() []table {
	return slices.Concat([]table{d.Cells, d.Repeated, d.Faults}, d.Hops, []table{d.Use, d.Limits, d.CPU, d.Memory})
}

func facts(run *store.Reader) []string {
	count := map[measure.Verdict]int{}
	for _, c := range run.Cells {
		count[c.Verdict]++
	}
	e := run.Environment
	cells := fmt.Sprintf("%d of %d cells measured: %d valid, %d degraded, %d invalid",
		len(run.Cells), len(run.Cells)+len(run.Missing()), count[measure.Valid], count[measure.Degraded], count[measure.Invalid])
	machines := fmt.Sprintf("%d nodes", len(e.Nodes))
	if len(e.Nodes) == 1 {
		machines = "1 node"
	}
	if e.Lab {
		machines += ", all on this machine (loopback lab)"
	}
	all := []string{
		"run " + clean(state(run)),
		cells,
		fmt.Sprintf("%s; seed %d; bela %s", machines, e.Seed, clean(e.BelaVersion)),
	}
	if g := generators(e.Nodes); g != "" {
		all = append(all, g)
	}
	return all
}

// generators says how near the load generators are to what they could do when
// they were calibrated: of the node that is nearest. It is empty where none was.
func generators(nodes []store.NodeEnvironment) string {
	var nearest *store.NodeEnvironment
	share := func(n *store.NodeEnvironment) float64 { return n.Generator.PlannedRate / n.Generator.Rate }
	for i := range nodes {
		if n := &nodes[i]; n.Generator != nil && (nearest == nil || share(n) > share(nearest)) {
			nearest = n
		}
	}
	if nearest == nil {
		return ""
	}
	g := nearest.Generator
	s := fmt.Sprintf("load generators, calibrated before the run: at most %.4g msg/s planned where %.4g were held (%s)", g.PlannedRate, g.Rate, clean(nearest.Name))
	if g.LatenessP99MS != nil {
		s += fmt.Sprintf(", late by %.3g ms at p99", *g.LatenessP99MS)
	}
	return s
}

// state is the run's beginning and how it ended.
func state(run *store.Reader) string {
	s := "of " + run.Environment.StartedAt.UTC().Format("2006-01-02 15:04:05 UTC")
	switch end := run.Finished(); {
	case end != nil:
		s += ", finished " + end.Time.UTC().Format("2006-01-02 15:04:05 UTC")
		if end.Reason != "" {
			s += ": " + end.Reason
		}
	case run.Running:
		s += ", still going on"
	default:
		s += ", broken off"
		if n := len(run.Journal); n > 0 {
			s += " after " + run.Journal[n-1].Time.UTC().Format(time.TimeOnly)
		}
	}
	return s
}

// label names a cell: its number, and its repetition where there are several.
func label(run *store.Reader, number, repetition int) string {
	if run.Plan.Repetitions > 1 {
		return fmt.Sprintf("%d/%d", number, repetition)
	}
	return strconv.Itoa(number)
}

func cellTable(run *store.Reader) table {
	t := table{Title: "Cells", Columns: []column{{Head: "cell"}}}
	if run.Plan.Repetitions > 1 {
		t.Note = "cell/repetition; latency in ms from the intended send time"
	} else {
		t.Note = "latency in ms from the intended send time"
	}
	for _, name := range run.Plan.Dimensions {
		t.Columns = append(t.Columns, column{Head: clean(name)})
	}
	t.Columns = append(t.Columns,
		column{Head: "verdict", Left: true},
		column{Head: "published", Rank: 2}, column{Head: "delivered", Rank: 1}, column{Head: "dropped"},
		column{Head: "p50"}, column{Head: "p99"},
		column{Head: "offered/s", Rank: 5}, column{Head: "delivered/s", Rank: 3},
		column{Head: "clock ±ms", Rank: 4})
	for _, c := range run.Cells {
		row := []field{{Text: label(run, c.Number, c.Repetition)}}
		for _, name := range run.Plan.Dimensions {
			row = append(row, field{Text: dimension(c.Dimensions, name)})
		}
		row = append(row, field{Text: clean(string(c.Verdict)), Tone: verdictTone(c.Verdict)})
		for _, n := range []int64{c.Ledger.Published, c.Ledger.Delivered, c.Ledger.Dropped} {
			f := field{Text: missing}
			if store.HasLedger(c) {
				f.Text = strconv.FormatInt(n, 10)
			}
			row = append(row, f)
		}
		if store.HasLedger(c) && c.Ledger.Dropped > 0 {
			row[len(row)-1].Tone = fair
		}
		for _, v := range []*float64{c.Latency.P50, c.Latency.P99, c.OfferedRate, c.DeliveredRate, c.ClockErrorMS} {
			row = append(row, field{Text: number(v)})
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

func verdictTone(v measure.Verdict) tone {
	switch v {
	case measure.Valid:
		return good
	case measure.Degraded:
		return fair
	default:
		return bad
	}
}

func dimension(dimensions []measure.Dimension, name string) string {
	for _, d := range dimensions {
		if d.Name == name {
			return clean(store.FormatValue(d.Value))
		}
	}
	return missing
}

// number writes three significant digits, or all before the point.
func number(v *float64) string {
	switch {
	case v == nil || math.IsNaN(*v) || math.IsInf(*v, 0):
		return missing
	case *v == 0:
		return "0"
	}
	switch digits := int(math.Floor(math.Log10(math.Abs(*v)))); {
	case digits >= 2:
		return strconv.FormatFloat(*v, 'f', 0, 64)
	case digits < -4:
		return strconv.FormatFloat(*v, 'g', 3, 64)
	default:
		return strconv.FormatFloat(*v, 'f', 2-digits, 64)
	}
}

func reasons(run *store.Reader) section {
	s := section{Title: reasonsTitle}
	for _, c := range run.Cells {
		for _, r := range c.Reasons {
			s.Items = append(s.Items, item{Tone: verdictTone(r.Verdict), Text: fmt.Sprintf("cell %s %s: %s", label(run, c.Number, c.Repetition), clean(string(r.Verdict)), clean(r.Text))})
		}
		if c.Verdict != measure.Valid && len(c.Reasons) == 0 {
			s.Items = append(s.Items, item{Tone: verdictTone(c.Verdict), Text: fmt.Sprintf("cell %s %s: no reason is stored", label(run, c.Number, c.Repetition), clean(string(c.Verdict)))})
		}
	}
	return s
}

// helps says what to do about the reasons, one item a kind, in the order in which
// they first come.
func helps(run *store.Reader) section {
	s := section{Title: helpsTitle}
	told := map[string]bool{}
	for _, c := range run.Cells {
		for _, r := range c.Reasons {
			if next := measure.NextStep(r.Code); next != "" && !told[r.Code] {
				told[r.Code] = true
				s.Items = append(s.Items, item{Text: strings.ReplaceAll(r.Code, "_", " ") + ": " + next})
			}
		}
	}
	return s
}

func expectations(run *store.Reader) section {
	s := section{Title: expectedTitle}
	names := slices.Clone(run.Plan.Expectations)
	for _, c := range run.Cells {
		for _, o := range c.Outcomes {
			if !slices.Contains(names, o.Name) {
				names = append(names, o.Name)
			}
		}
	}
	for _, name := range names {
		held := 0
		var failed, unknown []string
		for _, c := range run.Cells {
			for _, o := range c.Outcomes {
				if o.Name != name {
					continue
				}
				where := "cell " + label(run, c.Number, c.Repetition)
				if o.Message != "" {
					where += " (" + clean(o.Message) + ")"
				}
				switch o.State {
				case "held":
					held++
				case "failed":
					failed = append(failed, where)
				default:
					unknown = append(unknown, where)
				}
			}
		}
		text, t := fmt.Sprintf("%s: held in %s", clean(name), cells(held)), good
		switch {
		case len(failed) > 0:
			t = bad
			text = fmt.Sprintf("%s: failed in %s; held in %s", clean(name), among(failed), cells(held))
		case len(unknown) > 0:
			t = fair
		case held == 0:
			text, t = clean(name)+": not checked, for no cell was measured", fair
		}
		if len(unknown) > 0 {
			text += "; unknown in " + among(unknown)
		}
		s.Items = append(s.Items, item{Tone: t, Text: text})
	}
	return s
}

// mostNamed is how many cells are named in a line; the tables have all.
const mostNamed = 6

// among names cells, or the first of many.
func among(names []string) string {
	if len(names) <= mostNamed {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s: %s and %d more", cells(len(names)), strings.Join(names[:mostNamed-1], ", "), len(names)-mostNamed+1)
}

func cells(n int) string {
	if n == 1 {
		return "1 cell"
	}
	return strconv.Itoa(n) + " cells"
}

// losses say of each dropped delivery which hop lost it, and why.
func losses(run *store.Reader) section {
	s := section{Title: "Where messages of the measured window were lost"}
	for _, c := range run.Cells {
		var places []string
		for _, l := range c.Losses {
			share := ""
			if c.Ledger.Dropped > 0 {
				share = fmt.Sprintf(" (%.0f %%)", 100*float64(l.N)/float64(c.Ledger.Dropped))
			}
			places = append(places, fmt.Sprintf("%s %s %d%s", clean(l.Hop), clean(l.Reason), l.N, share))
		}
		if len(places) > 0 {
			s.Items = append(s.Items, item{Text: fmt.Sprintf("cell %s: %s", label(run, c.Number, c.Repetition), strings.Join(places, ", "))})
		}
	}
	return s
}

func drops(run *store.Reader) section {
	s := section{Title: "Drops by hop, as the components count them, warm-up included"}
	for _, c := range run.Cells {
		var hops []string
		for _, hop := range slices.Sorted(maps.Keys(c.DropsByHop)) {
			for _, reason := range slices.Sorted(maps.Keys(c.DropsByHop[hop])) {
				if n := c.DropsByHop[hop][reason]; n > 0 {
					hops = append(hops, fmt.Sprintf("%s %s %d", clean(hop), clean(reason), n))
				}
			}
		}
		if len(hops) > 0 {
			s.Items = append(s.Items, item{Text: fmt.Sprintf("cell %s: %s", label(run, c.Number, c.Repetition), strings.Join(hops, ", "))})
		}
	}
	return s
}

// remarks are counts that say something only when they are not zero.
func remarks(run *store.Reader) section {
	s := section{Title: "Also counted"}
	for _, c := range run.Cells {
		var said []string
		for _, n := range []struct {
			count int64
			what  string
		}{
			{c.Ledger.Unsent, "unsent"}, {c.Ledger.Failed, "failed to publish"}, {c.Ledger.Late, "late"},
			{c.Ledger.Unknown, "of unknown fate"}, {c.Ledger.Duplicated, "duplicated"}, {c.Ledger.Reordered, "reordered"},
			{c.Ledger.InDoubt, "without acknowledgement"}, {c.Ledger.Phantom, "never sent"},
			{c.NegativeLatencies, "latencies below zero"},
		} {
			if n.count > 0 {
				said = append(said, fmt.Sprintf("%d %s", n.count, n.what))
			}
		}
		if len(said) > 0 {
			s.Items = append(s.Items, item{Text: fmt.Sprintf("cell %s: %s", label(run, c.Number, c.Repetition), strings.Join(said, ", "))})
		}
	}
	return s
}

func absent(run *store.Reader) section {
	s := section{Title: absentTitle}
	for _, m := range run.Missing() {
		text := "cell " + label(run, m.Number, m.Repetition)
		var at []string
		for _, v := range m.Values {
			at = append(at, clean(v.Name)+"="+clean(store.FormatValue(v.Value)))
		}
		if len(at) > 0 {
			text += " (" + strings.Join(at, ", ") + ")"
		}
		for _, e := range slices.Backward(run.Journal) {
			if e.Position == m.Position && (e.Kind == store.CellFailed || e.Kind == store.CellSkipped) && e.Reason != "" {
				text += ": " + clean(e.Reason)
				break
			}
		}
		s.Items = append(s.Items, item{Tone: bad, Text: text})
	}
	if len(s.Items) > 0 && !run.Running {
		s.Items = append(s.Items, item{Text: "to measure what is missing:", Command: "bela resume " + filepath.Join(filepath.Base(filepath.Dir(run.Dir)), filepath.Base(run.Dir))})
	}
	return s
}

// clean makes foreign text safe for a terminal and fit for one line: control
// characters become spaces.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || (r >= 0x7f && r < 0xa0) || r == '\u2028' || r == '\u2029' || (r >= '\u202a' && r <= '\u202e') || (r >= '\u2066' && r <= '\u2069') {
			return ' '
		}
		return r
	}, text)
}
