package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"bela/measure"
	"bela/store"
)

// Recommendation is what a run says that its components need.
type Recommendation struct {
	Run        string         `json:"run"`
	Experiment string         `json:"experiment"`
	Sizing     measure.Sizing `json:"sizing"`
	// Cells are the numbers of the cells that it rests on.
	Cells      []int                 `json:"cells"`
	Components []measure.Requirement `json:"components"`
	Total      measure.Requirement   `json:"total"`
	Nodes      []measure.NodeTotal   `json:"nodes"`
	// Machine is what was asked to be filled; nil where nothing was. Fits holds an
	// entry a component, and Platforms is for all components at once.
	Machine   *measure.Machine       `json:"machine,omitempty"`
	Fits      map[string]measure.Fit `json:"fits,omitempty"`
	Platforms *measure.Fit           `json:"platforms,omitempty"`
	// Warnings are reasons to trust it less.
	Warnings []string `json:"warnings,omitempty"`
}

// shortWindow is a measured window whose peaks say little about a day's.
const shortWindow = 60

// Recommend sizes a run's components by the cells whose dimensions have the
// values of where; by all where it is empty.
//
// Errors: a dimension or value that the run does not have, or no cell fit to use.
func Recommend(run *store.Reader, s measure.Sizing, where map[string]string, m *measure.Machine) (Recommendation, error) {
	r := Recommendation{Run: run.Dir, Experiment: run.Plan.Experiment, Sizing: s, Machine: m}
	combinations, err := chosen(run, where)
	if err != nil {
		return r, err
	}
	r.Components = measure.Recommend(combinations, s)
	if len(r.Components) == 0 {
		return r, fmt.Errorf("run %s has no cell fit to size components by: bela report shows why", run.Dir)
	}
	r.Total = measure.Total(r.Components)
	widest := measure.Cell{}
	for _, k := range combinations {
		if len(k.Cells) > 0 {
			r.Cells = append(r.Cells, k.Number)
			if len(k.Cells[0].Components) > len(widest.Components) {
				widest = k.Cells[0]
			}
		}
	}
	r.Nodes = measure.TotalsByNode(widest, r.Components)
	if m != nil {
		r.Fits = map[string]measure.Fit{}
		for _, c := range r.Components {
			r.Fits[c.Component] = c.Fits(*m)
		}
		all := r.Total.Fits(*m)
		r.Platforms = &all
	}
	limits, err := plannedLimits(run.PlanJSON)
	if err != nil {
		return r, fmt.Errorf("run %s: the plan: %w", run.Dir, err)
	}
	r.Warnings = append(doubtsOf(combinations), limited(r.Components, limits)...)
	return r, nil
}

// chosen are the combinations that where asks for.
func chosen(run *store.Reader, where map[string]string) ([]measure.Combination, error) {
	for name := range where {
		if !slices.Contains(run.Plan.Dimensions, name) {
			return nil, fmt.Errorf("the run has no dimension %q: it has %s", name, strings.Join(append(run.Plan.Dimensions, ""), " "))
		}
	}
	var out []measure.Combination
	for _, k := range measure.Combinations(run.Cells) {
		fits := true
		for name, want := range where {
			v, _ := k.Value(name)
			fits = fits && v == want
		}
		if fits {
			out = append(out, k)
		}
	}
	if len(out) == 0 && len(where) > 0 {
		return nil, errors.New("no measured cell has these values: bela report shows those that there are")
	}
	return out, nil
}

// doubtsOf are the reservations about the cells themselves.
func doubtsOf(combinations []measure.Combination) []string {
	var doubts []string
	short := math.Inf(1)
	for _, k := range combinations {
		if k.Invalid > 0 {
			doubts = append(doubts, fmt.Sprintf("cell %d: %d of its results are invalid and were left out", k.Number, k.Invalid))
		}
		if k.Degraded > 0 {
			var codes []string
			for _, c := range k.Cells {
				for _, reason := range c.Reasons {
					if !slices.Contains(codes, reason.Code) {
						codes = append(codes, reason.Code)
					}
				}
			}
			doubts = append(doubts, fmt.Sprintf("cell %d rests on degraded results (%s)", k.Number, strings.Join(codes, ", ")))
		}
		for _, c := range k.Cells {
			short = min(short, c.MeasuredSeconds)
		}
	}
	if short < shortWindow {
		doubts = append(doubts, fmt.Sprintf("a cell was measured for %.0f s only: a longer run may have higher peaks", short))
	}
	return doubts
}

// limited warns of components that were held by a limit: what they would have
// used without it nobody knows.
func limited(rs []measure.Requirement, limits map[int]map[string]planLimits) []string {
	const reached = 0.95
	var warnings []string
	for _, r := range rs {
		if l := limits[r.CellCPU][r.Component].CPU; l > 0 && r.CPUPeak >= reached*l {
			warnings = append(warnings, fmt.Sprintf("%s reached its CPU limit of %.0fm in cell %d: it may need more than was measured", r.Component, l, r.CellCPU))
		}
		if l := limits[r.CellMemory][r.Component].Memory / (1 << 20); l > 0 && r.MemoryPeak >= reached*l {
			warnings = append(warnings, fmt.Sprintf("%s reached its memory limit of %.0f MiB in cell %d: it may need more than was measured", r.Component, l, r.CellMemory))
		}
	}
	return warnings
}

