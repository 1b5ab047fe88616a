package experiment_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"bela/experiment"
)

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// withMatrix is an experiment with this matrix.
func withMatrix(arguments, matrix, rest string) string {
	return fmt.Sprintf("experiment \"m\" {\n%s\nmatrix {\n%s\n}\n}\n", arguments, matrix) + basicNodes + basicBroker + rest + basicCustomers
}

// coordinates are all cells as "a=1 b=2".
func coordinates(p *experiment.Plan) []string {
	var all []string
	for _, c := range p.Cells {
		var parts []string
		for _, v := range c.Values {
			parts = append(parts, fmt.Sprintf("%s=%v", v.Name, v.Value))
		}
		all = append(all, strings.Join(parts, " "))
	}
	return all
}

const tenDevices = "devices {\n on = node.iot\n count = 10\n}\n"

// The order of cells is what a user reads in the plan and in cells.csv: as
// nested loops over the dimensions as written, the last changing fastest.
func TestMatrixOrder(t *testing.T) {
	tests := []struct {
		name, matrix string
		want         []string
	}{
		{"product", "b = [1, 2]\na = [\"x\", \"y\"]", []string{"b=1 a=x", "b=1 a=y", "b=2 a=x", "b=2 a=y"}},
		{"pair moves together, in its place", "a = [true, false]\npair {\n d = [1, 2]\n r = [10, 5]\n}\nz = [0]",
			[]string{"a=true d=1 r=10 z=0", "a=true d=2 r=5 z=0", "a=false d=1 r=10 z=0", "a=false d=2 r=5 z=0"}},
		{"exclude leaves out", "a = [1, 2]\nb = [1, 2]\nexclude {\n when = cell.a == 1 && cell.b == 2\n}\nexclude {\n when = cell.a == 2 && cell.b == 1\n}",
			[]string{"a=1 b=1", "a=2 b=2"}},
		{"expressions", "a = [for n in range(1, 4): n * 100]", []string{"a=100", "a=200", "a=300"}},
		{"no dimensions", "", []string{""}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := mustLoad(t, withMatrix("", test.matrix, tenDevices), experiment.Inputs{}).Plan()
			if got := coordinates(p); fmt.Sprint(got) != fmt.Sprint(test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
			for i, c := range p.Cells {
				if c.Position != i+1 || c.Number != i+1 || c.Repetition != 1 {
					t.Errorf("cell %d: position %d, number %d, repetition %d", i, c.Position, c.Number, c.Repetition)
				}
			}
		})
	}
}

// Repetitions are interleaved, so that a slow drift of the machines falls on
// all cells alike; a shuffled order is one of the seed alone, so that a run can
// be repeated.
func TestRunningOrder(t *testing.T) {
	const matrix = "a = [1, 2, 3, 4, 5, 6, 7, 8]"
	written := mustLoad(t, withMatrix("repetitions = 3", matrix, tenDevices), experiment.Inputs{}).Plan()
	if len(written.Cells) != 24 {
		t.Fatalf("%d cells, want 8 × 3", len(written.Cells))
	}
	for i, c := range written.Cells {
		if c.Position != i+1 || c.Number != i%8+1 || c.Repetition != i/8+1 {
			t.Errorf("as written: position %d is cell %d, repetition %d", c.Position, c.Number, c.Repetition)
		}
	}

	shuffled := func(seed int) *experiment.Plan {
		arguments := fmt.Sprintf("repetitions = 3\norder = \"shuffled\"\nseed = %d", seed)
		return mustLoad(t, withMatrix(arguments, matrix, tenDevices), experiment.Inputs{}).Plan()
	}
	first, again, other := shuffled(1), shuffled(1), shuffled(2)
	if asJSON(t, first) != asJSON(t, again) {
		t.Error("the same seed gives two different plans")
	}
	if fmt.Sprint(coordinates(first)) == fmt.Sprint(coordinates(other)) {
		t.Error("two seeds give the same order of 24 cells")
	}
	if fmt.Sprint(coordinates(first)[:8]) == fmt.Sprint(coordinates(first)[8:16]) {
		t.Error("two repetitions have the same order")
	}
	for r := range 3 {
		seen := map[int]bool{}
		for _, c := range first.Cells[8*r : 8*r+8] {
			if c.Repetition != r+1 || seen[c.Number] {
				t.Errorf("position %d: cell %d, repetition %d", c.Position, c.Number, c.Repetition)
			}
			seen[c.Number] = true
		}
	}
}

