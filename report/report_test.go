package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"bela/measure"
	"bela/store"

	"github.com/mattn/go-runewidth"
)

var update = flag.Bool("update", false, "write the golden files")

var began = time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ptr[T any](v T) *T { return &v }

// kind of run that a fixture stores.
type fixture struct {
	repetitions int
	devices     []float64
	missing     int // cells at the end that were not measured
	finished    bool
	hostile     string // text that comes from outside
}

// store makes a run directory with cells whose numbers follow from their place.
func (f fixture) store(t testing.TB) *store.Reader {
	t.Helper()
	dimensions := []string{"devices", "qos"}
	var planned []map[string]any
	var cells []measure.Cell
	for repetition := 1; repetition <= f.repetitions; repetition++ {
		number := 0
		for _, devices := range f.devices {
			for qos := range 2 {
				number++
				at := []measure.Dimension{{Name: "devices", Value: devices}, {Name: "qos", Value: float64(qos)}}
				planned = append(planned, map[string]any{"position": len(planned) + 1, "cell": number, "repetition": repetition, "values": at})
				cells = append(cells, f.cell(len(planned), number, repetition, at, devices))
			}
		}
	}
	run, err := store.Create(t.TempDir(), "qos1", began, "ab12", store.Inputs{
		Experiment: []byte("x"), Dimensions: dimensions,
		Plan: map[string]any{"experiment": "qos1", "description": "QoS 0 beside QoS 1" + f.hostile, "repetitions": f.repetitions,
			"dimensions": dimensions, "cells": planned, "expectations": []string{"no drops up to 500 devices", "fast" + f.hostile}},
		Environment: store.Environment{BelaVersion: "1.0", Seed: 7, StartedAt: began, Lab: true, Nodes: make([]store.NodeEnvironment, 6)},
	})
	must(t, err)
	at := began
	entry := func(e store.Entry) {
		at = at.Add(time.Minute)
		e.Time = at
		must(t, run.Journal(e))
	}
	entry(store.Entry{Kind: store.RunStarted})
	for i, c := range cells {
		entry(store.Entry{Kind: store.CellStarted, Position: c.Position})
		if i >= len(cells)-f.missing {
			entry(store.Entry{Kind: store.CellFailed, Position: c.Position, Reason: "node iot-2 was lost while connecting" + f.hostile})
			continue
		}
		must(t, run.WriteCell(store.CellResult{Cell: c}))
		entry(store.Entry{Kind: store.CellDone, Position: c.Position, Verdict: c.Verdict})
	}
	if f.finished {
		entry(store.Entry{Kind: store.RunFinished, Status: ptr(4), Reason: "cells are missing"})
	}
	must(t, run.Close())
	read, err := store.Open(run.Dir(), "")
	must(t, err)
	return read
}

func (f fixture) cell(position, number, repetition int, at []measure.Dimension, devices float64) measure.Cell {
	c := measure.Cell{
		Position: position, Number: number, Repetition: repetition, Attempt: 1, Dimensions: at,
		Verdict: measure.Valid, StartedAt: began, MeasuredSeconds: 300,
		Ledger:      measure.Ledger{Intended: int64(devices) * 300, Published: int64(devices) * 300, Expected: int64(devices) * 300, Delivered: int64(devices) * 300, Closed: true},
		OfferedRate: ptr(devices), AchievedRate: ptr(devices), DeliveredRate: ptr(devices * 0.999),
		Latency:      measure.Quantiles{Count: 1, P50: ptr(0.7 + devices/100*float64(number)), P99: ptr(3 + devices/20*float64(number))},
		ClockErrorMS: ptr(0.0567),
		Outcomes:     []measure.Outcome{{Name: "no drops up to 500 devices", State: "held"}, {Name: "fast" + f.hostile, State: "held"}},
	}
	for i, name := range []string{"broker", "gateway", "gateway", "nats", "hub"} {
		c.Components = append(c.Components, measure.Component{Component: name, Instance: 1 + i%2*(i/2), Node: "worker-1",
			CPUMean: ptr(12.5 + devices/10*float64(i+1)), CPUMax: ptr(20 + devices/5*float64(i+1)), MemoryMax: ptr(18.25 * float64(i+1))})
	}
	c.Components[1].Instance, c.Components[2].Instance = 1, 2
	c.Components[3].Instance = 1
	switch number {
	case 3:
		c.Verdict = measure.Degraded
		c.Reasons = []measure.Reason{{Code: "clock_step", Verdict: measure.Degraded, Text: "clock stepped on iot-1" + f.hostile + " (degraded if any clock steps during the cell)"}}
		c.Ledger.Delivered, c.Ledger.Dropped = c.Ledger.Delivered-15, 15
		c.Ledger.Duplicated, c.NegativeLatencies = 2, 9
		c.Losses = []measure.Loss{{Hop: "gateway", Reason: "timeout" + f.hostile, N: 12}, {Hop: "nats/stan" + f.hostile, Reason: "lost", N: 3}}
		c.DropsByHop = map[string]map[string]int64{"gateway": {"timeout": 12, "queue_full": 3}, "hub": {"decode": 0}}
		c.Outcomes[0].State, c.Outcomes[0].Message = "failed", "dropped is 15"
		c.Components[3].CPUMean, c.Components[3].CPUMax, c.Components[3].MemoryMax = nil, nil, nil
	case 4: // it came to nothing
		c.Verdict = measure.Invalid
		c.Reasons = []measure.Reason{{Code: "component_exited", Verdict: measure.Invalid, Text: "ended broker/1 (invalid if a component ends without being asked to)"}}
		c.Ledger, c.Latency, c.OfferedRate, c.DeliveredRate, c.ClockErrorMS = measure.Ledger{}, measure.Quantiles{}, nil, nil, nil
		c.Outcomes[0].State, c.Outcomes[0].Message = "unknown", "dropped was not taken"
	}
	return c
}