type planLimits struct {
	CPU    float64 `json:"cpu_mcpu"`
	Memory float64 `json:"memory_bytes"`
}

// plannedLimits are the limits of each component, by the cell's number.
func plannedLimits(plan json.RawMessage) (map[int]map[string]planLimits, error) {
	var p struct {
		Cells []struct {
			Number     int `json:"cell"`
			Components []struct {
				Name   string     `json:"name"`
				Limits planLimits `json:"limits"`
			} `json:"components"`
		} `json:"cells"`
	}
	if err := json.Unmarshal(plan, &p); err != nil {
		return nil, err
	}
	out := map[int]map[string]planLimits{}
	for _, c := range p.Cells {
		out[c.Number] = map[string]planLimits{}
		for _, k := range c.Components {
			out[c.Number][k.Name] = k.Limits
		}
	}
	return out, nil
}

// RecommendText writes a recommendation for a terminal.
func RecommendText(w io.Writer, r Recommendation, o Options) error {
	if o.Width == 0 {
		o.Width = 100
	}
	p := printer{width: max(o.Width, 60), color: o.Color}
	p.line(p.bold("requests and limits for " + clean(r.Experiment)))
	p.wrapped("", item{Text: fmt.Sprintf("request = the %s, limit = the peak and %.0f %% headroom, of the busiest instance in the hardest of %d cells; rounded up to %.0f mCPU and %.0f MiB",
		basisText(r.Sizing.Request), 100*r.Sizing.Headroom, len(r.Cells), r.Sizing.CPUStep, r.Sizing.MemoryStep)})
	for _, t := range r.tables() {
		p.table(t)
	}
	if len(r.Warnings) > 0 {
		s := section{Title: "Trust it less because"}
		for _, warning := range r.Warnings {
			s.Items = append(s.Items, item{Tone: fair, Text: clean(warning)})
		}
		p.section(s)
	}
	_, err := w.Write(p.out.Bytes())
	return err
}

func basisText(b measure.SizingBasis) string {
	if b == measure.SizingP95 {
		return "95th percentile of CPU and the peak of memory"
	}
	return "steady mean"
}

func (r Recommendation) tables() []table {
	needs := table{Title: "Each instance", Columns: []column{{Head: "component", Left: true}, {Head: "instances"}, {Head: "CPU request"}, {Head: "CPU limit"},
		{Head: "memory request"}, {Head: "memory limit"}, {Head: "measured CPU", Rank: 2}, {Head: "measured memory", Rank: 1}}}
	mcpu := func(v float64) string { return strconv.FormatFloat(v, 'f', 0, 64) + "m" }
	mib := func(v float64) string { return strconv.FormatFloat(v, 'f', 0, 64) + " MiB" }
	row := func(name string, n int, q measure.Requirement, measured ...string) []field {
		fields := []field{{Text: clean(name)}, {Text: strconv.Itoa(n)}, {Text: mcpu(q.CPURequest)}, {Text: mcpu(q.CPULimit)}, {Text: mib(q.MemoryRequest)}, {Text: mib(q.MemoryLimit)}}
		for _, m := range measured {
			fields = append(fields, field{Text: m})
		}
		return fields
	}
	for _, q := range r.Components {
		needs.Rows = append(needs.Rows, row(q.Component, q.Instances, q,
			fmt.Sprintf("%s, max %s in cell %d", number(&q.CPUBasis), number(&q.CPUPeak), q.CellCPU),
			fmt.Sprintf("%s, max %s in cell %d", number(&q.MemoryBasis), number(&q.MemoryPeak), q.CellMemory)))
	}
	needs.Rows = append(needs.Rows, row("total", r.Total.Instances, r.Total, "", ""))
	nodes := table{Title: "Each node, placed as in the run", Columns: []column{{Head: "node", Left: true}, {Head: "instances"}, {Head: "CPU request"}, {Head: "CPU limit"},
		{Head: "memory request"}, {Head: "memory limit"}}}
	for _, n := range r.Nodes {
		nodes.Rows = append(nodes.Rows, row(n.Node, n.Instances, n.Need))
	}
	tables := []table{needs, nodes}
	if r.Machine != nil {
		fits := table{Title: fmt.Sprintf("On a machine of %s and %s", mcpu(r.Machine.CPU), mib(r.Machine.Memory)),
			Columns: []column{{Head: "component", Left: true}, {Head: "instances by requests"}, {Head: "all at their limits"}}}
		add := func(name string, f measure.Fit) {
			fits.Rows = append(fits.Rows, []field{{Text: clean(name)}, {Text: strconv.Itoa(f.ByRequests)}, {Text: strconv.Itoa(f.ByLimits)}})
		}
		for _, q := range r.Components {
			add(q.Component, r.Fits[q.Component])
		}
		add("the whole platform", *r.Platforms)
		tables = append(tables, fits)
	}
	return tables
}

// RecommendHCL writes the limits as blocks to paste into components.
func RecommendHCL(w io.Writer, r Recommendation) error {
	var b strings.Builder
	for i, q := range r.Components {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "# component %q: requests are %.0fm and %.0f MiB\nlimits {\n  cpu    = \"%.0fm\"\n  memory = \"%.0fMiB\"\n}\n",
			clean(q.Component), q.CPURequest, q.MemoryRequest, q.CPULimit, q.MemoryLimit)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// RecommendJSON is a recommendation for a program to read.
func RecommendJSON(w io.Writer, r Recommendation) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}