// The bound on cells holds for the product before any exclude, and is found
// without building the cells.
func TestTooManyCells(t *testing.T) {
	start := time.Now()
	dims := ""
	for i := range 20 {
		dims += fmt.Sprintf("d%d = range(1000)\n", i)
	}
	refused(t, withMatrix("", dims, tenDevices), experiment.Inputs{}, "more than 100,000 cells")
	if spent := time.Since(start); spent > 20*time.Second {
		t.Errorf("took %v to refuse 10^60 cells", spent)
	}
	refused(t, withMatrix("repetitions = 101", "a = range(1000)", tenDevices), experiment.Inputs{}, "more than 100,000 cells", "1000 values, 101 repetitions")
	if n := len(mustLoad(t, withMatrix("repetitions = 100", "a = range(1000)", tenDevices), experiment.Inputs{}).Plan().Cells); n != 100_000 {
		t.Errorf("%d cells, want the 100,000 that are legal", n)
	}
}

// Devices and customers are split evenly, in contiguous ranges that cover all
// of them once: a gap would be devices that never publish.
func TestShares(t *testing.T) {
	for _, test := range []struct {
		nodes, count int
		want         string
	}{
		{1, 5, "[{iot-1 0 5}]"},
		{2, 5, "[{iot-1 0 3} {iot-2 3 2}]"},
		{3, 1000, "[{iot-1 0 334} {iot-2 334 333} {iot-3 667 333}]"},
		{4, 2, "[{iot-1 0 1} {iot-2 1 1}]"}, // nodes without any are left out
	} {
		nodes := strings.Replace(basicNodes, `"iot" { count = 2`, fmt.Sprintf(`"iot" { count = %d`, test.nodes), 1)
		src := "experiment \"s\" {}\n" + nodes + basicBroker + strings.Replace(tenDevices, "10", fmt.Sprint(test.count), 1) + basicCustomers
		got := mustLoad(t, src, experiment.Inputs{}).Plan().Cells[0].Devices.Shares
		if fmt.Sprint(got) != test.want {
			t.Errorf("%d devices on %d nodes: %v, want %s", test.count, test.nodes, got, test.want)
		}
	}
}

// placed is "node:port" of each instance.
func placed(c experiment.Component) string {
	var parts []string
	for _, i := range c.Instances {
		parts = append(parts, fmt.Sprintf("%s:%d", i.Node, i.Port))
	}
	return strings.Join(parts, " ")
}

// Instances go round the group's nodes and get ports that collide with none.
func TestPlacement(t *testing.T) {
	process := func(name, more string) string {
		return fmt.Sprintf("component %q {\n command = [\"/bin/x\"]\n on = node.worker\n%s\n}\n", name, more)
	}
	tests := []struct {
		name, components string
		want             map[string]string
	}{
		{"the platform on two nodes", basicPlatform, map[string]string{
			"broker": "worker-1:1883", "nats": "worker-2:4222", "stan": "worker-1:4223",
			"gateway": "worker-2:0 worker-1:0", "hub": "worker-1:0",
		}},
		{"instances that share a node take the next ports", strings.Replace(basicBroker, "}", "instances = 5\n}", 1),
			map[string]string{"broker": "worker-1:1883 worker-2:1883 worker-1:1884 worker-2:1884 worker-1:1885"}},
		{"a default port moves up past a given one",
			basicBroker + process("a", "port = 1883\ninstances = 2") + process("b", "port = 1884\ninstances = 2"),
			map[string]string{"broker": "worker-1:1885", "a": "worker-2:1883 worker-1:1883", "b": "worker-1:1884 worker-2:1884"}},
		{"a process without a port listens nowhere", basicBroker + process("a", ""),
			map[string]string{"a": "worker-2:0"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			src := "experiment \"p\" {}\n" + basicNodes + test.components + strings.Replace(tenDevices, "}", "via = component.broker\n}", 1) + basicCustomers
			c := mustLoad(t, src, experiment.Inputs{}).Plan().Cells[0]
			for name, want := range test.want {
				if got := placed(component(t, c, name)); got != want {
					t.Errorf("%s: %s, want %s", name, got, want)
				}
			}
		})
	}
}

