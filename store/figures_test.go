package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bela/measure"
)

// The published figures must say what was printed, each beside what it belongs
// to, and nothing where nothing was printed.
func TestPublishedFigures(t *testing.T) {
	f, err := OpenFigures("reference/bela-2020", "../results")
	must(t, err)
	find := func(study, qos, devices float64) measure.Cell {
		for _, c := range f.Cells {
			at := map[string]any{}
			for _, d := range c.Dimensions {
				at[d.Name] = d.Value
			}
			if at["study"] == study && at["devices"] == devices && (qos < 0 || at["qos"] == qos) {
				return c
			}
		}
		t.Fatalf("no cell of study %v with %v devices", study, devices)
		return measure.Cell{}
	}
	c := find(2, 0, 1000)
	if *c.Latency.Mean != 70 || *c.BrokerIn != 1_233_000 || *c.HubIn != 413_000 || *c.DropsPer5Min != 882 || f.Doubts[c.Number] == "" {
		t.Errorf("study 2, 1000 devices at QoS 0: %+v, doubt %q", c, f.Doubts[c.Number])
	}
	if c.Latency.P99 != nil || c.DeliveredRate != nil {
		t.Errorf("numbers that nobody published: %+v", c)
	}
	r := find(1, -1, 500)
	if len(r.Components) != 5 || *r.Components[3].CPUMean != 231 || *r.Components[3].MemoryMean != 357 || r.Latency.Mean != nil {
		t.Errorf("study 1, 500 devices: %+v", r)
	}
	if n := len(f.For("bela-2-limits")); n != 8 {
		t.Errorf("%d cells for bela-2-limits, want 8", n)
	}
	if n := len(f.For("mine")); n != len(f.Cells) || n != 27 {
		t.Errorf("%d of %d cells for another experiment", n, len(f.Cells))
	}
	if IsFigures("gone", "../results") || !IsFigures("../results/reference/bela-2020", "") {
		t.Error("figures are not told from what is none")
	}
}

// A table that was edited by hand and is broken must be told by file and line.
func TestBrokenFigures(t *testing.T) {
	for name, test := range map[string]struct{ file, content, want string }{
		"not a number": {"cells.csv", "cell,devices,drops_per_5min\n1,5,many\n", "cells.csv:2"},
		"no cell":      {"components.csv", "cell,component,cpu_mcpu_mean\n7,hub,1\n", `components.csv:2`},
		"empty":        {"cells.csv", "", "it is empty"},
		"newer":        {"figures.json", `{"figures":2}`, "version 2"},
	} {
		dir := t.TempDir()
		for file, content := range map[string]string{
			"figures.json": `{"figures":1,"dimensions":["devices"]}`, "cells.csv": "cell,devices\n1,5\n", test.file: test.content,
		} {
			must(t, os.WriteFile(filepath.Join(dir, file), []byte(content), 0o644))
		}
		if _, err := OpenFigures(dir, ""); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}
