package report

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"bela/experiment"
	"bela/measure"
	"bela/store"
)

var usual = measure.Sizing{Request: measure.SizingMean, Headroom: 0.3, CPUStep: 10, MemoryStep: 10}

// sizable is a run of which memory was measured, too.
func sizable(t *testing.T, devices ...float64) *store.Reader {
	run := fixture{repetitions: 1, devices: devices, finished: true}.store(t)
	for _, c := range run.Cells {
		for i := range c.Components {
			if k := &c.Components[i]; k.MemoryMax != nil {
				k.MemoryMean = ptr(*k.MemoryMax / 2)
			}
		}
	}
	return run
}

// The table is what machines are bought by: it must say what it rests on and
// what speaks against it.
func TestRecommendText(t *testing.T) {
	run := sizable(t, 1, 1000)
	r, err := Recommend(run, usual, nil, &measure.Machine{CPU: 4000, Memory: 4096})
	must(t, err)
	var b bytes.Buffer
	must(t, RecommendText(&b, r, Options{Width: 110}))
	golden(t, "recommend.txt", run, b.Bytes())
	one, err := Recommend(run, usual, map[string]string{"devices": "1"}, nil)
	must(t, err)
	if slices.Equal(one.Cells, r.Cells) || len(one.Cells) != 2 || one.Platforms != nil {
		t.Errorf("cells %v of %v for one device", one.Cells, r.Cells)
	}
	for where, want := range map[string]string{"device=1": `no dimension "device"`, "devices=7": "no measured cell"} {
		name, value, _ := strings.Cut(where, "=")
		if _, err := Recommend(run, usual, map[string]string{name: value}, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", where, err, want)
		}
	}
}

// A snippet that does not load where it is pasted is of no use.
func TestRecommendedLimitsLoad(t *testing.T) {
	run := sizable(t, 1000)
	r, err := Recommend(run, usual, nil, nil)
	must(t, err)
	var b bytes.Buffer
	must(t, RecommendHCL(&b, r))
	snippets := strings.Split(b.String(), "\n\n")
	if len(snippets) != len(r.Components) {
		t.Fatalf("%d snippets for %d components:\n%s", len(snippets), len(r.Components), b.String())
	}
	for i, snippet := range snippets {
		file := "experiment \"x\" {}\nnode \"worker\" { count = 1 }\nnode \"iot\" { count = 1 }\nnode \"customer\" { count = 1 }\n" +
			"component \"broker\" {\n uses = platform.broker\n on = node.worker\n" + snippet + "\n}\n" +
			"devices {\n on = node.iot\n count = 1\n}\ncustomers {\n on = node.customer\n count = 1\n}\n"
		e, err := experiment.Load("x.hcl", experiment.Inputs{ReadFile: func(string) ([]byte, error) { return []byte(file), nil }})
		must(t, err)
		limits := e.Plan().Cells[0].Components[0].Limits
		if want := r.Components[i]; float64(limits.CPU) != want.CPULimit || float64(limits.Memory) != want.MemoryLimit*(1<<20) {
			t.Errorf("%s loads as %+v, want %+v", snippet, limits, want)
		}
	}
}

// What a component was kept from using must not be taken for what it needs.
func TestRecommendWarnsOfLimits(t *testing.T) {
	limits, err := plannedLimits(json.RawMessage(`{"cells":[{"cell":3,"components":[{"name":"broker","limits":{"cpu_mcpu":350,"memory_bytes":104857600}}]}]}`))
	must(t, err)
	at := func(cpu, memory float64) []measure.Requirement {
		return []measure.Requirement{{Component: "broker", CPUPeak: cpu, MemoryPeak: memory, CellCPU: 3, CellMemory: 3}}
	}
	if got := limited(at(340, 50), limits); len(got) != 1 || !strings.Contains(got[0], "CPU limit of 350m in cell 3") {
		t.Errorf("at 340 of 350 mCPU: %q", got)
	}
	if got := limited(at(100, 99), limits); len(got) != 1 || !strings.Contains(got[0], "memory limit of 100 MiB") {
		t.Errorf("at 99 of 100 MiB: %q", got)
	}
	if got := limited(at(300, 50), limits); len(got) != 0 {
		t.Errorf("far from both: %q", got)
	}
}

// Held against the published study: from its use at 1000 devices the limits that
// it chose follow within a factor of two.
func TestRecommendBesideTheStudy(t *testing.T) {
	use := map[string][2]float64{"hub": {144, 88}, "nats": {193, 276}, "stan": {450, 366}, "broker": {355, 755}, "gateway": {177, 132}}
	limit := map[string][2]float64{"hub": {200, 100}, "nats": {200, 300}, "stan": {300, 400}, "broker": {350, 700}, "gateway": {200, 150}}
	for name, u := range use {
		c := measure.Cell{Number: 1, Repetition: 1, Verdict: measure.Valid, Components: []measure.Component{
			{Component: name, Instance: 1, CPUMean: &u[0], CPUMax: &u[0], MemoryMean: &u[1], MemoryMax: &u[1]}}}
		r := measure.Recommend(measure.Combinations([]measure.Cell{c}), usual)[0]
		for i, got := range []float64{r.CPULimit, r.MemoryLimit} {
			if ratio := got / limit[name][i]; ratio < 0.9 || ratio > 2 {
				t.Errorf("%s: limit %v, the study chose %v", name, got, limit[name][i])
			}
		}
	}
}
