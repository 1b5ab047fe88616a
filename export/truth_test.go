package export

import (
	"math"
	"strconv"
	"testing"
	"time"

	"bela/event"
	"bela/store"
)

// A percentile has one value, wherever it is read. If this failed, p99.9 of a cell of
// whole thousands of messages would be another message's in the export than in
// cells.csv: 99.9/100 is a hair above 0.999.
func TestPercentilesAreTheCells(t *testing.T) {
	r := run(t, 1000) // 1, 2, … 1000 ms
	h, err := r.Latency(1)
	must(t, err)
	q := h.Quantiles()
	want := map[string]*float64{"5": q.P5, "50": q.P50, "95": q.P95, "99": q.P99, "99.9": q.P999, "100": q.Max}
	seen := 0
	for _, row := range wide(t, tables(t, r, percentilesTable)[0])[1:] {
		if row[0] != "1" || row[2] != "latency" || want[row[3]] == nil {
			continue
		}
		seen++
		if v, err := strconv.ParseFloat(row[4], 64); err != nil || math.Abs(v-*want[row[3]]) > 1e-9 {
			t.Errorf("p%s is %s, and %v in the cell", row[3], row[4], *want[row[3]])
		}
	}
	if seen != len(want) {
		t.Errorf("%d of %d percentiles", seen, len(want))
	}
}

// A second that a node told late, because its link was away, has its own time. If
// this failed, a minute without a link would stand as many samples of one moment.
func TestLateSamplesHaveTheirOwnTime(t *testing.T) {
	r, err := store.Create(t.TempDir(), "late", began, "ab12", store.Inputs{
		Experiment: []byte("experiment \"late\" {}\n"), Variables: map[string]string{}, Plan: map[string]any{"experiment": "late"},
	})
	must(t, err)
	back := began.Add(time.Minute)
	for i := range 3 {
		s := event.NodeSample{T: -1, Node: "iot-1", Components: []event.ComponentSample{{Component: "broker", Instance: 1}}}
		if i < 2 {
			s.At = began.Add(time.Duration(i) * time.Second)
		}
		must(t, r.Event(event.Event{Seq: uint64(i + 1), Time: back, Data: s}))
	}
	must(t, r.Close())
	reader, err := store.Open(r.Dir(), "")
	must(t, err)
	for _, table := range tables(t, reader, nodesTable, instancesTable) {
		for i, want := range []time.Time{began, began.Add(time.Second), back} {
			if at, err := time.Parse(time.RFC3339Nano, wide(t, table)[i+1][0]); err != nil || !at.Equal(want) {
				t.Errorf("%s: sample %d is of %v, want %v", table.Name, i, at, want)
			}
		}
	}
}
