package report

import (
	"slices"
	"strconv"

	"bela/measure"
	"bela/store"
)

// useColumn is what a column of the tables of CPU and memory is made of: a cell,
// or all usable repetitions of a combination.
type useColumn struct {
	head  string
	cells []measure.Cell
}

// useColumns are a column a cell, or a combination where a run has repetitions:
// of many repetitions the medians are what is read.
func useColumns(run *store.Reader) []useColumn {
	var all []useColumn
	if run.Plan.Repetitions < 2 {
		for _, c := range run.Cells {
			all = append(all, useColumn{"cell " + label(run, c.Number, c.Repetition), []measure.Cell{c}})
		}
		return all
	}
	for _, k := range measure.Combinations(run.Cells) {
		all = append(all, useColumn{"cell " + strconv.Itoa(k.Number), k.Cells})
	}
	return all
}

// usedBy is a component whose use is shown, or one of its instances.
type usedBy struct {
	component string
	instance  int // 0 is their sum
}

func (u usedBy) name() string {
	if u.instance == 0 {
		return clean(u.component)
	}
	return clean(u.component) + "/" + strconv.Itoa(u.instance)
}

// of is the median over cells of a column of components.csv; nil where it was not
// taken.
func (u usedBy) of(cells []measure.Cell, metric string) *float64 {
	k := measure.Combination{Cells: slices.Clone(cells)}
	if u.instance > 0 {
		for i, c := range k.Cells {
			k.Cells[i].Components = slices.DeleteFunc(slices.Clone(c.Components), func(k measure.Component) bool { return k.Instance != u.instance })
		}
	}
	if m := measure.MedianOf(k.Samples(named(measure.ComponentMetrics(u.component), metric))); m != nil {
		return &m.Value
	}
	return nil
}

// componentTables have a row for each component, or instance, and a column for
// each cell or combination.
func componentTables(run *store.Reader, instances bool) (cpu, memory table) {
	var rows []usedBy // in the order of their first appearance
	known := map[usedBy]bool{}
	several := false
	for _, c := range run.Cells {
		for _, k := range c.Components {
			u := usedBy{component: k.Component}
			if instances {
				u.instance = k.Instance
			}
			several = several || k.Instance > 1 && !instances
			if !known[u] {
				known[u] = true
				rows = append(rows, u)
			}
		}
	}
	if len(rows) == 0 {
		return cpu, memory
	}
	cpu = table{Title: "CPU, mean/max", Note: "thousandths of a core", Columns: []column{{Head: "component", Left: true}}}
	memory = table{Title: "Memory, max", Note: "MiB", Columns: []column{{Head: "component", Left: true}}}
	if several {
		cpu.Note += "; summed over instances, so that a maximum is an upper bound"
		memory.Note += "; summed over instances"
	}
	if run.Plan.Repetitions > 1 {
		cpu.Note += "; medians over the repetitions, invalid ones left out"
		memory.Note += "; medians over the repetitions, invalid ones left out"
	}
	columns := useColumns(run)
	for _, c := range columns {
		cpu.Columns, memory.Columns = append(cpu.Columns, column{Head: c.head}), append(memory.Columns, column{Head: c.head})
	}
	for _, u := range rows {
		cpuRow, memoryRow := []field{{Text: u.name()}}, []field{{Text: u.name()}}
		for _, c := range columns {
			mean, most, text := u.of(c.cells, "cpu_mcpu_mean"), u.of(c.cells, "cpu_mcpu_max"), missing
			if mean != nil || most != nil {
				text = number(mean) + "/" + number(most)
			}
			cpuRow, memoryRow = append(cpuRow, field{Text: text}), append(memoryRow, field{Text: number(u.of(c.cells, "memory_mib_max"))})
		}
		cpu.Rows, memory.Rows = append(cpu.Rows, cpuRow), append(memory.Rows, memoryRow)
	}
	return cpu, memory
}
