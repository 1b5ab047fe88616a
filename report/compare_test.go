package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"bela/measure"
	"bela/store"

	"github.com/mattn/go-runewidth"
)

// trial is a run made for a comparison.
type trial struct {
	id          string
	dimensions  []string
	values      [][]any // one row a combination, as the dimensions
	repetitions int
	// p50 is the median latency of a combination (from 0) in a repetition (from 1).
	p50 func(combination, repetition int) float64
	// drops are those of every cell in 5 minutes.
	drops float64
	// invalid and degraded are repetitions of the first combination.
	invalid, degraded int
	measured          float64
	lab               bool
	version, kernel   string
	workers           int
	memory            int64
	// plan changes a combination's settings.
	plan func(values []any, cell map[string]any)
	// evil is text from outside.
	evil    string
	changes []store.NodeChange
}

func (r trial) store(t testing.TB) *store.Reader {
	t.Helper()
	var planned []map[string]any
	var cells []measure.Cell
	for repetition := 1; repetition <= r.repetitions; repetition++ {
		for i, values := range r.values {
			var at []measure.Dimension
			for n, v := range values {
				at = append(at, measure.Dimension{Name: r.dimensions[n], Value: v})
			}
			spec := map[string]any{
				"position": len(planned) + 1, "cell": i + 1, "repetition": repetition, "values": at,
				"devices":   map[string]any{"count": 100, "rate_msg_s": 1, "payload_size_bytes": 1024, "qos": 1, "ramp": 5e9, "shares": []any{map[string]any{"node": "iot-1", "first": 0, "count": 100}}},
				"customers": map[string]any{"count": 4, "receive": "own"},
				"phases":    map[string]any{"warmup": 30e9, "measure": 300e9, "drain": 15e9},
				"components": []any{map[string]any{"name": "gateway", "kind": "platform.gateway", "codec": "json", "timeout": 30e9,
					"instances": []any{map[string]any{"index": 1, "node": "worker-1"}, map[string]any{"index": 2, "node": "worker-2"}}}},
			}
			if r.plan != nil {
				r.plan(values, spec)
			}
			planned = append(planned, spec)
			c := measure.Cell{
				Position: len(planned), Number: i + 1, Repetition: repetition, Attempt: 1, Dimensions: at, Verdict: measure.Valid,
				StartedAt: began, MeasuredSeconds: r.measured, DropsPer5Min: ptr(r.drops), DeliveredRate: ptr(100.0),
				Ledger:  measure.Ledger{Intended: 1, Published: 1, Delivered: 1, Closed: true},
				Latency: measure.Quantiles{Count: 1, P50: ptr(r.p50(i, repetition)), P95: ptr(2 * r.p50(i, repetition)), P99: ptr(4.0)},
				Components: []measure.Component{
					{Component: "broker" + r.evil, Instance: 1, CPUMean: ptr(100 + float64(repetition)), MemoryMax: ptr(40.0)},
					{Component: "gateway", Instance: 1, CPUMean: ptr(50.0), MemoryMax: ptr(20.0)},
					{Component: "gateway", Instance: 2, CPUMean: ptr(51.0), MemoryMax: ptr(21.0)},
				},
			}
			switch {
			case i > 0:
			case repetition <= r.invalid:
				c.Verdict, c.Latency.P50 = measure.Invalid, ptr(99999.0)
			case repetition <= r.invalid+r.degraded:
				c.Verdict = measure.Degraded
			}
			cells = append(cells, c)
		}
	}
	var nodes []store.NodeEnvironment
	for i := range r.workers {
		nodes = append(nodes, store.NodeEnvironment{Name: fmt.Sprintf("worker-%d", i+1), Role: "worker", AgentSHA256: "abc",
			Host: store.Host{Kernel: r.kernel + r.evil, CPUModel: "EPYC", CPUs: 4, Arch: "amd64", MemoryTotal: r.memory}})
	}
	run, err := store.Create(t.TempDir(), "exp", began, r.id, store.Inputs{
		Experiment: []byte("x"), Dimensions: r.dimensions,
		Plan:        map[string]any{"experiment": "exp", "repetitions": r.repetitions, "dimensions": r.dimensions, "cells": planned},
		Environment: store.Environment{BelaVersion: r.version, Seed: 7, StartedAt: began, Lab: r.lab, Nodes: nodes, Changes: r.changes},
	})
	must(t, err)
	for _, c := range cells {
		must(t, run.WriteCell(store.CellResult{Cell: c}))
	}
	must(t, run.Close())
	read, err := store.Open(run.Dir(), "")
	must(t, err)
	return read
}

