package experiment_test

import (
	"fmt"
	"maps"
	"math"
	"strings"
	"testing"

	"bela/experiment"
)

// An expectation decides the exit status: it must fail where it is false, and
// must never count as held where a number is missing.
func TestExpect(t *testing.T) {
	all := map[string]float64{"dropped": 0, "published": 100, "latency_p99_ms": 12, "component.gateway.cpu_mcpu_mean": 250}
	with := func(name string, value float64) map[string]float64 {
		m := maps.Clone(all)
		m[name] = value
		return m
	}
	without := func(name string) map[string]float64 {
		m := maps.Clone(all)
		delete(m, name)
		return m
	}
	tests := []struct {
		name, that string
		cell       int // of 1, 100, 500, 1000 devices
		metrics    map[string]float64
		status     experiment.Status
		message    string
	}{
		{"true", "cell.devices > 500 || dropped == 0", 1, all, experiment.Held, ""},
		{"false", "cell.devices > 500 || dropped == 0", 1, with("dropped", 3), experiment.Failed, "dropped = 3, cell.devices = 100"},
		{"out of its range", "cell.devices > 500 || dropped == 0", 3, with("dropped", 3), experiment.Held, ""},
		{"absent", "dropped == 0", 0, without("dropped"), experiment.Unknown, "not measured: dropped"},
		{"not a number", "dropped == 0", 0, with("dropped", math.NaN()), experiment.Unknown, "not measured: dropped"},
		{"infinite", "dropped == 0", 0, with("dropped", math.Inf(1)), experiment.Unknown, "not measured: dropped"},
		{"absent, though it would not decide", "published > 0 || dropped == 0", 0, without("dropped"), experiment.Unknown, "not measured: dropped"},
		{"unequal to what is absent", "dropped != 5", 0, without("dropped"), experiment.Unknown, "not measured: dropped"},
		{"a component", "component.gateway.cpu_mcpu_mean < 200", 0, all, experiment.Failed, "component.gateway.cpu_mcpu_mean = 250"},
		{"a component's absent", "component.hub.restarts == 0", 0, all, experiment.Unknown, "not measured: component.hub.restarts"},
		{"by index", `component["gateway"]["cpu_mcpu_mean"] < 300`, 0, all, experiment.Held, ""},
		{"number and repetition", "cell.number == 3 && cell.repetition == 1", 2, all, experiment.Held, ""},
		{"locals and variables", "latency_p99_ms < local.bound * var.factor", 0, all, experiment.Held, ""},
		{"per message", "dropped / published <= 0.001", 0, with("dropped", 1), experiment.Failed, "dropped = 1, published = 100"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			src := basic + "locals {\nbound = 10\n}\nvariable \"factor\" {\ntype = number\ndefault = 2\n}\nexpect \"x\" {\nthat = " + test.that + "\n}\n"
			e := mustLoad(t, src, experiment.Inputs{})
			got, err := e.Expect(e.Plan().Cells[test.cell], test.metrics)
			if err != nil {
				t.Fatal(err)
			}
			want := experiment.Outcome{Name: "x", Status: test.status, Held: test.status == experiment.Held, Text: test.that, Message: test.message}
			if len(got) != 1 || got[0] != want {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

// A message of one's own says what a report should; a condition that cannot be
// worked out says where, and takes no other outcome with it.
func TestExpectMessages(t *testing.T) {
	src := basic + `
expect "own words" {
  that    = dropped == 0
  message = "${dropped} of ${published} lost"
}
expect "lookup" {
  that = [true, false][dropped]
}
expect "last" {
  that = published == 100
}
`
	e := mustLoad(t, src, experiment.Inputs{})
	got, err := e.Expect(e.Plan().Cells[0], map[string]float64{"dropped": 7, "published": 100})
	if err == nil || !strings.Contains(err.Error(), "invalid index") {
		t.Errorf("the error: %v", err)
	}
	var parts []string
	for _, o := range got {
		parts = append(parts, fmt.Sprintf("%s: %s %s", o.Name, o.Status, o.Message))
	}
	want := []string{"own words: failed 7 of 100 lost", "lookup: unknown the condition does not come to true or false with these values", "last: held "}
	if fmt.Sprint(parts) != fmt.Sprint(want) {
		t.Errorf("got  %q\nwant %q", parts, want)
	}
	if names := e.Plan().Expectations; fmt.Sprint(names) != "[own words lookup last]" {
		t.Errorf("the plan's expectations: %q", names)
	}
}

// Every metric name is one that an expectation may use.
func TestMetricsAreKnown(t *testing.T) {
	var parts []string
	for _, m := range experiment.Metrics() {
		parts = append(parts, m+" >= 0")
	}
	for _, m := range experiment.ComponentMetrics() {
		parts = append(parts, experiment.ComponentMetric("broker", m)+" >= 0")
	}
	mustLoad(t, basic+"expect \"all\" {\nthat = "+strings.Join(parts, " && ")+"\n}\n", experiment.Inputs{})
}
