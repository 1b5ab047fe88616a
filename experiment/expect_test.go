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
		{"true", "cell.devices > 500 || dropped == 0", 1, all, experiment.Held, "dropped = 0, cell.devices = 100"},
		{"false", "cell.devices > 500 || dropped == 0", 1, with("dropped", 3), experiment.Failed, "dropped = 3, cell.devices = 100"},
		{"out of its range", "cell.devices > 500 || dropped == 0", 3, with("dropped", 3), experiment.Held, "dropped = 3, cell.devices = 1000"},
		{"absent", "dropped == 0", 0, without("dropped"), experiment.Unknown, "not measured: dropped"},
		{"not a number", "dropped == 0", 0, with("dropped", math.NaN()), experiment.Unknown, "not measured: dropped"},
		{"infinite", "dropped == 0", 0, with("dropped", math.Inf(1)), experiment.Unknown, "not measured: dropped"},
		{"absent, though it would not decide", "published > 0 || dropped == 0", 0, without("dropped"), experiment.Unknown, "not measured: dropped"},
		{"unequal to what is absent", "dropped != 5", 0, without("dropped"), experiment.Unknown, "not measured: dropped"},
		{"a component", "component.gateway.cpu_mcpu_mean < 200", 0, all, experiment.Failed, "component.gateway.cpu_mcpu_mean = 250"},
		{"a component's absent", "component.hub.restarts == 0", 0, all, experiment.Unknown, "not measured: component.hub.restarts"},
		{"by index", `component["gateway"]["cpu_mcpu_mean"] < 300`, 0, all, experiment.Held, "component.gateway.cpu_mcpu_mean = 250"},
		{"number and repetition", "cell.number == 3 && cell.repetition == 1", 2, all, experiment.Held, "cell.number = 3, cell.repetition = 1"},
		{"locals and variables", "latency_p99_ms < local.bound * var.factor", 0, all, experiment.Held, "latency_p99_ms = 12"},
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
	want := []string{"own words: failed 7 of 100 lost", "lookup: unknown the condition does not come to true or false with these values", "last: held published = 100"}
	if fmt.Sprint(parts) != fmt.Sprint(want) {
		t.Errorf("got  %q\nwant %q", parts, want)
	}
	if names := e.Plan().Expectations; fmt.Sprint(names) != "[own words lookup last]" {
		t.Errorf("the plan's expectations: %q", names)
	}
}

// What decided is read by people: a third of a millisecond has no 17 digits, and a
// count keeps all of its own.
func TestExpectNumbersAreReadable(t *testing.T) {
	e := mustLoad(t, basic+`
expect "all" {
  that = latency_p50_ms < 1 && latency_p99_ms < 1000 && published > 0 && latency_max_ms > 0
}
`, experiment.Inputs{})
	got, err := e.Expect(e.Plan().Cells[0], map[string]float64{"latency_p50_ms": 1.0 / 3, "latency_p99_ms": 1234.56789, "published": 12345678, "latency_max_ms": 0.1 + 0.2})
	if err != nil || len(got) != 1 {
		t.Fatalf("%v %v", got, err)
	}
	if want := "latency_max_ms = 0.3, latency_p50_ms = 0.333333, latency_p99_ms = 1234.57, published = 12345678"; got[0].Message != want {
		t.Errorf("got  %q\nwant %q", got[0].Message, want)
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

// A study asks for directions: with more of something, less of another. The two
// cells must be the right ones, whichever runs first, and a pair that is not
// there must not count as held.
func TestExpectAgainst(t *testing.T) {
	src := strings.Replace(basic, "devices = [1, 100, 500, 1000]", "devices = [1, 1000]\ngateways = [1, 2, 3]", 1) + `
expect "more gateways drop less" {
  against = { gateways = 1 }
  that    = cell.devices < 100 || dropped < against.dropped && component.gateway.cpu_mcpu_mean < against.component.gateway.cpu_mcpu_mean + 5 * cell.devices
}
`
	e := mustLoad(t, src, experiment.Inputs{})
	cells := map[string]experiment.Cell{}
	for _, c := range e.Plan().Cells {
		cells[fmt.Sprintf("%v/%v", c.Values[0].Value, c.Values[1].Value)] = c
	}
	at := func(name string, dropped float64) experiment.Measured {
		return experiment.Measured{Cell: cells[name], Metrics: map[string]float64{"dropped": dropped, "component.gateway.cpu_mcpu_mean": 100}}
	}
	outcomes := func(cell experiment.Measured, others ...experiment.Measured) string {
		t.Helper()
		got, err := e.Expect(cell.Cell, cell.Metrics, others...)
		if err != nil {
			t.Fatal(err)
		}
		var texts []string
		for _, o := range got {
			texts = append(texts, string(o.Status)+": "+o.Message)
		}
		return strings.Join(texts, " | ")
	}
	one, two, three, idle := at("1000/1", 300), at("1000/2", 20), at("1000/3", 400), at("1/1", 0)
	number := func(m experiment.Measured) int { return m.Cell.Number }
	for _, test := range []struct{ name, got, want string }{
		{"the base comes first", outcomes(two, idle, one), fmt.Sprintf("held: against.component.gateway.cpu_mcpu_mean = 100, against.dropped = 300, component.gateway.cpu_mcpu_mean = 100, dropped = 20, cell.devices = 1000; cell %d against cell %d", number(two), number(one))},
		{"the base comes last, and is held against all", outcomes(one, two, three),
			fmt.Sprintf("held: against.component.gateway.cpu_mcpu_mean = 100, against.dropped = 300, component.gateway.cpu_mcpu_mean = 100, dropped = 20, cell.devices = 1000; cell %d against cell %d | failed: against.component.gateway.cpu_mcpu_mean = 100, against.dropped = 300, component.gateway.cpu_mcpu_mean = 100, dropped = 400, cell.devices = 1000; cell %d against cell %d",
				number(two), number(one), number(three), number(one))},
		{"other loads are no pair", outcomes(two, idle, three), ""},
		{"nothing else yet", outcomes(one), ""},
		{"the base lacks a number", outcomes(two, experiment.Measured{Cell: one.Cell, Metrics: map[string]float64{"component.gateway.cpu_mcpu_mean": 1}}),
			fmt.Sprintf("unknown: not measured: against.dropped; cell %d against cell %d", number(two), number(one))},
	} {
		if test.got != test.want {
			t.Errorf("%s:\ngot  %s\nwant %s", test.name, test.got, test.want)
		}
	}
	for block, want := range map[string]string{
		"against = { gateway = 1 }\nthat = true":                         "did you mean gateways?",
		"against = { gateways = 4 }\nthat = true":                        "it has: 1, 2, 3",
		"against = 1\nthat = true":                                       "an object is wanted",
		"that = against.dropped > 0":                                     "there is no other cell here",
		"against = { gateways = 1 }\nthat = against.droped > 0":          "did you mean against.dropped?",
		"against = { gateways = 1 }\nthat = against.dropped":             "a condition is wanted",
		"against = { gateways = cell.gateways }\nthat = against.dropped": "cell.… cannot be used here",
	} {
		refused(t, strings.Split(src, "expect")[0]+"expect \"x\" {\n"+block+"\n}\n", experiment.Inputs{}, want)
	}
}