// side opens the trial as a side, with a name that does not change.
func (r trial) side(t testing.TB) Side {
	t.Helper()
	s, err := SideOf(r.store(t))
	must(t, err)
	s.Name = "results/exp/" + r.id
	return s
}

// ordinary is a run of two combinations with eight repetitions.
func ordinary(id string) trial {
	return trial{
		id: id, dimensions: []string{"devices", "qos"}, values: [][]any{{1.0, 1.0}, {100.0, 1.0}}, repetitions: 8,
		p50:      func(c, r int) float64 { return 10*float64(c+1) + float64(r) },
		measured: 300, version: "1.0", kernel: "6.12.1", workers: 2, memory: 8 << 30,
	}
}

// planted is a run that is faster than the ordinary one in its first
// combination, and hardly different in the second; with much beside.
func planted() trial {
	r := ordinary("b")
	r.p50 = func(c, r int) float64 {
		if c == 0 {
			return 5 + float64(r)/10
		}
		return 20 + float64(r) + 0.5*float64(r%2)
	}
	r.invalid, r.degraded = 1, 1
	r.version, r.kernel, r.workers, r.drops = "1.1", "6.18.44", 3, 2
	r.values = append(r.values, []any{500.0, 1.0})
	r.plan = func(_ []any, c map[string]any) { c["components"].([]any)[0].(map[string]any)["codec"] = "msgpack" }
	return r
}

func compared(t testing.TB, a, b Side, metrics ...string) Comparison {
	t.Helper()
	if metrics == nil {
		metrics = DefaultMetrics()
	}
	c, err := Compare(a, b, metrics)
	must(t, err)
	return c
}

// What a comparison says is what decisions rest on: a change in it must be seen
// and meant.
func TestCompareGolden(t *testing.T) {
	a, b := ordinary("a").side(t), planted().side(t)
	once := ordinary("c")
	once.repetitions, once.p50 = 1, func(int, int) float64 { return 1 }
	c := once.side(t)
	tests := []struct {
		name string
		cs   []Comparison
		make func(*bytes.Buffer, []Comparison) error
	}{
		{"compare-100.txt", []Comparison{compared(t, a, b), compared(t, a, c, "latency_p50_ms")}, func(w *bytes.Buffer, cs []Comparison) error { return CompareText(w, cs, Options{}) }},
		{"compare.md", []Comparison{compared(t, a, b)}, func(w *bytes.Buffer, cs []Comparison) error { return CompareMarkdown(w, cs) }},
		{"compare.json", []Comparison{compared(t, a, b, "latency_p50_ms", "cpu_mcpu_mean")}, func(w *bytes.Buffer, cs []Comparison) error {
			out, err := CompareJSON(cs)
			w.Write(out)
			return err
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			must(t, tt.make(&out, tt.cs))
			golden(t, tt.name, &store.Reader{Dir: "no directory"}, out.Bytes())
		})
	}
}

// The planted difference must be found, the one that is not there must not, and
// a single run on each side must claim nothing.
func TestCompareFindsWhatIsThere(t *testing.T) {
	c := compared(t, ordinary("a").side(t), planted().side(t), "latency_p50_ms", "latency_p99_ms")
	if len(c.Cells) != 2 || len(c.OtherOnly) != 1 || len(c.BaseOnly) != 0 || c.OtherOnly[0] != "devices=500 qos=1" {
		t.Fatalf("%d cells, only in other %q, only in base %q", len(c.Cells), c.OtherOnly, c.BaseOnly)
	}
	first, second := c.Cells[0], c.Cells[1]
	if d := first.Metrics[0]; d.Finding != measure.Lower || d.Improved == nil || !*d.Improved {
		t.Errorf("%s: %+v", d.Metric, d.Difference)
	}
	if first.Other.Repetitions != 7 || first.Other.Degraded != 1 || first.Other.Invalid != 1 {
		t.Errorf("other: %+v, want 7 used, 1 of them degraded, 1 left out", first.Other)
	}
	if d := first.Metrics[0]; d.Other.Value > 10 {
		t.Errorf("the invalid repetition's latency came through: %+v", *d.Other)
	}
	for _, d := range []MetricDifference{first.Metrics[1], second.Metrics[0]} {
		if d.Finding != measure.NoEvidence || d.TooFew || d.P == nil {
			t.Errorf("%s: %+v", d.Metric, d.Difference)
		}
	}
	one, two := ordinary("a"), ordinary("b")
	one.repetitions, two.repetitions = 1, 1
	two.p50 = func(int, int) float64 { return 1000 }
	alone := compared(t, one.side(t), two.side(t))
	for _, k := range alone.Cells {
		for _, d := range k.Metrics {
			if d.Finding != measure.NoEvidence || !d.TooFew || d.Base.Low != nil || d.Change == nil {
				t.Errorf("%s: %+v", d.Metric, d.Difference)
			}
		}
	}
	var out bytes.Buffer
	must(t, CompareText(&out, []Comparison{alone}, Options{}))
	if s := out.String(); !strings.Contains(s, "no evidence of a difference") || !strings.Contains(s, "too few repetitions: n=1 and 1") || strings.Contains(s, "higher:") {
		t.Error(s)
	}
}

