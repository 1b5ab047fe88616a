package report

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bela/measure"
	"bela/report/chart"
	"bela/report/chromiumtest"
	"bela/store"
)

// large is a campaign as it comes out of a night: many cells, each several
// times, with series, histograms, components, faults and verdicts of all kinds.
// The store's own writers write it.
type large struct {
	devices, qos, payloads, gateways int // values of each dimension
	repetitions                      int
	slower                           float64 // how many times as slow as usual
	id                               string
	root                             string // empty is a directory of the test
}

// ofNight is 300 cells, three times each. On the disk a test has a third of it.
var ofNight = large{devices: 10, qos: 2, payloads: 5, gateways: 3, repetitions: 3, slower: 1, id: "aaaa"}

// plan is the run's dimensions, its cells as planned, and what was measured.
func (l large) plan() (dimensions []string, planned []map[string]any, cells []measure.Cell) {
	random := rand.New(rand.NewPCG(1, uint64(len(l.id)))) // the same at every start
	dimensions = []string{"devices", "qos", "payload_bytes", "gateways"}
	var combinations [][]measure.Dimension
	for d := range l.devices {
		for q := range l.qos {
			for p := range l.payloads {
				for g := range l.gateways {
					combinations = append(combinations, []measure.Dimension{{Name: "devices", Value: float64(100 * (d + 1))}, {Name: "qos", Value: float64(q)},
						{Name: "payload_bytes", Value: float64(int(128) << p)}, {Name: "gateways", Value: float64(g + 1)}})
				}
			}
		}
	}
	for repetition := 1; repetition <= l.repetitions; repetition++ {
		for i, at := range combinations {
			planned = append(planned, map[string]any{"position": len(planned) + 1, "cell": i + 1, "repetition": repetition, "values": at})
			cells = append(cells, l.cell(random, len(planned), i+1, repetition, at))
		}
	}
	return dimensions, planned, cells
}

// side is the run in memory: what a comparison needs of it.
func (l large) side() Side {
	_, _, cells := l.plan()
	return Side{Name: "results/night/" + l.id, Experiment: "night", Combinations: measure.Combinations(cells), Environment: &store.Environment{BelaVersion: "1.0"}}
}

func (l large) store(t testing.TB) *store.Reader {
	t.Helper()
	random := rand.New(rand.NewPCG(2, 2))
	dimensions, planned, cells := l.plan()
	var nodes []store.NodeEnvironment
	for i := range 12 {
		nodes = append(nodes, store.NodeEnvironment{Name: fmt.Sprintf("worker-%d.rack-with-a-long-name.example.org", i+1), Role: "worker",
			Host: store.Host{OS: "Debian GNU/Linux 12 (bookworm)", Kernel: "6.1.0-32-cloud-amd64", CPUModel: "AMD EPYC 7763 64-Core Processor", CPUs: 16, MemoryTotal: 64 << 30}})
	}
	root := l.root
	if root == "" {
		root = inMemory(t)
	}
	run, err := store.Create(root, "night", began, l.id, store.Inputs{
		Experiment: []byte("x"), Dimensions: dimensions,
		Plan: map[string]any{"experiment": "night", "description": "where is the platform's limit, by devices, QoS, payload and gateways?", "repetitions": l.repetitions,
			"dimensions": dimensions, "cells": planned, "expectations": []string{"nothing is lost", "p99 under a second"}},
		Environment: store.Environment{BelaVersion: "1.0", Seed: 7, StartedAt: began, Nodes: nodes, CommandLine: []string{"bela", "run", "night.hcl"}},
	})
	must(t, err)
	must(t, run.Journal(store.Entry{Kind: store.RunStarted, Time: began}))
	for i, c := range cells {
		at := began.Add(time.Duration(i+1) * 30 * time.Second)
		h := &measure.Histogram{}
		for range 200 {
			h.Record(int64(*c.Latency.P50 * 1e6 * (0.6 + random.ExpFloat64())))
		}
		must(t, run.Journal(store.Entry{Kind: store.CellStarted, Time: at, Position: c.Position}))
		must(t, run.WriteCell(store.CellResult{Cell: c, Latency: h, Series: l.seconds(random, c)}))
		must(t, run.Journal(store.Entry{Kind: store.CellDone, Time: at.Add(30 * time.Second), Position: c.Position, Verdict: c.Verdict}))
	}
	must(t, run.Journal(store.Entry{Kind: store.RunFinished, Time: began.Add(12 * time.Hour), Status: ptr(1), Reason: "an expectation failed"}))
	must(t, run.Close())
	return opened(t, run.Dir())
}

