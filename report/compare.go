package report

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"bela/measure"
	"bela/store"
)

// Side is a run as a comparison needs it. What is not known of it is left
// empty: such a side has measured cells, and nothing to judge them by.
type Side struct {
	// Name is what the user knows it by: the run's directory.
	Name         string
	Experiment   string
	Combinations []measure.Combination
	// Environment is nil where it is not known.
	Environment *store.Environment
	// Notes are what to keep in mind of its numbers; Doubts of those of single
	// cells, by their number.
	Notes  []string
	Doubts map[int]string
	// Metrics are the only ones that it has; nil where it may have any.
	Metrics []string
	// settings are what the plan says of each cell, by its number.
	settings map[int]settings
}

// SideOfFigures makes a side of published figures: of those that belong to the
// experiment that they are held against.
func SideOfFigures(f *store.Figures, experiment string) Side {
	return Side{
		Name: f.Dir, Experiment: experiment, Combinations: measure.Combinations(f.For(experiment)),
		Notes: append([]string{"Source: " + f.Name}, f.Notes...), Doubts: f.Doubts, Metrics: f.Metrics,
	}
}

// SideOf makes a side of a run.
func SideOf(run *store.Reader) (Side, error) {
	s := Side{
		Name: run.Dir, Experiment: run.Plan.Experiment,
		Combinations: measure.Combinations(run.Cells), Environment: &run.Environment,
	}
	var err error
	if s.settings, err = readSettings(run.PlanJSON); err != nil {
		return Side{}, fmt.Errorf("run %s: the plan: %w", run.Dir, err)
	}
	return s, nil
}

// Comparison is one run held against the base, cell by cell.
type Comparison struct {
	Base  string `json:"base"`
	Other string `json:"other"`
	// Shared are the dimensions by whose values cells were matched.
	Shared []string `json:"shared_dimensions"`
	// Conditions are what differs besides what was measured.
	Conditions []Condition     `json:"conditions"`
	Cells      []ComparedCells `json:"cells"`
	// Notes are what to keep in mind of a side that was published and not measured.
	Notes []string `json:"notes,omitempty"`
	// BaseOnly and OtherOnly name cells that have no partner.
	BaseOnly  []string `json:"base_only,omitempty"`
	OtherOnly []string `json:"other_only,omitempty"`
	Alpha     float64  `json:"alpha"`
}

// ComparedCells are two cells of the same place in the matrix.
type ComparedCells struct {
	// Cell names the place: the shared dimensions with their values.
	Cell  string       `json:"cell"`
	Base  ComparedCell `json:"base"`
	Other ComparedCell `json:"other"`
	// Metrics hold the differences in the order of the metrics asked for; a
	// metric of components has one for each component.
	Metrics []MetricDifference `json:"metrics"`
}

// ComparedCell says what stands behind one side's numbers.
type ComparedCell struct {
	Number int `json:"cell"`
	// Own are the values of the dimensions that only this side has.
	Own string `json:"own_dimensions,omitempty"`
	// Repetitions were used; Degraded of them are degraded, and Invalid further
	// ones were left out.
	Repetitions int `json:"repetitions"`
	Degraded    int `json:"degraded"`
	Invalid     int `json:"invalid"`
	// Doubt is what is to be said about a published cell.
	Doubt string `json:"doubt,omitempty"`
}

// MetricDifference is one metric of two cells.
type MetricDifference struct {
	measure.Metric
	measure.Difference
	// Ratio is the interval of the other to the base; nil where there is none.
	Ratio *measure.Ratio `json:"ratio"`
}