// Another load must stop a comparison, and what can only explain a difference
// must be said without stopping it.
func TestCompareConditions(t *testing.T) {
	devices := func(name string, v any) func([]any, map[string]any) {
		return func(_ []any, c map[string]any) { c["devices"].(map[string]any)[name] = v }
	}
	for _, tt := range []struct {
		name   string
		change func(*trial)
		want   []string // conditions, in order
		refuse int      // how many of them forbid the comparison
	}{
		{"the same twice over", func(*trial) {}, nil, 0},
		{"rate", func(r *trial) { r.plan = devices("rate_msg_s", 10) }, []string{"devices.rate_msg_s: 1 against 10"}, 1},
		{"payload", func(r *trial) { r.plan = devices("payload_size_bytes", 512) }, []string{"devices.payload_size_bytes: 1024 against 512"}, 1},
		{"a setting of the load that is new", func(r *trial) { r.plan = devices("burst", 3) }, []string{"devices.burst: unset against 3"}, 1},
		{"load in one cell only", func(r *trial) {
			r.plan = func(v []any, c map[string]any) {
				if v[0] == 100.0 {
					c["devices"].(map[string]any)["count"] = 99
				}
			}
		}, []string{"devices.count: 100 against 99 (devices=100 qos=1)"}, 1},
		{"who receives", func(r *trial) {
			r.plan = func(_ []any, c map[string]any) { c["customers"].(map[string]any)["receive"] = "all" }
		}, []string{"customers.receive: own against all"}, 1},
		{"windows of a length within 10 %", func(r *trial) { r.measured = 280 }, nil, 0},
		{"a shorter window", func(r *trial) { r.measured = 60 }, []string{"measured_s: 300 against 60.0"}, 1},
		{"lab", func(r *trial) { r.lab = true }, []string{"testbed: machines against loopback lab"}, 1},
		{"QoS is a setting of the platform's use, not its load", func(r *trial) { r.plan = devices("qos", 0) }, []string{"devices.qos: 1 against 0"}, 0},
		{"warm-up, as a time", func(r *trial) {
			r.plan = func(_ []any, c map[string]any) { c["phases"].(map[string]any)["warmup"] = 5e9 }
		}, []string{"phases.warmup: 30s against 5s"}, 0},
		{"fewer gateways, elsewhere", func(r *trial) {
			r.plan = func(_ []any, c map[string]any) {
				c["components"].([]any)[0].(map[string]any)["instances"] = []any{map[string]any{"index": 1, "node": "worker-2"}}
			}
		}, []string{"component gateway.instances: 2 against 1", "component gateway.nodes: worker-1×1 worker-2×1 against worker-2×1"}, 0},
		{"what was done to it on purpose", func(r *trial) {
			r.plan = func(_ []any, c map[string]any) {
				c["faults"] = []any{map[string]any{"name": "crash", "kind": "kill", "phase": "measure", "at": 60e9,
					"instances": []any{map[string]any{"component": "gateway", "instance": 1, "node": "worker-1"}}}}
			}
		}, []string{"fault crash.at: unset against 1m0s", "fault crash.instances: unset against 1", "fault crash.kind: unset against kill",
			"fault crash.nodes: unset against worker-1×1", "fault crash.phase: unset against measure"}, 0},
		{"machines", func(r *trial) { r.version, r.kernel, r.workers, r.memory = "2.0", "6.18", 3, 16<<30 },
			[]string{"bela: 1.0 against 2.0", "number of worker nodes: 2 against 3", "kernel: 6.12.1 against 6.18 (worker nodes)", "memory: 8.0 GiB against 16.0 GiB (worker nodes)"}, 0},
		{"a node that was lost", func(r *trial) {
			r.changes = []store.NodeChange{{Node: "iot-2", What: "removed", Position: 3}, {Node: "worker-1", What: "replaced", By: "10.0.0.9", Position: 4}}
		}, []string{"nodes lost: none against iot-2 removed from position 3 on, worker-1 replaced from position 4 on by 10.0.0.9"}, 0},
		{"a kernel that takes a little more memory", func(r *trial) { r.memory -= 100 << 20 }, nil, 0},
		{"what forbids comes first", func(r *trial) { r.version, r.plan = "2.0", devices("rate_msg_s", 2) }, []string{"devices.rate_msg_s: 1 against 2", "bela: 1.0 against 2.0"}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b := ordinary("a"), ordinary("b")
			a.repetitions, b.repetitions = 1, 1
			tt.change(&b)
			c := compared(t, a.side(t), b.side(t))
			var got []string
			for _, d := range c.Conditions {
				got = append(got, d.String())
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q\nwant %q", got, tt.want)
			}
			if n := len(c.Refused()); n != tt.refuse {
				t.Errorf("%d forbid it, want %d", n, tt.refuse)
			}
		})
	}
}

