package experiment_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"bela/experiment"
)

// -only must pick exactly the cells it says, under the numbers they have in the
// whole plan.
func TestSelect(t *testing.T) {
	src := withMatrix("repetitions = 2", "devices = [1, 100, 500]\nqos = [0, 1]\ncodec = [\"json\"]",
		"devices {\non = node.iot\ncount = cell.devices\nqos = cell.qos\ntopic = \"iot/{customer}/${cell.codec}\"\n}\n")
	p := mustLoad(t, src, experiment.Inputs{}).Plan()
	tests := []struct{ expr, want string }{
		{"cell.devices <= 100 && cell.qos == 1", "[2 4 8 10]"},
		{"cell.number == 3", "[3 9]"},
		{"cell.repetition == 2 && cell.number != 1", "[8 9 10 11 12]"},
		{"contains([1, 500], cell.devices) && cell.qos == 0", "[1 5 7 11]"},
		{`upper(cell.codec) == "JSON"`, "[1 2 3 4 5 6 7 8 9 10 11 12]"},
	}
	for _, test := range tests {
		selected, err := p.Select(test.expr)
		if err != nil {
			t.Errorf("%s: %s", test.expr, detailed(err))
			continue
		}
		var positions []int
		var expected int64
		for _, c := range selected.Cells {
			positions = append(positions, c.Position)
			expected += int64(c.Expected)
		}
		if fmt.Sprint(positions) != test.want || int64(selected.Expected) != expected {
			t.Errorf("%s: positions %v in %v, want %s", test.expr, positions, selected.Expected, test.want)
		}
	}
	if len(p.Cells) != 12 {
		t.Errorf("the plan itself has %d cells left of 12", len(p.Cells))
	}

	for _, test := range []struct{ expr, want string }{
		{"cell.devics > 1", "did you mean cell.devices?"},
		{"devices > 1", "did you mean cell.devices?"},
		{"cell.devices", "a condition is wanted"},
		{"cell.devices > 1000", "none of 12 cells fits ^^^^^^^^^^^^^^^^^^^ cell.devices takes: 1, 100, 500"},
		{"cell.devices >", "-only:1:"},
		{"", "-only:1:"},
		{`env("HOME") == ""`, `there is no function "env"`},
		{"var.x == 1", "a selection of cells knows only cell.…"},
	} {
		_, err := p.Select(test.expr)
		if err == nil {
			t.Errorf("%q was taken", test.expr)
			continue
		}
		lines := strings.Split(detailed(err), "\n")
		if strings.Contains(test.want, "^") { // the source line is in between
			lines = append(lines[:1], lines[2:]...)
		}
		if flat := strings.ReplaceAll(strings.Join(strings.Fields(strings.Join(lines, " ")), " "), "| ", ""); !strings.Contains(flat, test.want) {
			t.Errorf("%q: does not say %q: %s", test.expr, test.want, flat)
		}
	}
	if err := experiment.ParseOnly("cell.x == 1"); err != nil {
		t.Error(err)
	}
	if err := experiment.ParseOnly("cell.x =="); err == nil {
		t.Error("half an expression was taken")
	}
}

// A plan that was written to plan.json and read back selects and judges the
// same: that is what resume works with.
func TestPlanFromJSON(t *testing.T) {
	e := mustLoad(t, basic+"expect \"x\" {\nthat = cell.devices > 500 || dropped == 0\n}\n", experiment.Inputs{})
	var p experiment.Plan
	if err := json.Unmarshal([]byte(asJSON(t, e.Plan())), &p); err != nil {
		t.Fatal(err)
	}
	if asJSON(t, &p) != asJSON(t, e.Plan()) {
		t.Error("the plan differs after reading it back")
	}
	selected, err := p.Select("cell.devices == 1000")
	if err != nil {
		t.Fatal(detailed(err))
	}
	got, err := e.Expect(selected.Cells[0], map[string]float64{"dropped": 5})
	if err != nil || len(got) != 1 || !got[0].Held {
		t.Errorf("%+v, %v", got, err)
	}
}