// More instances of one component must not move the others, or a cell would
// differ from the next in more than its dimension says.
func TestPlacementIsStable(t *testing.T) {
	src := "experiment \"p\" {\nmatrix {\nn = [1, 2, 3]\n}\n}\n" + basicNodes +
		strings.Replace(basicPlatform, "instances = 2", "instances = cell.n", 1) + tenDevices + basicCustomers
	cells := mustLoad(t, src, experiment.Inputs{}).Plan().Cells
	for _, c := range cells {
		for _, name := range []string{"broker", "nats", "stan", "hub"} {
			if got, want := placed(component(t, c, name)), placed(component(t, cells[0], name)); got != want {
				t.Errorf("cell %d: %s moved from %s to %s", c.Number, name, want, got)
			}
		}
		if n := len(component(t, c, "gateway").Instances); n != c.Number {
			t.Errorf("cell %d has %d gateways", c.Number, n)
		}
	}
}

// Components start after those they need, whatever the order in the file.
func TestStartingOrder(t *testing.T) {
	src := "experiment \"o\" {}\n" + basicNodes + `
component "hub" {
  uses = platform.hub
  on   = node.worker
}
component "gateway" {
  uses = platform.gateway
  on   = node.worker
}
component "stan" {
  uses = platform.stan
  on   = node.worker
}
component "nats" {
  uses = platform.nats
  on   = node.worker
}
component "mosquitto" {
  command = ["/usr/sbin/mosquitto"]
  on      = node.worker
  port    = 1884
}
` + basicBroker + tenDevices + basicCustomers
	c := mustLoad(t, src, experiment.Inputs{}).Plan().Cells[0]
	var names []string
	for _, x := range c.Components {
		names = append(names, x.Name)
	}
	if got := strings.Join(names, " "); got != "nats stan mosquitto broker hub gateway" {
		t.Errorf("starting order: %s", got)
	}
	if links := component(t, c, "hub").Links; links["nats"] != "nats" || links["stan"] != "stan" || links["broker"] != "broker" {
		t.Errorf("the hub's links: %v", links)
	}
	// Where the file says so, a process stands in for the broker.
	src = strings.Replace(src, "uses = platform.gateway", "uses = platform.gateway\n links = { broker = component.mosquitto }", 1)
	c = mustLoad(t, src, experiment.Inputs{}).Plan().Cells[0]
	if got := component(t, c, "gateway").Links["broker"]; got != "mosquitto" {
		t.Errorf("the gateway links to %q", got)
	}
}