// The dimension that is compared must not forbid its own comparison.
func TestCompareOwnDimension(t *testing.T) {
	a, b := ordinary("a"), ordinary("b")
	a.repetitions, b.repetitions = 1, 1
	b.dimensions, b.values = []string{"devices", "qos", "rate"}, [][]any{{1.0, 1.0, 1.0}, {1.0, 1.0, 10.0}}
	b.plan = func(v []any, c map[string]any) { c["devices"].(map[string]any)["rate_msg_s"] = v[2] }
	c := compared(t, a.side(t), b.side(t))
	if len(c.Cells) != 2 || c.Cells[1].Other.Own != "rate=10" || c.Cells[1].Cell != "devices=1 qos=1" || len(c.BaseOnly) != 1 {
		t.Errorf("%+v", c)
	}
	if len(c.Conditions) != 0 {
		t.Errorf("%v", c.Conditions)
	}
}

// Runs that have nothing in common must not be laid beside one another.
func TestCompareNothingShared(t *testing.T) {
	a := ordinary("a").side(t)
	other := ordinary("b")
	other.dimensions, other.values = []string{"rate", "codec"}, [][]any{{1.0, "json"}}
	far := ordinary("c")
	far.values = [][]any{{7.0, 1.0}}
	none := ordinary("d")
	none.repetitions = 0
	for want, side := range map[string]Side{"no shared dimensions": other.side(t), "share no cell": far.side(t), "no measured cell": none.side(t)} {
		if _, err := Compare(a, side, DefaultMetrics()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want one with %q", err, want)
		}
	}
	if c := compared(t, a, a); len(c.Refused()) != 1 || !strings.Contains(c.Refused()[0].String(), "against itself") {
		t.Errorf("a run against itself: %v", c.Conditions)
	}
}

// A table read from elsewhere has no plan and no environment; that must be said
// and not be taken for equality, and must not keep it from being compared.
func TestCompareWithoutPlan(t *testing.T) {
	a := ordinary("a").side(t)
	bare := Side{Name: "published", Combinations: []measure.Combination{{Number: 1,
		Dimensions: []measure.Dimension{{Name: "devices", Value: "100"}, {Name: "qos", Value: "1"}},
		Cells:      []measure.Cell{{Number: 1, Verdict: measure.Valid, Latency: measure.Quantiles{P50: ptr(45.0)}}}}}}
	c := compared(t, bare, a)
	if len(c.Cells) != 1 || len(c.Conditions) != 1 || c.Conditions[0].String() != "environment: not known against known" || c.Conditions[0].Refuse {
		t.Errorf("%+v", c)
	}
}

// Lines that wrap on a terminal cannot be read.
func TestCompareFitsItsWidth(t *testing.T) {
	c := compared(t, ordinary("a").side(t), planted().side(t), MetricNames()...)
	var out bytes.Buffer
	must(t, CompareText(&out, []Comparison{c}, Options{Width: 100}))
	for line := range strings.Lines(out.String()) {
		if w := runewidth.StringWidth(strings.TrimSuffix(line, "\n")); w > 100 {
			t.Errorf("%d columns: %s", w, line)
		}
	}
}

