package store

import (
	"bytes"
	"encoding/csv"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"bela/measure"
)

// Users' scripts read these columns: their names and order are the contract.
func TestColumnsAreTheContract(t *testing.T) {
	want := map[string]string{
		"cells.csv": "cell,repetition,devices,codec,verdict,reason,started_at,measured_s,published,acked,delivered,dropped,duplicated,reordered,late,unknown," +
			"drops_per_5min,offered_msg_s,achieved_msg_s,delivered_msg_s,latency_mean_ms,latency_p50_ms,latency_p95_ms,latency_p99_ms,latency_p999_ms," +
			"latency_max_ms,clock_error_ms,lateness_p99_ms,broker_in_Bps,broker_out_Bps,gateway_in_Bps,gateway_out_Bps,hub_in_Bps," +
			"fault_dropped,recovery_s,unrecovered,payload_B\n",
		"components.csv": "cell,repetition,component,instance,node,cpu_mcpu_mean,cpu_mcpu_p95,cpu_mcpu_max,memory_mib_mean,memory_mib_max,net_in_Bps,net_out_Bps,restarts,cpu_throttled_s,oom_kills,memory_mib_peak,net_source,in_msg_s,out_msg_s,in_message_B,out_message_B,share,share_max_over_mean,share_cv\n",
		"series.csv":     "cell,repetition,t_s,published,delivered,dropped,latency_p5_ms,latency_p50_ms,latency_p99_ms,phase\n",
	}
	r := create(t, t.TempDir())
	for name, header := range want {
		b, err := os.ReadFile(filepath.Join(r.Dir(), name))
		if err != nil || string(b) != header {
			t.Errorf("%s begins with %q, want %q (%v)", name, b, header, err)
		}
	}
}

// A number that was not taken and one that was 0 are different things, in the
// table as in the analysis made of it.
func TestMissingIsEmptyAndZeroIsZero(t *testing.T) {
	row := cellRow(measure.Cell{Number: 1, Repetition: 1, Verdict: measure.Invalid}, []string{"devices"})
	if got, want := strings.Join(row, ","), "1,1,,invalid"+strings.Repeat(",", 33-1); got != want {
		t.Errorf("a cell without numbers: %s\nwant %s", got, want)
	}
	zero := 0.0
	row = cellRow(measure.Cell{Ledger: measure.Ledger{Intended: 5, Unsent: 5, Closed: true}, DropsPer5Min: &zero, MeasuredSeconds: 1}, nil)
	if row[6] != "0" || row[9] != "0" || row[14] != "0" || row[15] != "" {
		t.Errorf("a cell with zeros: %q", row)
	}
}

// random draws a number of any size, or none.
func random(r *rand.Rand) *float64 {
	if r.IntN(4) == 0 {
		return nil
	}
	v := math.Ldexp(r.Float64()-0.5, r.IntN(80)-40)
	return &v
}