func (l large) cell(random *rand.Rand, position, number, repetition int, at []measure.Dimension) measure.Cell {
	devices, gateways := at[0].Value.(float64), at[3].Value.(float64)
	published := int64(devices) * 20
	dropped := int64(0)
	if devices > 700 && gateways == 1 {
		dropped = published / 100
	}
	p50 := l.slower * (0.4 + devices/500/gateways) * (0.95 + 0.1*random.Float64())
	c := measure.Cell{
		Position: position, Number: number, Repetition: repetition, Attempt: 1, Dimensions: at, Verdict: measure.Valid, StartedAt: began, MeasuredSeconds: 20,
		Ledger:      measure.Ledger{Intended: published, Published: published, Expected: published, Delivered: published - dropped, Dropped: dropped, Closed: true},
		OfferedRate: ptr(devices), AchievedRate: ptr(devices), DeliveredRate: ptr(float64(published-dropped) / 20), DropsPer5Min: ptr(float64(dropped * 15)),
		Latency:      measure.Quantiles{Count: 200, P50: &p50, P95: ptr(3 * p50), P99: ptr(5 * p50)},
		ClockErrorMS: ptr(0.05), BrokerIn: ptr(devices * 600), BrokerOut: ptr(devices * 590), GatewayIn: ptr(devices * 590), GatewayOut: ptr(devices * 700), HubIn: ptr(devices * 650),
		Outcomes: []measure.Outcome{{Name: "nothing is lost", State: "held"}, {Name: "p99 under a second", State: "held", Message: "p99 is fine"}},
	}
	if dropped > 0 {
		c.Outcomes[0] = measure.Outcome{Name: "nothing is lost", State: "failed", Message: fmt.Sprintf("%d of %d messages never arrived", dropped, published)}
		c.Losses = []measure.Loss{{Hop: "gateway", Reason: "queue_full", N: dropped}}
	}
	for i, name := range []string{"broker", "gateway", "nats", "stan", "hub"} {
		for instance := range map[bool]int{true: int(gateways), false: 1}[name == "gateway"] {
			c.Components = append(c.Components, measure.Component{Component: name, Instance: instance + 1, Node: "worker-1",
				CPUMean: ptr(devices / 10 * float64(i+1) * (0.9 + 0.2*random.Float64())), CPUMax: ptr(devices / 5 * float64(i+1)), MemoryMax: ptr(18.25 * float64(i+1))})
		}
	}
	switch {
	case number%40 == 0:
		c.Verdict = measure.Degraded
		c.Reasons = []measure.Reason{{Code: "clock_step", Verdict: measure.Degraded, Text: "clock stepped on iot-1 (degraded if any clock steps during the cell)"}}
	case number%97 == 0:
		c.Verdict = measure.Invalid
		c.Reasons = []measure.Reason{{Code: "generator_late", Verdict: measure.Invalid, Text: "lateness p99 is 61 ms (invalid above 10 ms)"}}
	case number%60 == 1:
		healed := 9.0
		c.Faults = []measure.Fault{{Name: "the hub dies", Started: 6, Healed: &healed}}
	}
	return c
}

func (l large) seconds(random *rand.Rand, c measure.Cell) []measure.Second {
	var all []measure.Second
	rate := c.Ledger.Published / 20
	for s := range 30 {
		phase := "measure"
		if s < 5 {
			phase = "warmup"
		} else if s >= 25 {
			phase = "drain"
		}
		p50 := *c.Latency.P50 * (0.9 + 0.2*random.Float64())
		second := measure.Second{T: s, Phase: phase, Published: rate, Delivered: rate, Dropped: ptr(int64(0)), P5: ptr(p50 / 2), P50: ptr(p50), P99: ptr(p50 * 5)}
		if phase == "drain" {
			second.Published, second.Delivered, second.P5, second.P50, second.P99 = 0, 0, nil, nil, nil
		}
		all = append(all, second)
	}
	return all
}