// when takes components out of some cells, so that one experiment compares
// brokers.
func TestWhen(t *testing.T) {
	src := "experiment \"w\" {\nmatrix {\nbroker = [\"own\", \"other\"]\n}\n}\n" + basicNodes + `
component "own" {
  uses = platform.broker
  on   = node.worker
  when = cell.broker == "own"
}
component "other" {
  command = ["/usr/sbin/mosquitto"]
  on      = node.worker
  when    = cell.broker == "other"
  port    = 1883
}
locals {
  via = cell.broker == "own" ? "own" : "other"
}
devices {
  on    = node.iot
  count = 10
  via   = cell.broker == "own" ? component.own : component.other
  topic = "${local.via}/{device}"
}
customers {
  on    = node.customer
  count = 1
  via   = cell.broker == "own" ? component.own : component.other
  topic = "${local.via}/+"
}
`
	for i, want := range []string{"own", "other"} {
		c := mustLoad(t, src, experiment.Inputs{}).Plan().Cells[i]
		if len(c.Components) != 1 || c.Components[0].Name != want || c.Devices.Via != want || c.Devices.Topic != want+"/{device}" {
			t.Errorf("cell %d: %v via %s to %s", c.Number, c.Components, c.Devices.Via, c.Devices.Topic)
		}
	}
}

// Defaults are promised in docs/experiment-file.md.
func TestDefaults(t *testing.T) {
	c := mustLoad(t, basic, experiment.Inputs{}).Plan().Cells[3]
	if p := c.Phases; fmt.Sprint(p.Warmup, p.Measure, p.Drain, p.Ready, p.Connect, p.Collect) != "10s 5m0s 15s 30s 1m0s 30s" {
		t.Errorf("phases: %+v", p)
	}
	d := c.Devices
	if d.Via != "broker" || d.QoS != 0 || d.Rate != 1 || d.Arrivals != experiment.ArrivalsConstant || d.Topic != "iot/{customer}/{device}" ||
		d.PayloadSize != 1024 || d.Ramp != 5*time.Second || d.Late != 0 {
		t.Errorf("devices: %+v", d)
	}
	if u := c.Customers; u.Topic != "out/{customer}/#" || u.Receive != experiment.ReceiveOwn || u.Via != "broker" || u.QoS != 0 {
		t.Errorf("customers: %+v", u)
	}
	if g := component(t, c, "gateway"); g.Codec != "json" || g.Queue != 10_000 || g.Timeout != 30*time.Second {
		t.Errorf("gateway: %+v", g)
	}
	// 10 s + 5 min, 5 s to connect, 2 s to drain and 6 s around it.
	if want := 10*time.Second + 5*time.Minute + 5*time.Second + 2*time.Second + 6*time.Second; c.Expected != want {
		t.Errorf("expected %v, want %v", c.Expected, want)
	}
	src := "experiment \"d\" {}\n" + basicNodes + basicBroker + strings.Replace(tenDevices, "10", "10000\nqos = 2", 1) + basicCustomers
	p := mustLoad(t, src, experiment.Inputs{}).Plan()
	c = p.Cells[0]
	if c.Devices.Ramp != 30*time.Second || c.Customers.Topic != "iot/{customer}/#" || c.Customers.QoS != 2 {
		t.Errorf("10,000 devices without a hub: %+v %+v", c.Devices, c.Customers)
	}
	if p.Expected != c.Expected || p.Seed != 1 || p.Repetitions != 1 {
		t.Errorf("%+v", p)
	}
}