// Names come from other machines' files: none may steer the terminal.
func TestCompareForeignText(t *testing.T) {
	b := planted()
	b.evil = hostile
	c := compared(t, ordinary("a").side(t), b.side(t))
	var text, markdown bytes.Buffer
	must(t, CompareText(&text, []Comparison{c}, Options{}))
	must(t, CompareMarkdown(&markdown, []Comparison{c}))
	if strings.ContainsAny(text.String()+markdown.String(), "\x1b\r\u202e") || strings.Contains(markdown.String(), "<script") {
		t.Error("foreign text is not harmless")
	}
	if !strings.Contains(text.String(), "script") {
		t.Error("foreign text is lost")
	}
	for name, err := range map[string]error{"text": CompareText(broken{}, []Comparison{c}, Options{}), "markdown": CompareMarkdown(broken{}, []Comparison{c})} {
		if err == nil {
			t.Errorf("%s: a writer that failed passes for a written comparison", name)
		}
	}
}

// A plan is a file that anybody may have touched: it must be refused or read,
// never end bela.
func FuzzReadSettings(f *testing.F) {
	for _, seed := range []string{`{}`, `{"cells":[{"cell":1,"devices":{"count":1,"shares":[{"node":"a","count":2}]},"components":[{"name":"b","instances":[1]}]}]}`,
		`{"cells":[{"cell":"x"}]}`, `{"cells":[{"cell":1e300,"phases":{"warmup":1e300,"drain":{"a":null}},"components":7}]}`, `[`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, plan string) {
		got, err := readSettings(json.RawMessage(plan))
		if err != nil {
			return
		}
		again, err := readSettings(json.RawMessage(plan))
		if err != nil || !maps.EqualFunc(got, again, func(a, b settings) bool { return maps.Equal(a, b) }) {
			t.Error("the same plan reads in two ways")
		}
	})
}

// Percentages must say how far the interval reaches, not less.
func TestMedianText(t *testing.T) {
	for _, tt := range []struct {
		m    *measure.Median
		want string
	}{
		{nil, "–"},
		{&measure.Median{N: 1, Value: 2}, "2.00"},
		{&measure.Median{N: 6, Value: 100, Low: ptr(99.0), High: ptr(110.4)}, "100 ±11%"},
		{&measure.Median{N: 6, Value: 100, Low: ptr(80.0), High: ptr(101.0)}, "100 ±20%"},
		{&measure.Median{N: 6, Value: -10, Low: ptr(-12.0), High: ptr(-9.0)}, "-10.0 ±20%"},
		{&measure.Median{N: 6, Value: 0, Low: ptr(0.0), High: ptr(12.0)}, "0 [0, 12.0]"},
		{&measure.Median{N: 6, Value: 5, Low: ptr(0.0), High: ptr(12.0)}, "5.00 [0, 12.0]"},
		{&measure.Median{N: 6, Value: 7, Low: ptr(7.0), High: ptr(7.0)}, "7.00 ±0%"},
		{&measure.Median{N: 6, Value: 0, Low: ptr(0.0), High: ptr(0.0)}, "0 ±0%"},
	} {
		if got := medianText(tt.m); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.m, got, tt.want)
		}
	}
}

// A run with repetitions shows their medians, and one without shows no such table.
func TestRepetitionsTable(t *testing.T) {
	r := planted()
	table := repetitionsTable(r.store(t))
	if len(table.Rows) != 3 || !strings.Contains(table.Note, "at n=8") {
		t.Fatalf("%+v", table)
	}
	var first []string
	for _, f := range table.Rows[0] {
		first = append(first, f.Text)
	}
	// Of 5.2, 5.3 … 5.8: the middle is 5.5, and the interval all seven.
	if want := []string{"1", "1", "1", "7", "1", "1", "5.50 ±6%", "11.0 ±6%", "4.00 ±0%", "2.00 ±0%", "100 ±0%"}; !slices.Equal(first, want) {
		t.Errorf("%q, want %q", first, want)
	}
	r.repetitions = 1
	if got := repetitionsTable(r.store(t)); len(got.Rows) != 0 {
		t.Errorf("one repetition: %+v", got)
	}
}
