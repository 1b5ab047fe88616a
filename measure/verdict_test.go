package measure

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the verdict's table into docs/metrics.md")

func number(v float64) *float64 { return &v }

// sound is the evidence of a cell that nothing speaks against.
func sound() Evidence {
	return Evidence{
		Ledger:      Ledger{Intended: 100, Published: 100, Expected: 100, Delivered: 100, Closed: true},
		OfferedRate: number(100), AchievedRate: number(99.5),
		Lateness: number(1), LatencyP50: number(5), ClockError: number(0.1),
		Latencies: 1000, Negative: 1,
		Nodes:      []NodeLoad{{"worker-1", 80, 1}},
		Generators: []GeneratorLoad{{"iot-1", 80, 100}},
		Health:     []NodeHealth{{Node: "worker-1"}, {Node: "iot-1", Load: true, AgentCPU: 79, GCPausePercent: 0.9, GCPauseMaxMS: 9}},
		FirstP50:   number(5), LastP50: number(6),
	}
}

// A wrong number that passes as valid is the worst thing bela can do; a good
// one thrown away is the next. Each row changes one thing.
func TestJudge(t *testing.T) {
	tests := []struct {
		name    string
		change  func(*Evidence)
		verdict Verdict
		code    string
		text    string // value and threshold
	}{
		{"nothing speaks against it", func(*Evidence) {}, Valid, "", ""},
		{"a lost agent", func(e *Evidence) { e.LostAgents = []string{"iot-2"} }, Invalid, "agent_lost", "agent lost iot-2 (invalid if any node's agent"},
		{"lost samples", func(e *Evidence) { e.LostEvents = []string{"iot-2 (17)"} }, Degraded, "events_lost", "samples lost of iot-2 (17) (degraded if more than 0"},
		{"a lost node", func(e *Evidence) { e.LostNodes = []string{"iot-2"} }, Invalid, "node_lost", "lost iot-2 (invalid if any node"},
		{"missing books", func(e *Evidence) { e.MissingBooks = []string{"customer-1"} }, Invalid, "books_missing", "customer-1"},
		{"unknown fates", func(e *Evidence) { e.Ledger.Unknown = 4 }, Invalid, "books_missing", "4 deliveries"},
		{"a phantom", func(e *Evidence) { e.Ledger.Phantom = 2 }, Invalid, "phantom", "2 deliveries"},
		{"an open ledger", func(e *Evidence) { e.Ledger.Closed, e.Ledger.Open = false, "3 is not 4" }, Invalid, "ledger_open", "3 is not 4"},
		{"nothing delivered", func(e *Evidence) { e.Ledger.Delivered = 0 }, Invalid, "nothing_delivered", "0 of 100"},
		{"all late is still delivered", func(e *Evidence) { e.Ledger.Delivered, e.Ledger.Late = 0, 100 }, Valid, "", ""},
		{"98.9 % achieved", func(e *Evidence) { e.AchievedRate = number(98.9) }, Degraded, "load_not_achieved", "98.9 % (degraded below 99 %"},
		{"94.9 % achieved", func(e *Evidence) { e.AchievedRate = number(94.9) }, Invalid, "load_not_achieved", "94.9 % (invalid below 95 %"},
		{"no rate was taken", func(e *Evidence) { e.AchievedRate = nil }, Valid, "", ""},
		{"late by 11 ms, latency 50 ms", func(e *Evidence) { e.Lateness, e.LatencyP50 = number(11), number(50) }, Degraded, "generator_late", "11 ms (degraded above 10 ms"},
		{"late by 101 ms", func(e *Evidence) { e.Lateness = number(101) }, Invalid, "generator_late", "101 ms (invalid above 100 ms"},
		{"late by more than the latency", func(e *Evidence) { e.Lateness, e.LatencyP50 = number(3), number(2.5) }, Degraded, "generator_late", "beside a median latency of 2.5 ms"},
		{"Go's timers beside a fast broker", func(e *Evidence) { e.Lateness, e.LatencyP50 = number(1.1), number(0.5) }, Valid, "", ""},
		{"clock error above the latency", func(e *Evidence) { e.ClockError = number(5.1) }, Degraded, "clock_error", "5.1 ms beside a median latency of 5 ms"},
		{"a clock step", func(e *Evidence) { e.ClockSteps = []string{"iot-1"} }, Degraded, "clock_step", "iot-1"},
		{"0.2 % negative", func(e *Evidence) { e.Negative = 2 }, Degraded, "negative_latency", "0.2 % (degraded above 0.1 %"},
		{"steal", func(e *Evidence) { e.Nodes[0].Steal = 5.5 }, Degraded, "cpu_steal", "worker-1 5.5 % (degraded above 5 %"},
		{"CPU saturated", func(e *Evidence) { e.Nodes[0].CPU = 91 }, Degraded, "cpu_saturated", "worker-1 91 % (degraded above 90 %"},
		{"CPU saturated on the loopback lab", func(e *Evidence) {
			e.SharedMachine, e.Nodes = true, []NodeLoad{{"a", 91, 0}, {"b", 92, 0}}
		}, Degraded, "cpu_saturated", "the machine that all nodes share is 92 %"},
		{"one dropped packet", func(e *Evidence) { e.Health[0].PacketsDropped = 1 }, Degraded, "packets_dropped", "worker-1 1 packets (degraded if"},
		{"dropped packets on the loopback lab: every node counts the same ones", func(e *Evidence) {
			e.SharedMachine, e.Health[0].PacketsDropped, e.Health[1].PacketsDropped = true, 7, 7
		}, Degraded, "packets_dropped", "the machine that all nodes share: 7 packets"},
		{"an accept queue was full", func(e *Evidence) { e.Health[0].ListenOverflows = 3 }, Degraded, "listen_overflow", "worker-1 3 connections"},
		{"a device lost its connection", func(e *Evidence) { e.Health[1].ConnectionsLost = 2 }, Degraded, "connections_lost", "iot-1 2 connections"},
		{"connections are a node's own, also on the lab", func(e *Evidence) {
			e.SharedMachine, e.Health[1].ConnectionsLost = true, 2
		}, Degraded, "connections_lost", "lost on iot-1 2"},
		{"81 % of what the generator can do", func(e *Evidence) { e.Generators[0].Planned = 81 }, Degraded, "generator_capacity", "planned 81 of 100 msg/s on iot-1 (degraded above 80 %"},
		{"a generator that held nothing", func(e *Evidence) { e.Generators[0].Capable = 0 }, Degraded, "generator_capacity", "80 of 0 msg/s"},
		{"the generator fills its node", func(e *Evidence) { e.Health[1].AgentCPU = 81 }, Degraded, "agent_cpu", "iot-1 81 % (degraded above 80 %"},
		{"a busy agent without load times nothing", func(e *Evidence) { e.Health[0].AgentCPU, e.Health[0].GCPauseMaxMS = 95, 50 }, Valid, "", ""},
		{"garbage collection takes 1.1 % of the time", func(e *Evidence) { e.Health[1].GCPausePercent = 1.1 }, Degraded, "agent_gc", "iot-1 1.1 % of the window"},
		{"one long pause", func(e *Evidence) { e.Health[1].GCPauseMaxMS = 11 }, Degraded, "agent_gc", "11 ms at once (degraded above 1 %"},
		{"limits not enforced", func(e *Evidence) { e.Unenforced = []string{"broker/1: no cgroups"} }, Degraded, "limits_not_enforced", "no cgroups"},
		{"a component exited", func(e *Evidence) { e.Exited = []string{"hub/1"} }, Invalid, "component_exited", "hub/1"},
		{"the same where restarts are allowed", func(e *Evidence) { e.Exited, e.RestartsAllowed = []string{"hub/1"}, true }, Degraded, "component_exited", "hub/1"},
		{"the latency still grows", func(e *Evidence) { e.LastP50 = number(10.5) }, Degraded, "not_steady", "from 5 ms"},
		{"the warm-up ends before the transient", func(e *Evidence) { e.WarmUp = &WarmUp{Given: 10, Needed: 20, First: 9, Steady: 5, Spread: 1} }, Degraded, "warmup_too_short", "20 s (MSER-5)"},
		{"a factor of 3 within 1 ms is noise", func(e *Evidence) { e.FirstP50, e.LastP50 = number(0.2), number(0.6) }, Valid, "", ""},
	}
	covered := map[string]bool{}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := sound()
			tt.change(&e)
			verdict, reasons := Judge(e)
			if verdict != tt.verdict {
				t.Fatalf("%s %+v, want %s", verdict, reasons, tt.verdict)
			}
			if tt.code == "" {
				if len(reasons) != 0 {
					t.Fatalf("reasons %+v", reasons)
				}
				return
			}
			if len(reasons) != 1 || reasons[0].Code != tt.code || reasons[0].Verdict != tt.verdict || !strings.Contains(reasons[0].Text, tt.text) {
				t.Fatalf("reasons %+v, want one %s with %q", reasons, tt.code, tt.text)
			}
			covered[tt.code+string(tt.verdict)] = true
		})
	}
	for _, r := range DefaultThresholds().Rules() {
		if !covered[r.Code+string(r.Verdict)] {
			t.Errorf("no row shows that %s makes a cell %s", r.Code, r.Verdict)
		}
	}
}