// Quantities as people write them.
func TestQuantities(t *testing.T) {
	tests := []struct {
		argument, value string
		want            string // empty where the value is refused with refusal
		refusal         string
	}{
		{"rate", `"1/s"`, "1", ""},
		{"rate", `"0.5/s"`, "0.5", ""},
		{"rate", `"6/min"`, "0.1", ""},
		{"rate", `"36/h"`, "0.01", ""},
		{"rate", `"100 msg/s"`, "100", ""},
		{"rate", `2.5`, "2.5", ""},
		{"rate", `0`, "", "0 is out of range"},
		{"rate", `"0/s"`, "", `"0/s" is out of range`},
		{"rate", `-1`, "", "-1 is out of range"},
		{"rate", `1e7`, "", "10000000 is out of range"},
		{"rate", `1 / 0`, "", "+Inf is out of range"},
		{"rate", `"NaN/s"`, "", "is not a rate"},
		{"rate", `"inf/s"`, "", "is not a rate"},
		{"rate", `"1e3/s"`, "", "is not a rate"},
		{"rate", `"10/m"`, "", `did you mean "10/min"?`},
		{"rate", `"10"`, "", `did you mean "10/s"?`},
		{"rate", `400000`, "400000", ""},
		{"rate", `1000000`, "", "each device would send 310,000,000 messages"},
		{"rate", `true`, "", "a quantity is wanted, and this is true"},
		{"cpu", `"350m"`, "350", ""},
		{"cpu", `0.35`, "350", ""},
		{"cpu", `"1.5"`, "1500", ""},
		{"cpu", `0`, "", "0 is out of range"},
		{"cpu", `"-1"`, "", "is not a share of CPU"},
		{"cpu", `"0.5m"`, "", "out of range"},
		{"cpu", `"350mcpu"`, "", `did you mean "350m"?`},
		{"memory", `"700MiB"`, "734003200", ""},
		{"memory", `"1.5GiB"`, "1610612736", ""},
		{"memory", `"64 KiB"`, "", "out of range"},
		{"memory", `5000000`, "5000000", ""},
		{"memory", `"5MB"`, "5000000", ""},
		{"memory", `"700mib"`, "", `did you mean "700MiB"?`},
		{"memory", `"1e9TiB"`, "", "is not a size"},
		{"memory", `"99999999999TiB"`, "", "out of range"},
		{"ramp", `"1m30s"`, "1m30s", "connecting is spread over 1m30s"},
		{"ramp", `"500ms"`, "500ms", ""},
		{"ramp", `5`, "", `did you mean "5s"?`},
		{"ramp", `"5min"`, "", `did you mean "5m"?`},
		{"ramp", `"1d"`, "", `did you mean "24h"?`},
		{"ramp", `"-5s"`, "", "out of range"},
		{"ramp", `"9999999h"`, "", "is not a duration"},
		{"ramp", `duration(seconds("1m") / 2)`, "30s", ""},
	}
	for _, test := range tests {
		t.Run(test.argument+" "+test.value, func(t *testing.T) {
			argument := fmt.Sprintf("%s = %s\n", test.argument, test.value)
			devices, broker := tenDevices, basicBroker
			if test.argument == "rate" || test.argument == "ramp" {
				devices = strings.Replace(tenDevices, "count", argument+"count", 1)
			} else {
				broker = strings.Replace(basicBroker, "}", "limits {\n"+argument+"}\n}", 1)
			}
			src := "experiment \"q\" {}\n" + basicNodes + broker + devices + basicCustomers
			if test.refusal != "" {
				refused(t, src, experiment.Inputs{}, test.refusal)
				return
			}
			c := mustLoad(t, src, experiment.Inputs{}).Plan().Cells[0]
			limits := component(t, c, "broker").Limits
			got := map[string]any{"rate": c.Devices.Rate, "ramp": c.Devices.Ramp, "cpu": limits.CPU, "memory": limits.Memory}[test.argument]
			if fmt.Sprint(got) != test.want {
				t.Errorf("%s is %v, want %s", test.value, got, test.want)
			}
		})
	}
}

// retry reaches the plan, and more than ten are a slip of the keyboard.
func TestRetryInPlan(t *testing.T) {
	if n := mustLoad(t, withMatrix("retry = 2", "a = [1]", tenDevices), experiment.Inputs{}).Plan().Retry; n != 2 {
		t.Errorf("retry is %d, want 2", n)
	}
	refused(t, withMatrix("retry = 11", "a = [1]", tenDevices), experiment.Inputs{}, "retry: 11 is out of range", "0 to 10")
}