// DefaultMetrics are what a comparison shows unless it is asked for others.
func DefaultMetrics() []string {
	return []string{"latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "drops_per_5min", "delivered_msg_s", "cpu_mcpu_mean", "memory_mib_max"}
}

// MetricNames are the names of all metrics that can be compared: columns of
// cells.csv and components.csv.
func MetricNames() []string {
	var names []string
	for _, m := range slices.Concat(measure.CellMetrics(), measure.ComponentMetrics("")) {
		names = append(names, m.Name)
	}
	return names
}

// Compare holds a run against the base. Metrics are names of MetricNames.
//
// Errors: the runs have no dimension, or no cell, in common.
func Compare(base, other Side, metrics []string) (Comparison, error) {
	m := measure.Match(base.Combinations, other.Combinations)
	c := Comparison{Base: base.Name, Other: other.Name, Shared: m.Shared, Conditions: []Condition{}, Alpha: measure.Alpha,
		Notes: slices.Concat(base.Notes, other.Notes)}
	for _, side := range []Side{base, other} {
		if len(side.Combinations) == 0 {
			return c, fmt.Errorf("run %s has no measured cell to compare", side.Name)
		}
	}
	if len(m.Pairs) == 0 {
		if len(m.Shared) == 0 {
			return c, fmt.Errorf("runs %s and %s have no shared dimensions (%s; %s), so that no cell of one is like a cell of the other",
				base.Name, other.Name, dimensionNames(base), dimensionNames(other))
		}
		return c, fmt.Errorf("runs %s and %s share no cell: no two have the same %s", base.Name, other.Name, strings.Join(m.Shared, ", "))
	}
	for _, p := range m.Pairs {
		k := compareCells(p, m.Shared, metrics, base.Metrics != nil || other.Metrics != nil)
		k.Base.Doubt, k.Other.Doubt = base.Doubts[k.Base.Number], other.Doubts[k.Other.Number]
		c.Cells = append(c.Cells, k)
	}
	for _, k := range m.BaseOnly {
		c.BaseOnly = append(c.BaseOnly, place(k, nil))
	}
	for _, k := range m.OtherOnly {
		c.OtherOnly = append(c.OtherOnly, place(k, nil))
	}
	c.Conditions = append(c.Conditions, conditions(base, other, m)...)
	return c, nil
}

func dimensionNames(s Side) string {
	var names []string
	for _, d := range s.Combinations[0].Dimensions {
		names = append(names, clean(d.Name))
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// compareCells leaves out the metrics that neither cell has; with both, those
// that one of them lacks.
func compareCells(p measure.Pair, shared, metrics []string, both bool) ComparedCells {
	cells := ComparedCells{
		Cell: place(p.Base, func(name string) bool { return slices.Contains(shared, name) }),
		Base: comparedCell(p.Base, shared), Other: comparedCell(p.Other, shared), Metrics: []MetricDifference{},
	}
	for _, m := range selectMetrics(p, metrics) {
		base, other := p.Base.Samples(m), p.Other.Samples(m)
		d := measure.Compare(base, other, m, measure.Alpha)
		if d.Base != nil && d.Other != nil || !both && (d.Base != nil || d.Other != nil) {
			cells.Metrics = append(cells.Metrics, MetricDifference{m, d, measure.RatioOf(base, other, measure.Alpha)})
		}
	}
	return cells
}

func comparedCell(k measure.Combination, shared []string) ComparedCell {
	return ComparedCell{
		Number: k.Number, Repetitions: len(k.Cells), Degraded: k.Degraded, Invalid: k.Invalid,
		Own: place(k, func(name string) bool { return !slices.Contains(shared, name) }),
	}
}

// selectMetrics are the metrics of the names, each of components for every
// component of either side.
func selectMetrics(p measure.Pair, names []string) []measure.Metric {
	var components []string
	for _, c := range slices.Concat(p.Base.Cells, p.Other.Cells) {
		for _, k := range c.Components {
			if !slices.Contains(components, k.Component) {
				components = append(components, k.Component)
			}
		}
	}
	var out []measure.Metric
	for _, name := range names {
		named := func(m measure.Metric) bool { return m.Name == name }
		all := measure.CellMetrics()
		if i := slices.IndexFunc(all, named); i >= 0 {
			out = append(out, all[i])
			continue
		}
		for _, component := range components {
			all := measure.ComponentMetrics(component)
			if i := slices.IndexFunc(all, named); i >= 0 {
				out = append(out, all[i])
			}
		}
	}
	return out
}

// place names a combination by its values in the dimensions asked for; nil asks
// for all.
func place(k measure.Combination, ask func(string) bool) string {
	var parts []string
	for _, d := range k.Dimensions {
		if ask == nil || ask(d.Name) {
			v, _ := k.Value(d.Name)
			parts = append(parts, clean(d.Name)+"="+clean(v))
		}
	}
	return strings.Join(parts, " ")
}

// Refused are the conditions that make the numbers answers to different
// questions.
func (c Comparison) Refused() []Condition {
	return slices.DeleteFunc(slices.Clone(c.Conditions), func(d Condition) bool { return !d.Refuse })
}

// CompareJSON is the comparisons for a program to read.
func CompareJSON(cs []Comparison) ([]byte, error) {
	b, err := json.MarshalIndent(cs, "", "  ")
	return append(b, '\n'), err
}
