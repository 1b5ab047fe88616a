package report

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"bela/measure"
	"bela/store"
)

// The tables of this file have the form in which studies of platforms publish:
// the load down the side, one table for each other combination of the matrix.

// loadDimension is the dimension that stands down the side: devices, or the
// first one of numbers; empty where there is none.
func loadDimension(run *store.Reader) string {
	first := ""
	for _, name := range run.Plan.Dimensions {
		numeric := len(run.Plan.Cells) > 0
		for _, c := range run.Plan.Cells {
			for _, d := range c.Values {
				if _, ok := d.Value.(float64); d.Name == name && !ok {
					numeric = false
				}
			}
		}
		if name == "devices" && numeric {
			return name
		}
		if numeric && first == "" {
			first = name
		}
	}
	return first
}

// group is the combinations that differ in the load alone.
type group struct {
	name         string // the other dimensions with their values
	combinations []measure.Combination
}

// byLoad groups a run's combinations, in the order of the cells.
func byLoad(run *store.Reader, load string) []group {
	var groups []group
	for _, k := range measure.Combinations(run.Cells) {
		name := place(k, func(d string) bool { return d != load })
		i := slices.IndexFunc(groups, func(g group) bool { return g.name == name })
		if i < 0 {
			groups, i = append(groups, group{name: name}), len(groups)
		}
		groups[i].combinations = append(groups[i].combinations, k)
	}
	return groups
}

// hopTables are latency, throughput at each hop and drops against the load.
func hopTables(run *store.Reader) []table {
	load := loadDimension(run)
	if load == "" {
		return nil
	}
	columns := []struct {
		head, metric string
		rank         int
		unit         float64
	}{
		{"latency ms", "latency_mean_ms", 0, 1}, {"broker in", "broker_in_Bps", 0, 1000}, {"broker out", "broker_out_Bps", 0, 1000},
		{"gateway in", "gateway_in_Bps", 1, 1000}, {"gateway out", "gateway_out_Bps", 1, 1000}, {"hub in", "hub_in_Bps", 1, 1000},
		{"drops/5 min", "drops_per_5min", 0, 1},
	}
	var tables []table
	for _, g := range byLoad(run, load) {
		t := table{Title: "Throughput at each hop", Note: "mean latency from the intended send time; throughput in kB/s",
			Columns: []column{{Head: clean(load)}}}
		if g.name != "" {
			t.Title += ": " + g.name
		}
		if run.Plan.Repetitions > 1 {
			t.Note += "; medians over the repetitions"
		}
		for _, c := range columns {
			t.Columns = append(t.Columns, column{Head: c.head, Rank: c.rank})
		}
		hops := false
		for _, k := range g.combinations {
			v, _ := k.Value(load)
			row := []field{{Text: clean(v)}}
			for i, c := range columns {
				v := medianIn(k, measure.CellMetrics(), c.metric)
				f := field{Text: missing}
				if v != nil {
					*v /= c.unit
					f.Text = number(v)
					hops = hops || c.unit > 1
				}
				if v != nil && *v > 0 && i == len(columns)-1 {
					f.Tone = fair
				}
				row = append(row, f)
			}
			t.Rows = append(t.Rows, row)
		}
		if hops {
			tables = append(tables, t)
		}
	}
	return tables
}

// useTable is CPU and memory of each component against the load, summed over
// its instances; without rows where the matrix has more than the load.
func useTable(run *store.Reader) table {
	t := table{Title: "Use by component", Note: "summed over instances; mean and highest second", Columns: []column{{Head: "component", Left: true}}}
	load := loadDimension(run)
	groups := byLoad(run, load)
	if load == "" || len(groups) != 1 || len(groups[0].combinations) < 2 {
		return t
	}
	t.Columns = append(t.Columns, column{Head: clean(load)}, column{Head: "CPU mCPU"}, column{Head: "highest", Rank: 2}, column{Head: "memory MiB"}, column{Head: "highest", Rank: 1})
	for _, k := range groups[0].combinations {
		v, _ := k.Value(load)
		for _, name := range componentsOf(k) {
			row := []field{{Text: clean(name)}, {Text: clean(v)}}
			for _, metric := range []string{"cpu_mcpu_mean", "cpu_mcpu_max", "memory_mib_mean", "memory_mib_max"} {
				row = append(row, field{Text: number(medianIn(k, measure.ComponentMetrics(name), metric))})
			}
			t.Rows = append(t.Rows, row)
		}
	}
	return t
}

func componentsOf(k measure.Combination) []string {
	var names []string
	for _, c := range k.Cells {
		for _, i := range c.Components {
			if !slices.Contains(names, i.Component) {
				names = append(names, i.Component)
			}
		}
	}
	return names
}

// medianIn is the median of the metric of a name; nil where it was not taken.
func medianIn(k measure.Combination, metrics []measure.Metric, name string) *float64 {
	for _, m := range metrics {
		if m.Name == name {
			if median := measure.MedianOf(k.Samples(m)); median != nil {
				return &median.Value
			}
		}
	}
	return nil
}

// limitsTable is how many instances each component had and what each was
// allowed, with the totals; without rows where nothing was limited. Where cells
// differ, each of the values stands once.
func limitsTable(run *store.Reader) table {
	t := table{Title: "Limits", Note: "for each instance, as planned", Columns: []column{{Head: "component", Left: true}, {Head: "instances"}, {Head: "CPU"}, {Head: "memory"}}}
	var plan struct {
		Cells []struct {
			Components []struct {
				Name      string            `json:"name"`
				Instances []json.RawMessage `json:"instances"`
				Limits    planLimits        `json:"limits"`
			} `json:"components"`
		} `json:"cells"`
	}
	if json.Unmarshal(run.PlanJSON, &plan) != nil {
		return t // a plan of another shape has been told of when the run was opened
	}
	type values struct{ instances, cpu, memory []string }
	byName := map[string]*values{}
	var names []string
	limited := false
	keep := func(list *[]string, v string) {
		if !slices.Contains(*list, v) {
			*list = append(*list, v)
		}
	}
	for _, c := range plan.Cells {
		for _, k := range c.Components {
			v := byName[k.Name]
			if v == nil {
				v = &values{}
				byName[k.Name], names = v, append(names, k.Name)
			}
			keep(&v.instances, strconv.Itoa(len(k.Instances)))
			cpu, memory := "none", "none"
			if k.Limits.CPU > 0 {
				cpu, limited = fmt.Sprintf("%.0fm", k.Limits.CPU), true
			}
			if k.Limits.Memory > 0 {
				memory, limited = fmt.Sprintf("%.0f MiB", k.Limits.Memory/(1<<20)), true
			}
			keep(&v.cpu, cpu)
			keep(&v.memory, memory)
		}
	}
	if !limited {
		return t
	}
	for _, name := range names {
		v := byName[name]
		t.Rows = append(t.Rows, []field{{Text: clean(name)}, {Text: strings.Join(v.instances, ", ")}, {Text: strings.Join(v.cpu, ", ")}, {Text: strings.Join(v.memory, ", ")}})
	}
	return t
}