var wideRun = fixture{repetitions: 2, devices: []float64{1, 100, 500, 1000}, missing: 2, finished: true}

// golden compares with a file under testdata, whose run directory stands as DIR.
func golden(t *testing.T, name string, run *store.Reader, got []byte) {
	t.Helper()
	got = bytes.ReplaceAll(got, []byte(run.Dir), []byte("DIR"))
	path := filepath.Join("testdata", name)
	if *update {
		must(t, os.MkdirAll("testdata", 0o755))
		must(t, os.WriteFile(path, got, 0o644))
		return
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; run go test ./report -update and look at the difference:\n%s", path, got)
	}
}

// The report is what users take away: a change in it must be seen and meant.
func TestGolden(t *testing.T) {
	small := fixture{repetitions: 1, devices: []float64{1, 100}, finished: true}
	tests := []struct {
		name string
		run  fixture
		make func(io.Writer, *store.Reader) error
	}{
		{"text-100.txt", wideRun, func(w io.Writer, r *store.Reader) error { return Text(w, r, Options{}) }},
		{"text-80.txt", wideRun, func(w io.Writer, r *store.Reader) error { return Text(w, r, Options{Width: 80}) }},
		{"text-instances.txt", small, func(w io.Writer, r *store.Reader) error { return Text(w, r, Options{Instances: true}) }},
		{"text-color.txt", small, func(w io.Writer, r *store.Reader) error { return Text(w, r, Options{Color: true}) }},
		{"text-broken-off.txt", fixture{repetitions: 1, devices: []float64{1}, missing: 2}, func(w io.Writer, r *store.Reader) error { return Text(w, r, Options{}) }},
		{"report.md", wideRun, func(w io.Writer, r *store.Reader) error { return Markdown(w, r, Options{}) }},
		{"report.html", wideRun, func(w io.Writer, r *store.Reader) error { return HTML(w, r, Options{}) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			run := tt.run.store(t)
			var b bytes.Buffer
			must(t, tt.make(&b, run))
			golden(t, tt.name, run, b.Bytes())
		})
	}
}

// A table that wraps on a terminal cannot be read.
func TestTextFitsItsWidth(t *testing.T) {
	run := wideRun.store(t)
	for _, width := range []int{60, 80, 100, 140} {
		var b bytes.Buffer
		must(t, Text(&b, run, Options{Width: width}))
		for line := range strings.Lines(b.String()) {
			line = strings.TrimSuffix(line, "\n")
			toCopy := strings.Contains(line, run.Dir) || strings.HasPrefix(line, "    bela run ")
			if w := runewidth.StringWidth(line); w > width && !toCopy {
				t.Errorf("width %d: %d columns: %s", width, w, line)
			}
		}
	}
}

const hostile = "\x1b[31m<script>alert(1)</script> | [x](http://y) \u202e\r\n"

// Names and messages come from files and other machines: none may steer the
// terminal, or run in the browser.
func TestForeignTextIsHarmless(t *testing.T) {
	run := fixture{repetitions: 1, devices: []float64{1, 100, 500}, missing: 1, hostile: hostile}.store(t)
	var text, markdown, html bytes.Buffer
	must(t, Text(&text, run, Options{}))
	must(t, Markdown(&markdown, run, Options{}))
	must(t, HTML(&html, run, Options{}))
	for form, out := range map[string]string{"text": text.String(), "markdown": markdown.String(), "html": html.String()} {
		if strings.ContainsAny(out, "\x1b\r\u202e") {
			t.Errorf("%s holds control characters", form)
		}
	}
	for form, out := range map[string]string{"markdown": markdown.String(), "html": html.String()} {
		if strings.Contains(out, "<script") {
			t.Errorf("%s holds foreign markup", form)
		}
		if !strings.Contains(out, "script") {
			t.Errorf("%s lost the text", form)
		}
	}
	if strings.Contains(markdown.String(), "[x](http") {
		t.Error("markdown holds a foreign link")
	}
}

