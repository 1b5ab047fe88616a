package export

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"golang.org/x/sys/unix"

	"bela/event"
	"bela/measure"
	"bela/store"
)

var began = time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)

func ptr[T any](v T) *T { return &v }

// run makes a run of two cells on two nodes, with as many seconds of samples in
// each cell as told, in which every kind of value occurs, taken and not taken.
func run(t testing.TB, seconds int) *store.Reader {
	t.Helper()
	dimensions := []string{"devices", "codec", "durable"}
	values := func(n int) []measure.Dimension {
		return []measure.Dimension{{Name: "devices", Value: float64(n * 100)}, {Name: "codec", Value: `a,"b"`}, {Name: "durable", Value: n == 1}}
	}
	var cells []map[string]any
	for n := 1; n <= 2; n++ {
		cells = append(cells, map[string]any{"position": n, "cell": n, "repetition": 1, "values": values(n)})
	}
	r, err := store.Create(t.TempDir(), "qos1", began, "ab12", store.Inputs{
		Experiment: []byte("experiment \"qos1\" {}\n"), Variables: map[string]string{},
		Plan: map[string]any{"experiment": "qos1", "dimensions": dimensions, "cells": cells}, Dimensions: dimensions,
	})
	must(t, err)
	defer func() { must(t, r.Close()) }()
	seq := uint64(0)
	emit := func(d event.Data) {
		seq++
		must(t, r.Event(event.Event{Seq: seq, Time: began.Add(time.Duration(seq) * time.Second), Data: d}))
	}
	for n := 1; n <= 2; n++ {
		ref := event.CellRef{Position: n, Number: n, Repetition: 1, Attempt: n}
		must(t, r.Journal(store.Entry{Kind: store.CellStarted, Position: n, Number: n, Repetition: 1, Attempt: n}))
		emit(event.CellStarted{Cell: ref})
		emit(event.NodeSample{Position: n, T: -1, Node: "iot-1"})
		latency := &measure.Histogram{}
		var series []measure.Second
		for s := range seconds {
			latency.Record(int64(s+1) * 1e6)
			for _, node := range []string{"iot-1", "worker-1"} {
				emit(event.NodeSample{Position: n, T: s, Node: node, CPU: float64(s) / 3, AgentScheduling: ptr(0.25), Components: []event.ComponentSample{
					{Component: "broker", Instance: 1, CPU: 100.5, Counted: true, BytesIn: 0}, {Component: "user", Instance: 1, Memory: 7},
				}})
			}
			if s < 300 {
				series = append(series, measure.Second{T: s, Phase: "measure", Published: int64(s), P50: ptr(float64(s))})
			}
		}
		c := measure.Cell{Position: n, Number: n, Repetition: 1, Attempt: n, Dimensions: values(n), Verdict: measure.Valid, StartedAt: began,
			MeasuredSeconds: 15, Ledger: measure.Ledger{Published: 10, Delivered: 9, Dropped: 1},
			Components: []measure.Component{{Component: "broker", Instance: 1, Node: "worker-1", CPUMean: ptr(1e-7), MemoryMax: ptr(math.MaxFloat64)}},
			Outcomes:   []measure.Outcome{{Name: "quick", State: "held"}, {Name: "whole\n", State: "failed", Message: "1, of \"2\""}},
		}
		must(t, r.WriteCell(store.CellResult{Cell: c, Latency: latency, Service: &measure.Histogram{}, Lateness: &measure.Histogram{}, Series: series}))
		must(t, r.Metrics([]byte(fmt.Sprintf("bela_cell,cell=%d v=1i 1\n", n))))
	}
	reader, err := store.Open(r.Dir(), "")
	must(t, err)
	return reader
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func tables(t testing.TB, r *store.Reader, names ...string) []Table {
	t.Helper()
	all, err := Tables(r, names...)
	must(t, err)
	return all
}

// wide reads a table as CSV: the header, then the rows.
func wide(t testing.TB, table Table) [][]string {
	t.Helper()
	var b bytes.Buffer
	must(t, CSV(t.Context(), &b, table))
	rows, err := csv.NewReader(&b).ReadAll()
	must(t, err)
	return rows
}

// What the CSV files of the run directory say, the export must say, byte for byte.
func TestCSVIsTheContract(t *testing.T) {
	r := run(t, 3)
	for _, table := range tables(t, r, cellsTable, componentsTable, seriesTable) {
		var b bytes.Buffer
		must(t, CSV(t.Context(), &b, table))
		want, err := os.ReadFile(filepath.Join(r.Dir, table.Name+".csv"))
		must(t, err)
		if b.String() != string(want) {
			t.Errorf("%s:\n%s\nwant\n%s", table.Name, b.String(), want)
		}
	}
}

// A notebook that reads Parquet must find what another finds in the CSV, of the
// right types, and null where nothing was measured.
func TestParquetEqualsCSV(t *testing.T) {
	r := run(t, 40)
	for _, table := range tables(t, r) {
		var b bytes.Buffer
		must(t, Parquet(t.Context(), &b, table))
		f, err := parquet.OpenFile(bytes.NewReader(b.Bytes()), int64(b.Len()))
		must(t, err)
		want := wide(t, table)
		var header []string
		for _, c := range f.Schema().Columns() {
			header = append(header, c[0])
		}
		if fmt.Sprint(header) != fmt.Sprint(want[0]) || f.NumRows() != int64(len(want)-1) {
			t.Fatalf("%s: columns %v and %d rows, want %v and %d", table.Name, header, f.NumRows(), want[0], len(want)-1)
		}
		n := 0
		for _, group := range f.RowGroups() {
			rows := group.Rows()
			buf := make([]parquet.Row, 7)
			for {
				got, err := rows.ReadRows(buf)
				for _, row := range buf[:got] {
					n++
					for i, v := range row {
						if text := formatParquet(table.Columns[i], v); text != want[n][i] {
							t.Fatalf("%s row %d %s: %q, want %q", table.Name, n, header[i], text, want[n][i])
						}
					}
				}
				if errors.Is(err, io.EOF) {
					break
				}
				must(t, err)
			}
			must(t, rows.Close())
		}
	}
}

func formatParquet(c Column, v parquet.Value) string {
	if v.IsNull() {
		return ""
	}
	switch c.Type {
	case Integer:
		return c.format(v.Int64())
	case Number:
		return c.format(v.Double())
	case Truth:
		return c.format(v.Boolean())
	case Time:
		return c.format(time.UnixMilli(v.Int64()))
	}
	return string(v.ByteArray())
}

// The tidy table, spread out again, must be the wide one: nothing lost, nothing
// twice, and each value beside the coordinates that it belongs to.
func TestTidyEqualsCSV(t *testing.T) {
	r := run(t, 5)
	all := tables(t, r)
	var b bytes.Buffer
	must(t, Tidy(t.Context(), &b, r, all))
	rows, err := csv.NewReader(&b).ReadAll()
	must(t, err)
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	got := map[string]string{}
	for _, row := range rows[1:] {
		if row[column["codec"]] == "" && row[column["cell"]] != "" {
			t.Fatalf("a value of a cell without its dimensions: %q", row)
		}
		key := row[column["table"]]
		for _, k := range tidyKeys(r)[3:] {
			if k != "devices" && k != "codec" && k != "durable" {
				key += "|" + row[column[k]]
			}
		}
		key += "|" + row[column["metric"]]
		if _, twice := got[key]; twice {
			t.Fatalf("twice: %s", key)
		}
		got[key] = row[column["value"]]
	}
	want := 0
	for _, table := range all {
		for _, row := range wide(t, table)[1:] {
			at := map[string]string{}
			for i, c := range table.Columns {
				if c.Key {
					at[c.Name] = row[i]
				}
			}
			key := table.Name
			for _, k := range tidyKeys(r)[3:] {
				if k != "devices" && k != "codec" && k != "durable" {
					key += "|" + at[k]
				}
			}
			for i, c := range table.Columns {
				v, ok := got[key+"|"+c.Name]
				switch {
				case c.Key || row[i] == "" && !ok:
				case !ok || v != row[i]:
					t.Fatalf("%s: %s is %q, want %q", key, c.Name, v, row[i])
				default:
					want++
				}
			}
		}
	}
	if want != len(got) || want < 100 {
		t.Errorf("%d values in the tidy table, %d in the wide ones", len(got), want)
	}
}

// JSON and its lines must hold the same rows, and null where nothing was taken.
func TestJSON(t *testing.T) {
	r := run(t, 2)
	var whole, lines bytes.Buffer
	must(t, JSON(t.Context(), &whole, r, tables(t, r)))
	must(t, NDJSON(t.Context(), &lines, tables(t, r)))
	var doc map[string]any
	must(t, json.Unmarshal(whole.Bytes(), &doc))
	if doc["experiment"] != "qos1" || doc["run"] != filepath.Base(r.Dir) {
		t.Errorf("head: %v %v", doc["experiment"], doc["run"])
	}
	cell := doc["cells"].([]any)[0].(map[string]any)
	if cell["devices"] != 100.0 || cell["durable"] != true || cell["latency_p50_ms"] != nil || cell["dropped"] != 1.0 || cell["started_at"] != "2026-01-02T15:04:05Z" {
		t.Errorf("first cell: %v", cell)
	}
	if _, there := cell["latency_p50_ms"]; !there {
		t.Error("a number that was not taken has lost its key")
	}
	rows := strings.Split(strings.TrimSpace(lines.String()), "\n")
	total := 0
	for name, list := range doc {
		if list, ok := list.([]any); ok {
			total += len(list)
			if first, err := json.Marshal(list[0]); err != nil || !strings.Contains(lines.String(), `{"table":`+strconv.Quote(name)) {
				t.Errorf("%s: %s %v", name, first, err)
			}
		}
	}
	if total != len(rows) || total < 20 {
		t.Errorf("%d rows in the document, %d lines", total, len(rows))
	}
}

// A sample belongs to its cell and attempt, a component that does not count for
// itself has no counts, and one that counted nothing has zero.
func TestSamples(t *testing.T) {
	rows := wide(t, tables(t, run(t, 1), instancesTable)[0])
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	value := func(row int, name string) string { return rows[row][column[name]] }
	if value(1, "component") != "broker" || value(1, "bytes_in_Bps") != "0" || value(2, "component") != "user" || value(2, "bytes_in_Bps") != "" {
		t.Errorf("counts: %v", rows[1:3])
	}
	if last := len(rows) - 1; value(last, "cell") != "2" || value(last, "attempt") != "2" || value(last, "t_s") != "0" {
		t.Errorf("last row: %v", rows[last])
	}
	nodes := wide(t, tables(t, run(t, 1), nodesTable)[0])
	if nodes[1][4] != "" || nodes[2][4] != "0" {
		t.Errorf("t_s outside of load and in its first second: %q and %q", nodes[1][4], nodes[2][4])
	}
}

// heap is a writer that keeps the largest live heap that it has seen.
type heap struct {
	left int
	most uint64
}

func (h *heap) Write(b []byte) (int, error) {
	if h.left -= len(b); h.left <= 0 {
		h.left = 512 << 10
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		h.most = max(h.most, m.HeapAlloc)
	}
	return len(b), nil
}

// A long run must not need more memory than a short one, in any format.
func TestMemoryDoesNotGrow(t *testing.T) {
	short, long := run(t, 400), run(t, 2_400) // 3,200 and 19,200 instance seconds
	for _, f := range []Format{FormatTidy, FormatNDJSON, FormatJSON, FormatParquet, FormatCSV} {
		measured := func(r *store.Reader) float64 {
			h := &heap{}
			o := Options{Format: f, Stdout: h}
			if f.perTable() {
				o.Tables = []string{instancesTable}
			}
			_, err := Write(t.Context(), r, o)
			must(t, err)
			return float64(h.most) / (1 << 20)
		}
		a, b := measured(short), measured(long)
		// Six times the rows; a Parquet group never becomes full in the shorter run.
		if b > a+12 || b > 60 {
			t.Errorf("%s: %.1f MiB for the short run, %.1f MiB for the long one", f, a, b)
		}
	}
}

// BenchmarkNodes tells how long a run's samples take, and b.N of a million rows
// what memory they need at most.
func BenchmarkInstances(b *testing.B) {
	r := run(b, 5_000)
	for _, f := range []Format{FormatCSV, FormatTidy, FormatParquet} {
		b.Run(string(f), func(b *testing.B) {
			for b.Loop() {
				_, err := Write(b.Context(), r, Options{Format: f, Tables: []string{instancesTable}, Stdout: io.Discard})
				must(b, err)
			}
			b.ReportMetric(float64(b.N)*20_000/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// An export that could not be finished must not leave something that looks like
// one.
func TestNothingHalfDone(t *testing.T) {
	r := run(t, 600)
	interrupted, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("interrupted"))
	for _, f := range []Format{FormatTidy, FormatParquet, FormatNDJSON} {
		dir := t.TempDir()
		_, err := Write(interrupted, r, Options{Format: f, Output: filepath.Join(dir, "out."+string(f)), Tables: []string{nodesTable}})
		if err == nil || !strings.Contains(err.Error(), "interrupted") {
			t.Errorf("%s: %v", f, err)
		}
		empty(t, dir)
	}
}

func empty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range left {
		t.Errorf("left: %s", e.Name())
	}
}

// A full disk must be said, with the file, and the file must not stay.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("left out: a full disk: only root can mount one")
	}
	dir := t.TempDir()
	must(t, unix.Mount("bela-test", dir, "tmpfs", 0, "size=16k"))
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	r := run(t, 600)
	for _, f := range []Format{FormatTidy, FormatParquet, FormatJSON} {
		path := filepath.Join(dir, "out")
		_, err := Write(t.Context(), r, Options{Format: f, Output: path, Tables: []string{instancesTable}})
		if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", f, err)
		}
		empty(t, dir)
	}
}

// What was asked for and cannot be had is the caller's mistake, with what can.
func TestUsage(t *testing.T) {
	r := run(t, 1)
	for _, test := range []struct {
		o    Options
		want string
	}{
		{Options{Format: "xml"}, `there is no format "xml": use csv, tidy, json, ndjson, parquet, lp`},
		{Options{Format: FormatTidy, Tables: []string{"cell"}}, `there is no table "cell": use cells, components`},
		{Options{Format: FormatParquet, Output: "-"}, "name a directory with -o"},
		{Options{Format: FormatTidy, Output: t.TempDir()}, "name a file with -o"},
	} {
		if _, err := Write(t.Context(), r, test.o); !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.o, err, test.want)
		}
	}
}

