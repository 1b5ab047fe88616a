package experiment_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"bela/experiment"
)

// Whatever stands in a file, reading it ends soon, and either gives a plan or
// says what is wrong; a panic or a hang would take the user's terminal along.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/*.hcl", "../experiments/*.hcl"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			src, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(src)
		}
	}
	for _, expr := range []string{
		"1 / 0", "0 / 0", "5 % 0", "1e99 * 1e99 % 7", "1/0 - 1/0", "-(1/0) * 0", "[1][1e99]", "{a = 1}[null]", "null + 1",
		`"${null}"`, `"%{ for x in range(1000) }${x}%{ endfor }"`, `format("%[9999]d", 1)`, `substr("é", 0, -5)`,
		`jsondecode("[[[[")`, `element([], 1)`, `range(0, 1, 0)`, `range(1, 1/0)`, `sensitive([1])[0]`, `sensitive("a") == sensitive("a")`,
		`[for k, v in sensitive({a = 1}): v]`, `lookup({}, "x")`, `merge(null)`, `sort([1, "b"])`, `keys(sensitive({a = 1}))`,
		`file("x")`, `env("x", null)`, `coalesce()`, `node.worker == node.iot`, `"${node.worker}"`, `jsonencode(component)`, `cell`, `cell[*]`,
	} {
		f.Add([]byte(basic + "locals {\nx = " + expr + "\n}\n"))
		f.Add([]byte("experiment \"e\" {\nmatrix {\na = [" + expr + "]\n}\n}\n" + basicNodes + basicBroker + basicLoad))
		f.Add([]byte(basicExperiment + basicNodes + basicBroker + "devices {\non = node.iot\ncount = " + expr + "\ntopic = " + expr + "\n}\n" + basicCustomers))
		f.Add([]byte(basic + "component \"p\" {\ncommand = [\"x\"]\non = node.worker\nenv = { A = " + expr + " }\nlinks = " + expr + "\n}\nexpect \"x\" {\nthat = " + expr + "\n}\n"))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		start := time.Now()
		e, err := experiment.Load("fuzz.hcl", experiment.Inputs{ReadFile: func(path string) ([]byte, error) {
			if path == "fuzz.hcl" {
				return src, nil
			}
			return nil, os.ErrNotExist
		}})
		if spent := time.Since(start); spent > time.Minute {
			t.Errorf("took %v", spent)
		}
		if err != nil {
			var found experiment.Diagnostics
			if !errors.As(err, &found) || !found.HasErrors() || found[0].Message == "" {
				t.Fatalf("an error that says nothing: %v", err)
			}
			var out bytes.Buffer
			if err := found.Format(&out, 40, true); err != nil || out.Len() == 0 {
				t.Fatalf("%d bytes, %v", out.Len(), err)
			}
			return
		}
		p := e.Plan()
		if len(p.Cells) == 0 {
			t.Fatal("a plan without cells was taken")
		}
		_ = asJSON(t, p.Cells[0])
		if len(p.Cells) > 100 {
			p.Cells = p.Cells[:100]
		}
		p.Check(func(string) (experiment.Facts, bool) { return experiment.Facts{}, false })
		if _, err := e.Expect(p.Cells[0], map[string]float64{"dropped": 1}); err != nil {
			_ = err.Error()
		}
	})
}

// The same for an expression given with -only.
func FuzzSelect(f *testing.F) {
	for _, expr := range []string{"cell.devices > 1", "cell", "cell.number % 0 == 0", "((((", "cell.devices[0]", `"%{if true}x%{endif}"`} {
		f.Add(expr)
	}
	f.Fuzz(func(t *testing.T, expr string) {
		p := mustLoad(t, basic, experiment.Inputs{}).Plan()
		if selected, err := p.Select(expr); err == nil && len(selected.Cells) == 0 {
			t.Error("a plan without cells")
		}
	})
}
