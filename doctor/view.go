package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
)

// JSON writes the report for programs.
func JSON(w io.Writer, r *Report) error {
	out := *r
	if out.Findings == nil {
		out.Findings = []Finding{}
	}
	if out.Nodes == nil {
		out.Nodes = []Patient{}
	}
	out.Findings = slices.Clone(out.Findings)
	for i := range out.Findings { // who reads JSON in a terminal must not be steered either
		f := &out.Findings[i]
		f.What, f.Why, f.Fix = printable(f.What), printable(f.Why), printable(f.Fix)
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(out)
}

// row is a finding as the table shows it: with all nodes that have it.
type row struct {
	Finding
	nodes []string
}

// rows puts together what several nodes have alike, in the order of the findings.
func rows(findings []Finding) []row {
	var list []row
	for _, f := range findings {
		i := slices.IndexFunc(list, func(r row) bool {
			return r.Severity == f.Severity && r.Check == f.Check && r.What == f.What && r.Fix == f.Fix
		})
		if i < 0 {
			list = append(list, row{f, []string{f.Node}})
		} else if !slices.Contains(list[i].nodes, f.Node) {
			list[i].nodes = append(list[i].nodes, f.Node)
		}
	}
	return list
}

// Text writes the report for people: the worst first, each with its reason and
// what to type.
func Text(w io.Writer, r *Report) error {
	var b strings.Builder
	list := rows(r.Findings)
	for _, f := range list {
		mark := map[Severity]string{Error: "✗", Warning: "!", Note: "·"}[f.Severity]
		fmt.Fprintf(&b, "%s %-7s  %-12s  %s\n", mark, f.Severity, f.Check, some(f.nodes, 6))
		fmt.Fprintf(&b, "    %s\n", f.What)
		if f.Why != "" {
			fmt.Fprintf(&b, "    why: %s\n", f.Why)
		}
		if f.Fix != "" {
			fmt.Fprintf(&b, "    fix: %s\n", f.Fix)
		}
	}
	if len(list) > 0 {
		b.WriteByte('\n')
	}
	for _, d := range r.Done {
		fmt.Fprintf(&b, "  %s\n", d)
	}
	if r.UndoFile != "" {
		fmt.Fprintf(&b, "  to undo: bela doctor -undo FILE, or sh %s\n", r.UndoFile)
	}
	fmt.Fprintln(&b, r.summary())
	_, err := io.WriteString(w, printable(b.String()))
	return err
}

// summary is the last line.
func (r *Report) summary() string {
	counts := fmt.Sprintf("%s, %s, %s", plural(r.count(Error), "error"), plural(r.count(Warning), "warning"), plural(r.count(Note), "note"))
	spares := 0
	for _, n := range r.Nodes {
		if n.Spare {
			spares++
		}
	}
	looked := plural(len(r.Nodes)-spares, "node")
	if spares > 0 {
		looked += " and " + plural(spares, "spare")
	}
	looked += fmt.Sprintf(", %s between them", plural(r.Ways, "way"))
	if r.Fit {
		return fmt.Sprintf("✓ fit for %s: %s; %s", r.Experiment, looked, counts)
	}
	return fmt.Sprintf("✗ not fit for %s: %s; %s", r.Experiment, looked, counts)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// printable takes out what would steer a terminal: names of processes and texts
// of errors come from the nodes.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 || unicode.Is(unicode.Bidi_Control, r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}
