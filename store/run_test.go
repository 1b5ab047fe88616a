package store

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"bela/event"
	"bela/measure"
)

var began = time.Date(2026, 1, 2, 15, 4, 5, 0, time.FixedZone("CET", 3600))

// plan is what the store needs of a plan, as the campaign would store it.
func plan(cells int) map[string]any {
	var list []map[string]any
	for i := range cells {
		list = append(list, map[string]any{"position": i + 1, "cell": i + 1, "repetition": 1,
			"values": []measure.Dimension{{Name: "devices", Value: float64(i)}, {Name: "codec", Value: "json"}}})
	}
	return map[string]any{"experiment": "qos1", "repetitions": 1, "dimensions": []string{"devices", "codec"}, "cells": list}
}

func inputs() Inputs {
	return Inputs{
		Experiment: []byte("experiment \"qos1\" {}\n"),
		Variables:  map[string]string{"measure": "15s"},
		Plan:       plan(3),
		Environment: Environment{BelaVersion: "1.0", CommandLine: []string{"bela", "run"}, StartedAt: began.UTC(),
			Nodes: []NodeEnvironment{{Name: "iot-1", Role: "iot", Address: "127.0.0.2", Host: Host{CPUs: 2}}}},
		Dimensions: []string{"devices", "codec"},
	}
}