// Every number and text must come back from the table as it was: separators,
// quotes and line ends in texts, all digits in numbers.
func TestTablesParseBack(t *testing.T) {
	texts := []string{"a,b", `say "x"`, "two\nlines", "", " padded ", "=1+1", "ü–∞"}
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		c := measure.Cell{
			Position: 1, Number: r.IntN(1000), Repetition: r.IntN(9),
			Dimensions: []measure.Dimension{{Name: "text", Value: texts[r.IntN(len(texts))]}, {Name: "number", Value: float64(r.IntN(2000)) / 8}, {Name: "flag", Value: true}},
			Verdict:    measure.Degraded, Reasons: []measure.Reason{{Code: "x", Text: texts[r.IntN(len(texts))]}},
			StartedAt: time.UnixMilli(r.Int64N(1e12)), MeasuredSeconds: 1 + r.Float64(),
			Ledger:       measure.Ledger{Published: r.Int64(), Delivered: r.Int64N(5), Closed: true},
			DropsPer5Min: random(r), OfferedRate: random(r), ClockErrorMS: random(r), HubIn: random(r),
			Latency:    measure.Quantiles{Mean: random(r), Max: random(r)},
			Components: []measure.Component{{Component: texts[r.IntN(len(texts))], Instance: 2, Node: "n", CPUMean: random(r), NetOut: random(r), Restarts: 3}},
		}
		dimensions := []string{"text", "number", "flag"}
		files, err := tables(t.TempDir(), dimensions, map[int]measure.Cell{1: c})
		must(t, err)
		row := parse(t, files[0].content)
		number := func(column string, want *float64) {
			t.Helper()
			if want == nil {
				if row[column] != "" {
					t.Fatalf("seed %d: %s is %q, not empty", seed, column, row[column])
				}
				return
			}
			if got, err := strconv.ParseFloat(row[column], 64); err != nil || got != *want {
				t.Fatalf("seed %d: %s is %q, want %g", seed, column, row[column], *want)
			}
		}
		number("drops_per_5min", c.DropsPer5Min)
		number("offered_msg_s", c.OfferedRate)
		number("clock_error_ms", c.ClockErrorMS)
		number("hub_in_Bps", c.HubIn)
		number("latency_mean_ms", c.Latency.Mean)
		number("latency_max_ms", c.Latency.Max)
		number("measured_s", &c.MeasuredSeconds)
		value := c.Dimensions[1].Value.(float64)
		number("number", &value)
		at, err := time.Parse(time.RFC3339, row["started_at"])
		if err != nil || !at.Equal(c.StartedAt) {
			t.Fatalf("seed %d: started_at %q", seed, row["started_at"])
		}
		for column, want := range map[string]string{
			"text": c.Dimensions[0].Value.(string), "flag": "true", "verdict": "degraded", "reason": "x: " + c.Reasons[0].Text,
			"published": strconv.FormatInt(c.Ledger.Published, 10), "cell": strconv.Itoa(c.Number),
		} {
			if row[column] != want {
				t.Fatalf("seed %d: %s is %q, want %q", seed, column, row[column], want)
			}
		}
		row = parse(t, files[1].content)
		number("cpu_mcpu_mean", c.Components[0].CPUMean)
		number("net_out_Bps", c.Components[0].NetOut)
		number("memory_mib_max", nil)
		if row["component"] != c.Components[0].Component || row["restarts"] != "3" || row["instance"] != "2" {
			t.Fatalf("seed %d: %v", seed, row)
		}
	}
}

// parse reads the table's only row by column.
func parse(t *testing.T, b []byte) map[string]string {
	t.Helper()
	rows, err := csv.NewReader(bytes.NewReader(b)).ReadAll()
	if err != nil || len(rows) != 2 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	row := map[string]string{}
	for i, column := range rows[0] {
		row[column] = rows[1][i]
	}
	return row
}

// The tables are copies: deleting or damaging them must cost nothing.
func TestRebuild(t *testing.T) {
	r := create(t, t.TempDir())
	for _, p := range []int{2, 1, 3} { // as a shuffled order would
		must(t, r.WriteCell(result(p)))
	}
	must(t, r.Close())
	before := map[string]string{}
	for _, name := range []string{"cells.csv", "components.csv", "series.csv"} {
		b, err := os.ReadFile(filepath.Join(r.Dir(), name))
		must(t, err)
		before[name] = string(b)
	}
	must(t, os.Remove(filepath.Join(r.Dir(), "cells.csv")))
	must(t, os.WriteFile(filepath.Join(r.Dir(), "series.csv"), []byte("torn"), 0o644))
	read, err := Open(r.Dir(), "")
	must(t, err)
	must(t, read.Rebuild())
	for name, want := range before {
		b, err := os.ReadFile(filepath.Join(r.Dir(), name))
		if err != nil || string(b) != want {
			t.Errorf("%s came back as %q, want %q (%v)", name, b, want, err)
		}
	}
	if first, _, _ := strings.Cut(strings.SplitN(before["cells.csv"], "\n", 3)[1], ","); first != "1" {
		t.Errorf("the first row is of cell %s", first)
	}
}