// A plan with a repeat block holds the most cells that there can be, and says
// when fewer do; an interval that cannot exist must be refused before the night
// that is to find it.
func TestRepeat(t *testing.T) {
	repeat := func(arguments string) string {
		return withMatrix("repeat {\n"+arguments+"\n}", "a = [1, 2]", tenDevices)
	}
	for arguments, want := range map[string]string{
		"until = \"latency_p99_ms\"\nat_most = 20":                                  "{latency_p99_ms 0.05 6 20}",
		"until = \"dropped\"\nwithin = \"2.5%\"\nat_most = 10\nat_least = 8":        "{dropped 0.025 8 10}",
		"until = \"achieved_msg_s\"\nwithin = 0.01\nat_most = 6":                    "{achieved_msg_s 0.01 6 6}",
		"until = \"latency_p50_ms\"\nwithin = \"100 %\"\nat_most = 7\nat_least = 7": "{latency_p50_ms 1 7 7}",
	} {
		p := mustLoad(t, repeat(arguments), experiment.Inputs{}).Plan()
		if p.Repeat == nil || fmt.Sprintf("{%s %g %d %d}", p.Repeat.Until, p.Repeat.Within, p.Repeat.AtLeast, p.Repeat.AtMost) != want {
			t.Errorf("%s gives %+v, want %s", arguments, p.Repeat, want)
			continue
		}
		if p.Repetitions != p.Repeat.AtMost || len(p.Cells) != 2*p.Repeat.AtMost {
			t.Errorf("%s: %d repetitions, %d cells", arguments, p.Repetitions, len(p.Cells))
		}
		if one, err := p.Select("cell.a == 1"); err != nil || one.Repeat == nil {
			t.Errorf("a selection of cells forgets the repeat block (%v)", err)
		}
	}
	const whole = "until = \"latency_p99_ms\"\nat_most = 20\n"
	for arguments, want := range map[string]string{
		"at_most = 20":                               "repeat needs the argument until",
		"until = \"latency_p99_ms\"":                 "repeat needs the argument at_most",
		"until = \"latency_p98_ms\"\nat_most = 20":   "did you mean \"latency_p9",
		whole + "at_least = 3":                       "3 repetitions have no 95 % interval of their median",
		"until = \"latency_p99_ms\"\nat_most = 5":    "legal: a whole number from 6 to 1,000",
		whole + "at_least = 21":                      "at_least: 21 is more than at_most, which is 20",
		"until = \"latency_p99_ms\"\nat_most = 1001": "1001 is out of range",
		whole + "within = 5":                         "within: 5 is out of range",
		whole + "within = \"5\"":                     "did you mean \"5%\"?",
		whole + "within = \"0%\"":                    "within: \"0%\" is out of range",
		whole + "within = \"five\"":                  "\"five\" is not a share",
		whole + "within = true":                      "a quantity is wanted",
		whole + "}\nrepetitions = 3\nphases {":       "repetitions: the repeat block says how many there are",
		whole + "}\nrepeat {\n" + whole:              "has a second repeat block",
	} {
		refused(t, repeat(arguments), experiment.Inputs{}, want)
	}
	refused(t, withMatrix("repeat {\n"+strings.Replace(whole, "20", "101", 1)+"}", "a = range(1000)", tenDevices), experiment.Inputs{}, "more than 100,000 cells")
}

