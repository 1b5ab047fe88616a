package report

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"bela/measure"
	"bela/store"
)

// rows are a table's texts.
func rows(t table) string {
	var b strings.Builder
	for _, r := range t.Rows {
		for i, f := range r {
			if i > 0 {
				b.WriteString(" ")
			}
			b.WriteString(f.Text)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// Whoever holds a run beside a published study looks for the study's tables:
// the load down the side, the other dimensions apart, medians over repetitions.
func TestPublishedTables(t *testing.T) {
	run := &store.Reader{Plan: store.Outline{Dimensions: []string{"qos", "devices"}, Repetitions: 3}}
	number := 0
	for qos := range 2 {
		for _, devices := range []float64{1, 1000} {
			number++
			at := []measure.Dimension{{Name: "qos", Value: float64(qos)}, {Name: "devices", Value: devices}}
			run.Plan.Cells = append(run.Plan.Cells, store.OutlineCell{Number: number, Values: at})
			for repetition := range 3 {
				c := measure.Cell{Number: number, Repetition: repetition + 1, Dimensions: at, Verdict: measure.Valid}
				c.Latency.Mean, c.BrokerIn = ptr(devices*float64(1+repetition)), ptr(1000*devices)
				c.DropsPer5Min = ptr(float64(10 * qos * repetition))
				c.Components = []measure.Component{
					{Component: "hub", Instance: 1, CPUMean: ptr(10.0), CPUMax: ptr(12.0), MemoryMean: ptr(5.0), MemoryMax: ptr(6.0)},
					{Component: "hub", Instance: 2, CPUMean: ptr(30.0), CPUMax: ptr(32.0), MemoryMean: ptr(7.0), MemoryMax: ptr(8.0)},
				}
				run.Cells = append(run.Cells, c)
			}
		}
	}
	hops := hopTables(run)
	if len(hops) != 2 || hops[1].Title != "Throughput at each hop: qos=1" {
		t.Fatalf("%d tables: %+v", len(hops), hops)
	}
	// The median of the repetitions 0, 10 and 20 is 10 drops; hops that are not there are missing.
	if got, want := rows(hops[1]), "1 2.00 1.00 – – – – 10.0\n1000 2000 1000 – – – – 10.0\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if use := useTable(run); len(use.Rows) != 0 {
		t.Errorf("the use of two groups in one table:\n%s", rows(use))
	}
	run.Plan.Dimensions, run.Cells, run.Plan.Cells = []string{"devices"}, run.Cells[:6], run.Plan.Cells[:2]
	for i := range run.Cells {
		run.Cells[i].Dimensions = run.Cells[i].Dimensions[1:]
	}
	if got, want := rows(useTable(run)), "hub 1 40.0 44.0 12.0 14.0\nhub 1000 40.0 44.0 12.0 14.0\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// Limits that differ between cells must not look like one.
func TestLimitsTable(t *testing.T) {
	cell := func(gateways, cpu int) string {
		return fmt.Sprintf(`{"components":[{"name":"gateway","instances":[%s],"limits":{"cpu_mcpu":%d,"memory_bytes":157286400}},{"name":"hub","instances":[{}],"limits":{}}]}`,
			strings.TrimSuffix(strings.Repeat("{},", gateways), ","), cpu)
	}
	run := &store.Reader{PlanJSON: json.RawMessage(`{"cells":[` + cell(1, 200) + "," + cell(2, 200) + `]}`)}
	if got, want := rows(limitsTable(run)), "gateway 1, 2 200m 150 MiB\nhub 1 none none\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	run.PlanJSON = json.RawMessage(`{"cells":[{"components":[{"name":"hub","instances":[{}],"limits":{}}]}]}`)
	if got := rows(limitsTable(run)); got != "" {
		t.Errorf("nothing is limited: %s", got)
	}
}