// A reader looks at the first reason first: it must be the gravest.
func TestJudgePutsTheGravestFirst(t *testing.T) {
	e := sound()
	e.ClockSteps, e.Lateness = []string{"iot-1"}, number(500)
	verdict, reasons := Judge(e)
	if verdict != Invalid || len(reasons) != 2 || reasons[0].Code != "generator_late" {
		t.Errorf("%s %+v", verdict, reasons)
	}
	if verdict, reasons := Judge(Evidence{}); verdict != Invalid || len(reasons) == 0 {
		t.Errorf("no evidence at all is %s", verdict)
	}
}

// The page that users read about the verdict must say what the code does.
func TestDocumentedRules(t *testing.T) {
	var table, steps strings.Builder
	table.WriteString("| reason | verdict | when |\n| --- | --- | --- |\n")
	seen := map[string]bool{}
	for _, r := range DefaultThresholds().Rules() {
		table.WriteString("| `" + r.Code + "` | " + string(r.Verdict) + " | " + r.When + " |\n")
		if !seen[r.Code] {
			steps.WriteString("- `" + r.Code + "`: " + NextStep(r.Code) + ".\n")
		}
		seen[r.Code] = true
	}
	documented(t, "rules", table.String())
	documented(t, "next steps", steps.String())
}