func create(t testing.TB, root string) *Run {
	t.Helper()
	r, err := Create(root, "qos1", began, "ab12", inputs())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func ptr[T any](v T) *T { return &v }

// result is a cell in which every kind of number occurs, taken and not taken.
func result(position int) CellResult {
	var h measure.Histogram
	for i := range int64(100) {
		h.Record(i * 1000 * int64(position))
	}
	ledger := measure.Ledger{Intended: 10, Published: 10, Expected: 10, Delivered: 9, Dropped: 1, Closed: true}
	return CellResult{
		Cell: measure.Cell{
			Position: position, Number: position, Repetition: 1, Attempt: 1,
			Dimensions: []measure.Dimension{{Name: "devices", Value: float64(position)}, {Name: "codec", Value: "json"}},
			Verdict:    measure.Degraded, Reasons: []measure.Reason{{Code: "clock_step", Verdict: measure.Degraded, Text: "clock stepped on iot-1, \"by\" 5 ms"}},
			StartedAt: began.UTC(), MeasuredSeconds: 15, Ledger: ledger, Latency: h.Quantiles(), OfferedRate: ptr(0.5),
			Components: []measure.Component{{Component: "broker", Instance: 1, Node: "worker-1", CPUMean: ptr(12.25), Restarts: 1}},
		},
		Latency: &h, Service: &h,
		Devices: []measure.DeviceLedger{{Device: 0, Ledger: ledger}},
		Series: []measure.Second{
			{T: 0, Phase: "warmup", Published: 3, Delivered: 3},
			{T: 1, Phase: "measure", Published: 5, Delivered: 4, Dropped: ptr(int64(1)), P5: ptr(0.1), P50: ptr(0.25), P99: ptr(1e-7)},
		},
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func unpacked(t testing.TB, path string) string {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer func() { must(t, f.Close()) }()
	z, err := gzip.NewReader(f)
	must(t, err)
	b, err := io.ReadAll(z)
	must(t, err)
	return string(b)
}

// The run directory is the truth: what a campaign stores must be what report,
// resume, export and compare read, under the names of the contract.
func TestRunRoundTrip(t *testing.T) {
	root := t.TempDir()
	r := create(t, root)
	if want := filepath.Join(root, "qos1", "20260102T140405Z-ab12"); r.Dir() != want || r.Name() != filepath.Base(want) {
		t.Fatalf("directory %s, want %s", r.Dir(), want)
	}
	if target, err := os.Readlink(filepath.Join(root, "latest")); err != nil || target != "qos1/20260102T140405Z-ab12" {
		t.Fatalf("latest links to %q (%v), which does not survive moving the results", target, err)
	}
	must(t, r.Journal(Entry{Kind: RunStarted}))
	must(t, r.Event(event.Event{Seq: 1, Time: began, Data: event.Message{Level: "info", Text: "hello"}}))
	must(t, r.Metrics([]byte("cpu,node=a v=1 1\n")))
	for p := 1; p <= 2; p++ {
		must(t, r.Journal(Entry{Kind: CellStarted, Position: p}))
		must(t, r.WriteCell(result(p)))
		must(t, r.Journal(Entry{Kind: CellDone, Position: p, Verdict: measure.Degraded}))
	}
	must(t, r.Metrics([]byte("cpu,node=a v=2 2\n")))
	must(t, r.Journal(Entry{Kind: RunFinished, Status: ptr(4), Reason: "a cell is missing"}))
	must(t, r.Close())
	must(t, r.Close())

	read, err := Open("latest", root)
	must(t, err)
	if len(read.Cells) != 2 || !read.Done(1) || !read.Done(2) || read.Done(3) || read.Running || read.Attempts(2) != 1 {
		t.Errorf("%d cells, done %v %v %v, running %v", len(read.Cells), read.Done(1), read.Done(2), read.Done(3), read.Running)
	}
	if m := read.Missing(); len(m) != 1 || m[0].Position != 3 {
		t.Errorf("missing %+v", m)
	}
	if end := read.Finished(); end == nil || *end.Status != 4 {
		t.Errorf("finished %+v", end)
	}
	if want := inputs().Environment; read.Environment.Format != Format || read.Environment.Nodes[0] != want.Nodes[0] {
		t.Errorf("environment %+v", read.Environment)
	}
	for p := 1; p <= 2; p++ {
		got, err := read.Result(p)
		must(t, err)
		want := result(p)
		if !reflect.DeepEqual(got.Cell, want.Cell) || !reflect.DeepEqual(got.Series, want.Series) || !reflect.DeepEqual(got.Devices, want.Devices) {
			t.Errorf("cell %d came back as %+v", p, got.Cell)
		}
		if got.Latency.Quantiles().Count != 100 || *got.Latency.Quantiles().P50 != *want.Latency.Quantiles().P50 || got.Lateness.Count() != 0 {
			t.Errorf("histograms of cell %d came back wrong", p)
		}
	}
	var texts []string
	must(t, read.Events(func(e event.Event) { texts = append(texts, e.Data.(event.Message).Text) }))
	if len(texts) != 1 || texts[0] != "hello" {
		t.Errorf("events %v", texts)
	}
	if got := unpacked(t, filepath.Join(read.Dir, "metrics.lp.gz")); got != "cpu,node=a v=1 1\ncpu,node=a v=2 2\n" {
		t.Errorf("metrics %q", got)
	}
	hcl, err := os.ReadFile(filepath.Join(read.Dir, "experiment.hcl"))
	if err != nil || string(hcl) != "experiment \"qos1\" {}\n" {
		t.Errorf("experiment file %q %v", hcl, err)
	}
	byPath, err := Open("qos1/20260102T140405Z-ab12", root)
	if err != nil || byPath.Dir != read.Dir {
		t.Errorf("the name below the root opens %v", err)
	}
}

// A result that is stored again (the cell was repeated) replaces the old one
// everywhere, else the tables would count it twice.
func TestWriteCellAgainReplaces(t *testing.T) {
	r := create(t, t.TempDir())
	must(t, r.WriteCell(result(1)))
	again := result(1)
	again.Cell.Attempt, again.Series = 2, again.Series[:1]
	must(t, r.WriteCell(again))
	for name, lines := range map[string]int{"cells.csv": 2, "components.csv": 2, "series.csv": 2} {
		b, err := os.ReadFile(filepath.Join(r.Dir(), name))
		must(t, err)
		if got := bytes.Count(b, []byte("\n")); got != lines {
			t.Errorf("%s has %d lines, want %d", name, got, lines)
		}
	}
}

// An attempt that is put aside must be whole below the cell, leave nothing that
// reads as the next attempt's result, and stay when that is put aside too.
func TestSetAside(t *testing.T) {
	r := create(t, t.TempDir())
	for attempt := 1; attempt <= 2; attempt++ {
		c := result(1)
		c.Cell.Attempt = attempt
		log, err := r.CreateLog(1, "iot-1-agent.log")
		must(t, err)
		must(t, log.Close())
		must(t, r.WriteCell(c))
		must(t, r.SetAside(1, attempt))
	}
	if table, err := os.ReadFile(filepath.Join(r.Dir(), "cells.csv")); err != nil || bytes.Count(table, []byte("\n")) != 1 {
		t.Errorf("cells.csv (%v) still has the cell:\n%s", err, table)
	}
	read, err := Open(r.Dir(), "")
	must(t, err)
	if len(read.Cells) != 0 {
		t.Errorf("the cell still has a result: %+v", read.Cells)
	}
	for attempt := 1; attempt <= 2; attempt++ {
		var c measure.Cell
		aside := filepath.Join(read.CellDir(1), fmt.Sprintf("attempt-%d", attempt))
		must(t, readJSON(filepath.Join(aside, "summary.json"), &c))
		if c.Attempt != attempt {
			t.Errorf("attempt-%d holds attempt %d", attempt, c.Attempt)
		}
		for _, name := range []string{"latency.hist", "ledger.json.gz", "series.csv", "logs/iot-1-agent.log"} {
			if _, err := os.Stat(filepath.Join(aside, name)); err != nil {
				t.Error(err)
			}
		}
		if _, err := os.Stat(filepath.Join(aside, "attempt-1")); err == nil {
			t.Error("an earlier attempt was moved along")
		}
	}
	// Attempt 3 left nothing, and 4 a log.
	must(t, r.SetAside(1, 3))
	log, err := r.CreateLog(1, "late.log")
	must(t, err)
	must(t, log.Close())
	must(t, r.SetAside(1, 4))
	must(t, r.SetAside(1, 4)) // again is nothing
	for attempt, name := range []string{1: "summary.json", 2: "summary.json", 3: ".", 4: "logs/late.log"} {
		if _, err := os.Stat(filepath.Join(read.CellDir(1), fmt.Sprintf("attempt-%d", attempt), name)); attempt > 0 && err != nil {
			t.Error(err)
		}
	}
	known, err := read.Attempted(1)
	if err != nil || len(known) != 2 || known[1].Attempt != 2 {
		t.Errorf("the attempts with a result are %+v, %v", known, err)
	}
	if err := r.SetAside(1, 0); err == nil {
		t.Error("attempt 0 was taken")
	}
}

// A division by zero somewhere must not cost a cell that took an hour.
func TestNumbersThatAreNotFiniteAreNotTaken(t *testing.T) {
	r := create(t, t.TempDir())
	c := result(1)
	c.Cell.ClockErrorMS, c.Cell.Components[0].CPUMax = ptr(math.NaN()), ptr(math.Inf(1))
	c.Series[0].P50 = ptr(math.Inf(-1))
	must(t, r.WriteCell(c))
	if !math.IsNaN(*c.Cell.ClockErrorMS) {
		t.Error("WriteCell changed the caller's cell")
	}
	read, err := Open(r.Dir(), "")
	must(t, err)
	got, err := read.Result(1)
	must(t, err)
	if got.Cell.ClockErrorMS != nil || got.Cell.Components[0].CPUMax != nil || got.Series[0].P50 != nil || *got.Cell.Components[0].CPUMean != 12.25 {
		t.Errorf("%+v", got.Cell)
	}
}

// Two controllers that write one run would mix their numbers.
func TestLock(t *testing.T) {
	r := create(t, t.TempDir())
	if _, err := Reopen(r.Dir()); !errors.Is(err, ErrLocked) {
		t.Errorf("a second controller got %v", err)
	}
	read, err := Open(r.Dir(), "")
	if err != nil || !read.Running {
		t.Errorf("a reader of a run that goes on sees %v %v", read, err)
	}
	must(t, r.Close())
	again, err := Reopen(r.Dir())
	must(t, err)
	must(t, again.Close())
	if err := again.Event(event.Event{Seq: 1, Data: event.Message{}}); err == nil {
		t.Error("an event went into a closed run")
	}
}

// A crash cuts the last line of a file that grows. Only that is forgiven, for
// anything else would hide lost results.
func TestTornAndCorruptFiles(t *testing.T) {
	done := `{"time":"2026-01-02T14:04:05Z","kind":"run_started"}` + "\n"
	tests := []struct {
		name    string
		file    string
		content string
		entries int
		line    int // of the corruption; 0 is none
	}{
		{"whole", "journal.jsonl", done + done, 2, 0},
		{"cut in the last line", "journal.jsonl", done + done[:20], 1, 0},
		{"cut before the last line's end", "journal.jsonl", done + done[:len(done)-1], 1, 0},
		{"zeros after a power cut", "journal.jsonl", done + "\x00\x00\x00", 1, 0},
		{"nothing", "journal.jsonl", "", 0, 0},
		{"corrupt in the middle", "journal.jsonl", done + "{\"ti\n" + done, 0, 2},
		{"corrupt last, but whole", "journal.jsonl", done + "\x00\x00\n", 0, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := create(t, t.TempDir())
			must(t, r.Close())
			must(t, os.WriteFile(filepath.Join(r.Dir(), tt.file), []byte(tt.content), 0o644))
			read, err := Open(r.Dir(), "")
			if tt.line > 0 {
				var corrupt *CorruptError
				if !errors.As(err, &corrupt) || !errors.Is(err, ErrCorrupt) || corrupt.Line != tt.line {
					t.Fatalf("got %v, want corruption in line %d", err, tt.line)
				}
				return
			}
			must(t, err)
			if len(read.Journal) != tt.entries {
				t.Fatalf("%d entries, want %d", len(read.Journal), tt.entries)
			}
			again, err := Reopen(r.Dir())
			must(t, err)
			must(t, again.Journal(Entry{Kind: RunResumed}))
			must(t, again.Close())
			read, err = Open(r.Dir(), "")
			if err != nil || len(read.Journal) != tt.entries+1 {
				t.Fatalf("going on after the cut: %d entries, %v", len(read.Journal), err)
			}
		})
	}
}

// Events and metrics of a killed run must be readable up to the last flush, and
// a resumed run must go on behind them.
func TestTornEventsAndMetrics(t *testing.T) {
	r := create(t, t.TempDir())
	must(t, r.Event(event.Event{Seq: 1, Data: event.Message{Text: "one"}}))
	must(t, r.Metrics([]byte("a v=1 1\n")))
	must(t, r.Flush())
	must(t, r.Metrics([]byte("a v=2 2\n")))
	must(t, r.Close())
	metrics := filepath.Join(r.Dir(), "metrics.lp.gz")
	info, err := os.Stat(metrics)
	must(t, err)
	must(t, os.Truncate(metrics, info.Size()-3)) // in the second member
	events := filepath.Join(r.Dir(), "events.jsonl")
	b, err := os.ReadFile(events)
	must(t, err)
	must(t, os.WriteFile(events, append(b, b[:len(b)/2]...), 0o644))

	again, err := Reopen(r.Dir())
	must(t, err)
	if again.LastEvent() != 1 {
		t.Errorf("the last event is %d", again.LastEvent())
	}
	must(t, again.Event(event.Event{Seq: 2, Data: event.Message{Text: "two"}}))
	must(t, again.Metrics([]byte("a v=3 3\n")))
	must(t, again.Close())
	if got := strings.Join(again.Repairs(), "; "); !strings.Contains(got, "events.jsonl: ") || !strings.Contains(got, "metrics.lp.gz: 1 points could be read") {
		t.Errorf("of what was torn it tells %q", got)
	}
	if got := unpacked(t, metrics); got != "a v=1 1\na v=2 2\na v=3 3\n" {
		t.Errorf("metrics %q", got)
	}
	read, err := Open(r.Dir(), "")
	must(t, err)
	var seen []uint64
	must(t, read.Events(func(e event.Event) { seen = append(seen, e.Seq) }))
	if !reflect.DeepEqual(seen, []uint64{1, 2}) {
		t.Errorf("events %v", seen)
	}
}

// Without a transition for a long time (a cell of an hour), what was gathered
// must still reach the file by itself.
func TestEventsReachTheFileByThemselves(t *testing.T) {
	r := create(t, t.TempDir())
	must(t, r.Event(event.Event{Seq: 1, Data: event.Message{Text: "one"}}))
	deadline := time.Now().Add(30 * time.Second)
	for {
		b, err := os.ReadFile(filepath.Join(r.Dir(), "events.jsonl"))
		must(t, err)
		if len(b) > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("no event in the file after 30 s")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// What cannot be opened must say why and what to do, each case its own way.
func TestOpenErrors(t *testing.T) {
	root := t.TempDir()
	run := func(name string, change func(dir string)) string {
		in := inputs()
		r, err := Create(root, name, began, "x", in)
		must(t, err)
		must(t, r.Close())
		change(r.Dir())
		return r.Dir()
	}
	empty := filepath.Join(root, "empty")
	must(t, os.Mkdir(empty, 0o755))
	file := filepath.Join(root, "file")
	must(t, os.WriteFile(file, nil, 0o644))
	write := func(name, content string) func(string) {
		return func(dir string) { must(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644)) }
	}
	remove := func(name string) func(string) {
		return func(dir string) { must(t, os.Remove(filepath.Join(dir, name))) }
	}
	var version *VersionError
	tests := []struct {
		name string
		run  string
		is   error
		as   any
		text string
	}{
		{"no such directory", filepath.Join(root, "nowhere"), ErrNotRun, nil, "no such directory"},
		{"some directory", empty, ErrNotRun, nil, "no environment.json"},
		{"a file", file, ErrNotRun, nil, "it is a file"},
		{"killed while storing the plan", run("a", remove("plan.json")), ErrIncomplete, nil, "start it again"},
		{"killed before the environment", run("b", func(dir string) { remove("environment.json")(dir); remove("plan.json")(dir) }), ErrIncomplete, nil, "start it again"},
		{"the environment is gone", run("g", remove("environment.json")), ErrCorrupt, nil, "environment.json is corrupt: it is missing, beside a plan; restore the file from a copy"},
		{"a newer version", run("c", write("environment.json", `{"format": 2, "seed": "no number any more"}`)), nil, &version, "format 2"},
		{"not JSON", run("d", write("plan.json", "{")), ErrCorrupt, nil, "plan.json"},
		{"no format", run("e", write("environment.json", "{}")), ErrCorrupt, nil, "no format"},
		{"done without a result", run("f", write("journal.jsonl", `{"kind":"cell_done","position":1}`+"\n")), ErrCorrupt, nil, "no summary.json"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Open(tt.run, root)
			if err == nil || (tt.is != nil && !errors.Is(err, tt.is)) || (tt.as != nil && !errors.As(err, tt.as)) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := Open("latest", t.TempDir()); !errors.Is(err, ErrNotRun) || !strings.Contains(err.Error(), "-results") {
		t.Errorf("latest of nothing: %v", err)
	}
}

// A run that cannot be stored must fail before anything is measured.
func TestCreateErrors(t *testing.T) {
	root := t.TempDir()
	file := filepath.Join(root, "file")
	must(t, os.WriteFile(file, nil, 0o644))
	if _, err := Create(file, "q", began, "x", inputs()); !errors.Is(err, syscall.ENOTDIR) || !strings.Contains(err.Error(), "-results") {
		t.Errorf("a root that is a file: %v", err)
	}
	create(t, root)
	if _, err := Create(root, "qos1", began, "ab12", inputs()); err == nil || !strings.Contains(err.Error(), "already there") {
		t.Errorf("the same run twice: %v", err)
	}
	in := inputs()
	in.Dimensions = []string{"verdict"}
	if _, err := Create(root, "q", began, "x", in); err == nil || !strings.Contains(err.Error(), `"verdict"`) {
		t.Errorf("a dimension named like a column: %v", err)
	}
	other := t.TempDir()
	must(t, os.Mkdir(filepath.Join(other, "latest"), 0o755))
	if _, err := Create(other, "q", began, "x", inputs()); err == nil || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("a directory named latest: %v", err)
	}
	if os.Geteuid() != 0 {
		closed := t.TempDir()
		must(t, os.Chmod(closed, 0o500))
		if _, err := Create(closed, "q", began, "x", inputs()); !errors.Is(err, os.ErrPermission) {
			t.Errorf("a root without permission: %v", err)
		}
	}
}

// Names come from experiment files and nodes: none may write outside the run.
func TestNamesStayInTheRunDirectory(t *testing.T) {
	root := t.TempDir()
	r, err := Create(root, "../../etc", began, "../x/y", inputs())
	must(t, err)
	t.Cleanup(func() { _ = r.Close() })
	if inside, err := filepath.Rel(root, r.Dir()); err != nil || strings.Contains(inside, "..") && strings.HasPrefix(inside, "..") || strings.Count(inside, "/") != 1 {
		t.Errorf("run in %s", r.Dir())
	}
	for _, name := range []string{"../../summary.json", "a/b\\c\x00.log", "", ".", "..", strings.Repeat("x", 300), "gateway-1.log"} {
		f, err := r.CreateLog(7, name)
		must(t, err)
		must(t, f.Close())
		if want := filepath.Join(r.Dir(), "cells", "007", "logs"); filepath.Dir(f.Name()) != want {
			t.Errorf("log %q is %s", name, f.Name())
		}
	}
	if _, err := r.CellDir(0); err == nil {
		t.Error("there is a cell 0")
	}
}

// TestMain turns the test binary into the writer that the kill test kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv("BELA_STORE_TEST_WRITER"); dir != "" {
		writeForEver(dir)
	}
	os.Exit(m.Run())
}

func writeForEver(dir string) {
	r, err := Reopen(dir)
	for p := 1; err == nil; p = p%40 + 1 {
		err = errors.Join(
			r.Journal(Entry{Kind: CellStarted, Position: p}),
			r.Event(event.Event{Seq: uint64(p), Data: event.Message{Text: "x"}}),
			r.Metrics([]byte("a v=1 1\n")),
			r.WriteCell(result(p)),
			r.Journal(Entry{Kind: CellDone, Position: p}),
		)
		fmt.Println("done", p)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// A controller that dies with kill -9 in the middle of a write must leave a run
// that opens, with every cell that was reported as done.
func TestKilledWriter(t *testing.T) {
	r := create(t, t.TempDir())
	must(t, r.Close())
	for round := range 6 {
		writer := exec.CommandContext(t.Context(), os.Args[0])
		writer.Env = append(os.Environ(), "BELA_STORE_TEST_WRITER="+r.Dir())
		var stderr bytes.Buffer
		writer.Stderr = &stderr
		out, err := writer.StdoutPipe()
		must(t, err)
		must(t, writer.Start())
		lines := bufio.NewScanner(out)
		reported := 0
		for reported < 3+2*round && lines.Scan() {
			reported++
		}
		time.Sleep(time.Duration(round) * 700 * time.Microsecond) // to hit different writes
		must(t, writer.Process.Kill())
		_ = writer.Wait() // it was killed
		if reported < 3+2*round {
			t.Fatalf("the writer ended by itself: %s", stderr.String())
		}
		read, err := Open(r.Dir(), "")
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if len(donePositions(read.Journal)) < reported {
			t.Fatalf("round %d: %d cells reported, %d done", round, reported, len(donePositions(read.Journal)))
		}
		for _, c := range read.Cells {
			if _, err := read.Result(c.Position); err != nil && read.Done(c.Position) {
				t.Fatalf("round %d: %v", round, err)
			}
		}
		must(t, read.Rebuild())
	}
}

// A full disk must be named with its file, and what was stored before must stay
// whole and open.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small tmpfs needs root")
	}
	root := t.TempDir()
	if err := syscall.Mount("tmpfs", root, "tmpfs", 0, "size=600k"); err != nil {
		t.Skipf("a tmpfs cannot be mounted here: %v", err)
	}
	defer func() { must(t, syscall.Unmount(root, syscall.MNT_DETACH)) }()
	r, err := Create(root, "full", began, "x", inputs())
	must(t, err)
	stored := 0
	for p := 1; err == nil && p < 1000; p++ {
		if err = r.WriteCell(result(p)); err == nil {
			if err = r.Journal(Entry{Kind: CellDone, Position: p}); err == nil {
				stored++
			}
		}
	}
	var full *WriteError
	if !errors.As(err, &full) || !errors.Is(err, syscall.ENOSPC) || len(full.Safe) != stored || stored == 0 {
		t.Fatalf("after %d cells: %v", stored, err)
	}
	if text := err.Error(); !strings.Contains(text, full.Path) || !strings.Contains(text, "make room") {
		t.Errorf("%s", text)
	}
	_ = r.Close() // may fail as well: the disk is full
	read, err := Open(r.Dir(), "")
	must(t, err)
	for p := 1; p <= stored; p++ {
		if _, err := read.Result(p); err != nil || !read.Done(p) {
			t.Errorf("cell %d of %d: %v", p, stored, err)
		}
	}
}

// Journals are read back from disks that failed: no bytes may crash the reader,
// and what is cut off must leave a journal that opens whole.
func FuzzJournal(f *testing.F) {
	f.Add([]byte(`{"kind":"cell_done","position":1}` + "\n" + `{"kind"`))
	f.Add([]byte("\n"))
	f.Add([]byte("{}\nnull\n1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "journal.jsonl")
		must(t, os.WriteFile(path, b, 0o644))
		entries, whole, err := readJournal(path)
		if err != nil {
			return
		}
		must(t, os.Truncate(path, whole))
		again, length, err := readJournal(path)
		if err != nil || length != whole || len(again) != len(entries) {
			t.Fatalf("cut to %d bytes it reads %d entries, not %d: %v", whole, len(again), len(entries), err)
		}
	})
}

// Whatever is stored as an environment must come back, also what this package
// does not know about the machines.
func TestEnvironmentCanBeStoredAgain(t *testing.T) {
	r := create(t, t.TempDir())
	e := r.Environment()
	e.Nodes[0].Kernel, e.Nodes[0].ClockOffsetNS = "6.1", ptr(int64(-5))
	must(t, r.WriteEnvironment(e))
	read, err := Open(r.Dir(), "")
	must(t, err)
	a, _ := json.Marshal(e)
	b, _ := json.Marshal(read.Environment)
	if !bytes.Equal(a, b) {
		t.Errorf("%s\n%s", a, b)
	}
}