// What was hard to say in one golden file: one mistake each, found alone.
func TestRefused(t *testing.T) {
	swap := func(old, new string) string { return strings.Replace(basic, old, new, 1) }
	tests := []struct{ name, src, want string }{
		{"total rate", swap("count = cell.devices", "count = 1000000\nrate = \"100/s\""), "1,000,000 devices at 100 messages a second"},
		{"no broker for via", "experiment \"x\" {}\n" + basicNodes + "component \"p\" {\ncommand = [\"/bin/p\"]\non = node.worker\nport = 1883\n}\n" + tenDevices + strings.Replace(basicCustomers, "count", "via = component.p\ncount", 1), "devices needs the argument via: there are 0 components"},
		{"no nats for stan", "experiment \"x\" {}\n" + basicNodes + basicBroker + "component \"stan\" {\nuses = platform.stan\non = node.worker\n}\n" + tenDevices + basicCustomers, `component "stan" is platform.stan and needs a nats, and there is none`},
		{"uses and command", swap("uses = platform.broker", "uses = platform.broker\ncommand = [\"x\"]"), "has both uses and command"},
		{"neither", swap("uses = platform.broker", ""), "needs the argument uses or command"},
		{"no component left", strings.Replace(withMatrix("", "a = [1]", tenDevices), "uses =", "when = cell.a == 2\nuses =", 1), "no component is left in this cell"},
		{"topic into nats", swap("count = cell.devices", "count = cell.devices\ntopic = \"{device}/{customer}\""), "the gateway cannot take the topic"},
		{"hub in a circle", swap("customers {", "customers {\ntopic = \"iot/{customer}/#\""), `the hub would hand out under "iot" what the gateway takes from "iot"`},
		{"hub and another order of levels", swap("count = cell.devices", "count = cell.devices\ntopic = \"plant/{device}/{customer}\""), `customers subscribe to "out/{customer}/#", and what devices send arrives at "out/{device}/{customer}"`},
		{"template placeholder", swap("count = cell.devices", "count = cell.devices\npayload {\ntemplate = \"{\\\"a\\\": {devise}}\"\n}"), "did you mean {device}?"},
		{"template too long", swap("count = cell.devices", "count = cell.devices\npayload {\nsize = 128\ntemplate = jsonencode({ a = \"0123456789012345678901234567890123456789012345678901234567890123456789\" })\n}"), "raise size"},
		{"own field", swap("count = cell.devices", "count = cell.devices\npayload {\ntemplate = \"{\\\"bela\\\": 1}\"\n}"), `the field "bela" is bela's own`},
		{"wide format", swap("experiment \"test\" {", "experiment \"test\" {\ndescription = format(\"%9999999d\", 1)"), "at most three digits"},
		{"nested for", swap("devices = [1, 100, 500, 1000]", "devices = [for a in [1]: [for b in [1]: [for c in [1]: 1]]]"), "nest deeper than 2"},
		{"growing locals", basic + "locals {\na = range(1000)\nb = [for x in local.a: local.a]\n}\n", "more than 20000 elements"},
		{"infinite dimension", swap("1000]", "1/0]"), "is not finite"},
		{"environment name", basic + "component \"p\" {\ncommand = [\"/bin/p\"]\non = node.worker\nenv = { \"A=B\" = \"1\" }\n}\n", "cannot be an environment variable"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { refused(t, test.src, experiment.Inputs{}, test.want) })
	}
}

// A hub that reads another codec than the gateways write drops every message,
// and the run tells of it only when nothing arrives.
func TestHubReadsWhatGatewaysWrite(t *testing.T) {
	withCodecs := func(gateway, hub string) string {
		src := strings.Replace(basic, "instances = 2", "instances = 2\ncodec = \""+gateway+"\"", 1)
		if hub != "" {
			src = strings.Replace(src, "uses = platform.hub", "uses = platform.hub\ncodec = \""+hub+"\"", 1)
		}
		return src
	}
	p := mustLoad(t, withCodecs("msgpack", ""), experiment.Inputs{}).Plan()
	if hub := component(t, p.Cells[0], "hub"); hub.Codec != "msgpack" {
		t.Errorf("a hub that says nothing reads %s", hub.Codec)
	}
	e := mustLoad(t, withCodecs("msgpack", "json"), experiment.Inputs{})
	if want := `component "hub" reads json, and component "gateway" writes msgpack`; !strings.Contains(detailed(e.Warnings()), want) {
		t.Errorf("warnings: %s, want %q", detailed(e.Warnings()), want)
	}
	if n := len(e.Plan().Cells[0].Components); n != len(p.Cells[0].Components) {
		t.Errorf("%d components in the plan that is warned of", n)
	}
	mustLoad(t, withCodecs("raw", "raw"), experiment.Inputs{})
}
