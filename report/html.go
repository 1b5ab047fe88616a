package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"bela/measure"
	"bela/report/chart"
	"bela/store"
)

//go:embed page.html.tmpl
var pageParts string

//go:embed report.html.tmpl
var reportPage string

// runPage is what the page of a run shows.
type runPage struct {
	document
	Counts   []tally
	Expected []expected
	// Verdicts say why cells are not valid and which are missing; Rest is the
	// other sections.
	Verdicts []section
	Rest     []section
	// Why counts the reasons where there are many.
	Why      table
	Tables   []table
	Plots    []chart.Chart
	Times    []cellTimes
	Damaged  []string // files that cannot be drawn
	NoRoom   int
	Diagram  *diagram
	Nodes    table
	Commands []string
}

// ReasonsTitle is that of the reasons.
func (runPage) ReasonsTitle() string { return reasonsTitle }

// Folded says that each of the tables is folded: there are so many.
func (p runPage) Folded() bool { return len(p.Tables) > 12 }

// Measured says whether any of the tables has a row.
func (p runPage) Measured() bool {
	return slices.ContainsFunc(p.Tables, func(t table) bool { return len(t.Rows) > 0 })
}

// tally is how many cells have a verdict.
type tally struct {
	N    int
	What string
	Tone tone
}

// expected is an expectation with what was measured in each cell.
type expected struct {
	Name     string
	State    string
	Tone     tone
	Measured []item
	// More are cells that found no room.
	More int
}

// HTML writes the report as one file that needs no other: it can be read
// offline, by light or by dark, and printed.
func HTML(w io.Writer, run *store.Reader, o Options) error {
	d := newDocument(run, o)
	p := runPage{document: d, Counts: tallies(run), Expected: expectedIn(run), Tables: d.tables()[3:],
		Plots: plots(run), Diagram: newDiagram(run), Nodes: nodeTable(run), Commands: commands(run)}
	p.Times, p.Damaged, p.NoRoom = overTime(run)
	p.Why = reasonsByKind(run)
	for _, s := range d.Sections {
		switch s.Title {
		case expectedTitle: // has a part of its own
		case arrivalsTitle: // is drawn better over time
		case reasonsTitle, helpsTitle, absentTitle:
			p.Verdicts = append(p.Verdicts, s)
		default:
			p.Rest = append(p.Rest, s)
		}
	}
	return writePage(w, "report of "+run.Dir, reportPage, p)
}