// A report is opened years later, offline: it must stand on its own, and be
// whole enough for any browser.
func TestHTMLIsSelfContained(t *testing.T) {
	run := wideRun.store(t)
	path, err := WriteHTML(run, Options{})
	must(t, err)
	if path != filepath.Join(run.Dir, "report.html") {
		t.Errorf("written to %s", path)
	}
	b, err := os.ReadFile(path)
	must(t, err)
	if found := regexp.MustCompile(`(?i)(src|href)\s*=|@import|url\([^#]|https?:`).Find(b); found != nil {
		t.Errorf("it refers to something else: %s", found)
	}
	if !bytes.Contains(b, []byte("prefers-color-scheme: dark")) || !bytes.Contains(b, []byte(`<path class="l c0"`)) || bytes.Contains(b, []byte("ZgotmplZ")) {
		t.Error("it has no dark form, no chart, or values that the template refused")
	}
	d := xml.NewDecoder(bytes.NewReader(bytes.Replace(b, []byte("<!doctype html>"), nil, 1)))
	d.Strict, d.Entity = true, xml.HTMLEntity
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("an element is not closed: %v", err)
		}
	}
}

// The chart must put larger latencies higher and leave out what is not fit to use.
func TestLatencyPlot(t *testing.T) {
	run := wideRun.store(t)
	s, ok := newSheet(run)
	c := s.latency()
	if !ok || len(c.X.Ticks) != 4 || c.X.Ticks[0].Text != "1" || c.X.Ticks[3].Text != "1000" || len(c.Lines) != 4 {
		t.Fatalf("%+v", c)
	}
	if !strings.Contains(c.Note, "left out: 2") {
		t.Errorf("%q does not say that the invalid cell is left out in both repetitions", c.Note)
	}
	first, last := c.Lines[0].Points[0], c.Lines[0].Points[len(c.Lines[0].Points)-1]
	if math.Abs(first.X) > 0.1 || math.Abs(last.X-3) > 0.1 || first.Y >= last.Y {
		t.Errorf("1 device at %+v, 1000 devices at %+v", first, last)
	}
	if other := c.Lines[2].Points[0]; other.X == first.X {
		t.Error("dots of two lines hide one another")
	}
	if _, ok := newSheet((fixture{repetitions: 1, devices: []float64{5}}).store(t)); ok {
		t.Error("a chart of one point")
	}
}

// Numbers are read at a glance: three digits, never an exponent for a latency.
func TestNumber(t *testing.T) {
	for _, tt := range []struct {
		in   *float64
		want string
	}{
		{nil, "–"}, {ptr(0.0), "0"}, {ptr(0.1234), "0.123"}, {ptr(1.0), "1.00"}, {ptr(12.34), "12.3"}, {ptr(123.4), "123"},
		{ptr(98765.4), "98765"}, {ptr(-0.0567), "-0.0567"}, {ptr(1e-7), "1e-07"},
	} {
		if got := number(tt.in); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.in, got, tt.want)
		}
	}
}

// A writer that fails (a closed pipe) must not pass for a written report.
func TestWriterErrors(t *testing.T) {
	run := fixture{repetitions: 1, devices: []float64{1}}.store(t)
	for name, f := range map[string]func(io.Writer, *store.Reader, Options) error{"text": Text, "markdown": Markdown, "html": HTML} {
		if err := f(broken{}, run, Options{}); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, fmt.Errorf("write: %w", io.ErrClosedPipe) }

// The use of a component must be that of all its instances or be missing: without
// the one that was not looked at, the sum reads as a saving.
func TestUseOfHalfAComponent(t *testing.T) {
	cells := []measure.Cell{{Components: []measure.Component{
		{Component: "gateway", Instance: 1, CPUMean: ptr(100.0), CPUMax: ptr(200.0), MemoryMax: ptr(10.0)},
		{Component: "gateway", Instance: 2, CPUMax: ptr(50.0), MemoryMax: ptr(5.0)},
		{Component: "gateway", Instance: 3, CPUMean: ptr(1.0), CPUMax: ptr(1.0)},
	}}}
	u := usedBy{component: "gateway"}
	mean, most, memory := u.of(cells, "cpu_mcpu_mean"), u.of(cells, "cpu_mcpu_max"), u.of(cells, "memory_mib_max")
	if mean != nil || memory != nil || most == nil || *most != 251 {
		t.Errorf("mean %v, max %v, memory %v; want only the max, 251", mean, most, memory)
	}
}