// inMemory is a directory in memory where there is one: each cell is synced to
// the disk a dozen times.
func inMemory(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "bela-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// Pages of a long campaign are sent by mail and opened on a phone: they must
// stay small, say what there was no room for, and show in a browser.
func TestLargeRun(t *testing.T) {
	t.Parallel()
	night := ofNight
	if night.root = os.Getenv("BELA_LARGE_RUNS"); night.root == "" { // there it is whole, to be looked at by hand
		night.gateways = 1
	}
	run := night.store(t)
	slower := ofNight
	slower.slower, slower.repetitions = 1.3, 6
	usual := ofNight
	usual.repetitions = 6
	c := compared(t, usual.side(), slower.side())
	h, err := HistoryOf(filepath.Dir(run.Dir), slices.Repeat([]store.Listed{{Dir: run.Dir, Experiment: "night", StartedAt: began}}, 3), HistoryMetrics())
	must(t, err)
	browser := chromiumtest.Start(t)
	for _, page := range []struct {
		name  string
		write func(io.Writer) error
		most  int // bytes
	}{
		{"large-report", func(w io.Writer) error { return HTML(w, run, Options{}) }, 2 << 20},
		{"large-comparison", func(w io.Writer) error { return CompareHTML(w, []Comparison{c}) }, 3 << 20},
		{"large-history", func(w io.Writer) error { return HistoryHTML(w, h) }, 1 << 20},
	} {
		t.Run(page.name, func(t *testing.T) {
			var out bytes.Buffer
			must(t, page.write(&out))
			t.Logf("%.2f MB, %d charts", float64(out.Len())/(1<<20), strings.Count(out.String(), `<svg class="chart"`))
			if out.Len() > page.most {
				t.Errorf("%d bytes, want at most %d", out.Len(), page.most)
			}
			path := filepath.Join(t.TempDir(), page.name+".html")
			must(t, os.WriteFile(path, out.Bytes(), 0o644))
			for _, v := range []chromiumtest.View{chromiumtest.Desktop, chromiumtest.Phone} {
				p := browser.Open(t, chromiumtest.File(t, path), v)
				// A screen is 900 high: what is folded must be, or nobody scrolls to the end.
				if screens := chromiumtest.Eval[float64](t, p, "document.scrollingElement.scrollHeight") / float64(v.Height); v == chromiumtest.Desktop && screens > 25 {
					t.Errorf("%.0f screens high", screens)
				}
				if out := p.SticksOut(t); len(out) > 0 {
					t.Errorf("at %+v sticks out: %q", v, out)
				}
				if found := p.Problems(); len(found) > 0 {
					t.Errorf("at %+v: %q", v, found)
				}
				if os.Getenv("BELA_SCREENSHOTS") != "" {
					p.Screenshot(t, fmt.Sprintf("%s-%d", page.name, v.Width))
				}
			}
		})
	}
}

// What is the same for hundreds of cells is said once: a wall of text hides the
// verdict that a reader came for.
func TestManyCellsAreSummarized(t *testing.T) {
	t.Parallel()
	few := ofNight
	few.root, few.payloads, few.gateways = inMemory(t), 1, 1
	run := few.store(t)
	for _, i := range expectations(run).Items {
		if len(i.Text) > 600 {
			t.Errorf("%d letters on one expectation: %s", len(i.Text), i.Text)
		}
	}
	s := expectations(run).Items[0].Text
	if !strings.Contains(s, "failed in 18 cells: cell 15/1 (160 of 16000 messages never arrived)") || !strings.Contains(s, " and 13 more; held in 42 cells") {
		t.Error(s)
	}
	e := expectedIn(run)
	if len(e) != 2 || len(e[0].Measured) != 18 || len(e[1].Measured) != 60 || e[1].More != 0 {
		t.Errorf("%d expectations: %+v", len(e), e)
	}
	cpu, _ := componentTables(run, false)
	if len(cpu.Columns) != 21 {
		t.Errorf("%d columns of CPU for 20 combinations", len(cpu.Columns))
	}
	why := reasonsByKind(ofNightInMemory())
	if len(why.Rows) != 2 || why.Rows[0][0].Text != "clock step" || why.Rows[0][2].Text != "21" || why.Rows[0][3].Text != "40/1, 80/1, 120/1, 160/1, 200/1, 240/1 and 15 more" || why.Rows[1][1].Text != "invalid" {
		t.Errorf("%+v", why.Rows)
	}
}

func ofNightInMemory() *store.Reader {
	_, _, cells := ofNight.plan()
	r := &store.Reader{Cells: cells}
	r.Plan.Repetitions = ofNight.repetitions
	return r
}

// The comparison's first table and its pictures are what is decided by: what was
// planted must be in them, what was not must be grey, and many cells must not
// push out those with a finding.
func TestForests(t *testing.T) {
	t.Parallel()
	c := compared(t, ordinary("a").side(t), planted().side(t), "latency_p50_ms", "latency_p99_ms", "drops_per_5min")
	all, notDrawn := forests(c, 1)
	if len(all) != 3 || notDrawn != 0 || len(all[0].Rows) != 2 {
		t.Fatalf("%d pictures, %d not drawn", len(all), notDrawn)
	}
	faster, alike, from0 := all[0].Rows[0], all[0].Rows[1], all[2].Rows[0]
	if faster.Class != "good" || faster.Shape != chart.Square || !(faster.Low < faster.Ratio && faster.Ratio < faster.High && faster.High < 1) || !strings.HasSuffix(faster.Says, "better") {
		t.Errorf("what became faster: %+v", faster)
	}
	if alike.Class != "soft" || alike.Shape != chart.Hollow || !(alike.Low <= 1 && 1 <= alike.High) || !strings.HasSuffix(alike.Says, "no evidence") {
		t.Errorf("what is alike: %+v", alike)
	}
	if from0.Ratio != 0 || from0.Class != "bad" || from0.Says != "0 to 2.00 worse" {
		t.Errorf("drops where there were none: %+v", from0)
	}
	usual, slower := ofNight, ofNight
	usual.repetitions, slower.repetitions, slower.slower = 6, 6, 1.3
	b := slower.side()
	copy(b.Combinations[:290], usual.side().Combinations) // but for the last cells it is as it was
	all, _ = forests(compared(t, usual.side(), b, "latency_p50_ms", "delivered_msg_s"), 1)
	worse := 0
	for _, r := range all[0].Rows {
		if r.Class == "bad" {
			worse++
		}
	}
	if len(all[0].Rows) != mostForestRows || worse < 9 || !strings.Contains(all[0].Note, "24 of 297 cells") {
		t.Errorf("%d rows, %d of them worse: %s", len(all[0].Rows), worse, all[0].Note)
	}
	if len(all[1].Rows) != fewForestRows {
		t.Errorf("%d rows where nothing was found", len(all[1].Rows))
	}
}