// writePage fills a page's template, which may use the parts that all pages share.
func writePage(w io.Writer, what, page string, data any) error {
	t, err := template.New("page").Parse(page)
	if err == nil {
		_, err = t.Parse(pageParts)
	}
	var b bytes.Buffer
	if err == nil {
		err = t.Execute(&b, data)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	_, err = w.Write(b.Bytes())
	return err
}

// WriteHTML writes report.html into the run directory and returns its path.
func WriteHTML(run *store.Reader, o Options) (string, error) {
	var b bytes.Buffer
	if err := HTML(&b, run, o); err != nil {
		return "", err
	}
	path := filepath.Join(run.Dir, "report.html")
	if err := store.WriteFile(path, b.Bytes()); err != nil {
		return "", fmt.Errorf("report of %s: %w", run.Dir, err)
	}
	return path, nil
}

func tallies(run *store.Reader) []tally {
	n := map[measure.Verdict]int{}
	for _, c := range run.Cells {
		n[c.Verdict]++
	}
	all := []tally{{n[measure.Valid], "valid", good}, {n[measure.Degraded], "degraded", fair}, {n[measure.Invalid], "invalid", bad}}
	if missing := len(run.Missing()); missing > 0 {
		all = append(all, tally{missing, "not measured", bad})
	}
	return all
}

// mostMeasured is how many cells an expectation lists by name.
const mostMeasured = 200

func expectedIn(run *store.Reader) []expected {
	var all []expected
	for _, i := range expectations(run).Items {
		name, state, _ := strings.Cut(i.Text, ": ")
		all = append(all, expected{Name: name, State: state, Tone: i.Tone})
	}
	for k := range all {
		all[k].Measured, all[k].More = measuredOf(run, all[k].Name)
	}
	return all
}

// measuredOf is what an expectation came to in each cell, those first where it
// did not hold, and how many found no room.
func measuredOf(run *store.Reader, name string) (items []item, more int) {
	for _, c := range run.Cells {
		for _, o := range c.Outcomes {
			if clean(o.Name) == name && o.Message != "" {
				items = append(items, item{Tone: outcomeTone(o.State),
					Text: fmt.Sprintf("cell %s %s: %s", label(run, c.Number, c.Repetition), clean(o.State), clean(o.Message))})
			}
		}
	}
	slices.SortStableFunc(items, func(a, b item) int {
		held := func(i item) int {
			if i.Tone == good {
				return 1
			}
			return 0
		}
		return held(a) - held(b)
	})
	if len(items) > mostMeasured {
		return items[:mostMeasured], len(items) - mostMeasured
	}
	return items, 0
}

// reasonsByKind counts the cells that each kind of reason spoiled, the most
// frequent first, with one of its texts.
func reasonsByKind(run *store.Reader) table {
	t := table{Title: "Reasons by kind", Columns: []column{{Head: "reason", Left: true}, {Head: "verdict", Left: true}, {Head: "cells"}, {Head: "of them", Left: true, Wrap: true}, {Head: "for example", Left: true, Wrap: true}}}
	type kind struct {
		code    string
		verdict measure.Verdict
		example string
		cells   []string
	}
	var kinds []kind
	for _, c := range run.Cells {
		for _, r := range c.Reasons {
			i := slices.IndexFunc(kinds, func(k kind) bool { return k.code == r.Code && k.verdict == r.Verdict })
			if i < 0 {
				kinds, i = append(kinds, kind{code: r.Code, verdict: r.Verdict, example: r.Text}), len(kinds)
			}
			if at := label(run, c.Number, c.Repetition); !slices.Contains(kinds[i].cells, at) {
				kinds[i].cells = append(kinds[i].cells, at)
			}
		}
	}
	slices.SortStableFunc(kinds, func(a, b kind) int { return len(b.cells) - len(a.cells) })
	for _, k := range kinds {
		named := strings.Join(k.cells[:min(len(k.cells), mostNamed)], ", ")
		if more := len(k.cells) - mostNamed; more > 0 {
			named += fmt.Sprintf(" and %d more", more)
		}
		t.Rows = append(t.Rows, []field{{Text: clean(strings.ReplaceAll(k.code, "_", " "))}, {Text: clean(string(k.verdict)), Tone: verdictTone(k.verdict)},
			{Text: strconv.Itoa(len(k.cells))}, {Text: named}, {Text: clean(k.example)}})
	}
	return t
}

func outcomeTone(state string) tone {
	switch state {
	case "held":
		return good
	case "failed":
		return bad
	}
	return fair
}

// nodeTable is what the machines were.
func nodeTable(run *store.Reader) table {
	t := table{Title: "Machines", Columns: []column{{Head: "node", Left: true}, {Head: "role", Left: true}, {Head: "system", Left: true}, {Head: "kernel", Left: true},
		{Head: "CPU", Left: true}, {Head: "CPUs"}, {Head: "memory GiB"}, {Head: "agent", Left: true}, {Head: "clock off, ms"}}}
	add := func(name, role string, h store.Host, agent string, offset *int64) {
		memory, off, cpus := missing, missing, missing
		if h.MemoryTotal > 0 {
			memory = strconv.FormatFloat(float64(h.MemoryTotal)/(1<<30), 'f', 1, 64)
		}
		if h.CPUs > 0 {
			cpus = strconv.Itoa(h.CPUs)
		}
		if offset != nil {
			ms := float64(*offset) / 1e6
			off = number(&ms)
		}
		row := []field{{Text: clean(name)}, {Text: clean(role)}}
		for _, text := range []string{h.OS, h.Kernel, h.CPUModel, cpus, memory, agent, off} {
			if text == "" {
				text = missing
			}
			row = append(row, field{Text: clean(text)})
		}
		t.Rows = append(t.Rows, row)
	}
	for _, n := range run.Environment.Nodes {
		add(n.Name, n.Role, n.Host, shorten(n.AgentVersion, 24), n.ClockOffsetNS)
	}
	add("controller", "controller", run.Environment.Controller, shorten(run.Environment.BelaVersion, 24), nil)
	return t
}

// commands are those that repeat the run and look at it again.
func commands(run *store.Reader) []string {
	var all []string
	if words := run.Environment.CommandLine; len(words) > 0 {
		quoted := make([]string, len(words))
		for i, w := range words {
			quoted[i] = quote(clean(w))
		}
		all = append(all, strings.Join(quoted, " "))
	}
	name := quote(clean(filepath.Join(filepath.Base(filepath.Dir(run.Dir)), filepath.Base(run.Dir))))
	return append(all, "bela report "+name, "bela export "+name)
}

// quote is a word as a shell takes it.
func quote(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./=:,@%+", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