// Line protocol is what InfluxDB gets, up to where a crash tore it.
func TestLineProtocol(t *testing.T) {
	r := run(t, 1)
	path := filepath.Join(r.Dir, "metrics.lp.gz")
	b, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, b[:len(b)-3], 0o644))
	var out bytes.Buffer
	_, err = Write(t.Context(), r, Options{Format: FormatLP, Stdout: &out})
	must(t, err)
	if !strings.HasPrefix(out.String(), "bela_cell,cell=1 v=1i 1\n") || !strings.HasSuffix(out.String(), "\n") {
		t.Errorf("got %q", out.String())
	}
}

// Units are read off the columns' names, so a wrong one would mislead whoever
// plots by unit.
func TestUnits(t *testing.T) {
	for name, want := range map[string]string{
		"latency_p99_ms": "ms", "cpu_mcpu_mean": "mCPU", "cpu_mcpu_p95": "mCPU", "memory_mib_max": "MiB", "broker_in_Bps": "B/s",
		"offered_msg_s": "1/s", "measured_s": "s", "dropped": "", "drops_per_5min": "1/5min", "verdict": "", "listen_drops_s": "1/s",
		"restarts": "", "cpu_mcpu": "mCPU", "agent_gc_pause_max_ms": "ms",
	} {
		if got := (Column{Name: name}).unit(); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// FuzzCell holds that whatever stands in a text survives CSV and JSON.
func FuzzCell(f *testing.F) {
	for _, s := range []string{"", "a,b", "\"", "line\nline", "\x00", "é", "=1+1"} {
		f.Add(s, rand.Float64())
	}
	f.Fuzz(func(t *testing.T, s string, v float64) {
		if strings.ContainsRune(s, '\r') {
			return // a CSV reader makes one line end of two
		}
		table := Table{Name: "t", Columns: []Column{{Name: "s"}, {Name: "v", Type: Number}, {Name: "n", Type: Integer}}}
		table.Rows = func(yield func([]any, error) bool) { yield([]any{s, v, nil}, nil) }
		rows := wide(t, table)
		if rows[1][0] != s {
			t.Errorf("%q became %q", s, rows[1][0])
		}
		if back, err := strconv.ParseFloat(rows[1][1], 64); err != nil || back != v && !math.IsNaN(v) {
			t.Errorf("%v became %q", v, rows[1][1])
		}
		var b bytes.Buffer
		must(t, NDJSON(t.Context(), &b, []Table{table}))
		if !json.Valid(b.Bytes()) {
			t.Errorf("not JSON: %q", b.String())
		}
	})
}