// documented demands text in the page, between two comments that name it.
func documented(t *testing.T, name, text string) {
	t.Helper()
	const path = "../docs/metrics.md"
	begin, end := "<!-- "+name+" -->\n", "<!-- /"+name+" -->"
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(page), begin)
	there, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has nothing between %q and %q", path, begin, end)
	}
	if *update {
		if err := os.WriteFile(path, []byte(before+begin+text+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if there != text {
		t.Errorf("%s differs from the code; run go test ./measure -update and look at the difference:\n%s", path, text)
	}
}

// Whoever reads a reason must be told what to do about it, and of nothing else.
func TestEveryReasonHasANextStep(t *testing.T) {
	codes := map[string]bool{"cell_failed": true, "fault_failed": true}
	for _, r := range DefaultThresholds().Rules() {
		codes[r.Code] = true
	}
	for code := range codes {
		if NextStep(code) == "" || strings.HasSuffix(NextStep(code), ".") {
			t.Errorf("%s: next step %q", code, NextStep(code))
		}
	}
	for code := range nextSteps {
		if !codes[code] {
			t.Errorf("a next step for %s, which no cell has", code)
		}
	}
}

// The columns are the contract: the page must explain each of them.
func TestDocumentedColumns(t *testing.T) {
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	columns := strings.FieldsFunc(`cell,repetition,verdict,reason,started_at,measured_s,published,acked,delivered,dropped,duplicated,reordered,late,unknown,
drops_per_5min,offered_msg_s,achieved_msg_s,delivered_msg_s,latency_mean_ms,latency_p50_ms,latency_p95_ms,latency_p99_ms,latency_p999_ms,latency_max_ms,
clock_error_ms,lateness_p99_ms,broker_in_Bps,broker_out_Bps,gateway_in_Bps,gateway_out_Bps,hub_in_Bps,component,instance,node,cpu_mcpu_mean,cpu_mcpu_p95,
cpu_mcpu_max,memory_mib_mean,memory_mib_max,net_in_Bps,net_out_Bps,restarts,cpu_throttled_s,oom_kills,memory_mib_peak,net_source,in_msg_s,out_msg_s,in_message_B,out_message_B,share,share_max_over_mean,share_cv,t_s,latency_p5_ms,phase`, func(r rune) bool { return r == ',' || r == '\n' })
	for _, c := range slices.Compact(slices.Sorted(slices.Values(columns))) {
		if !strings.Contains(string(page), "`"+c+"`") {
			t.Errorf("docs/metrics.md does not explain %s", c)
		}
	}
}
