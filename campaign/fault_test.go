package campaign_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"bela/event"
	"bela/measure"
	"bela/store"
)

// faulty is the small experiment with faults, and a drain that ends soon: what
// faults lose never comes.
func faulty(faults string) string {
	text := fmt.Sprintf(small, "[20]", faults)
	return strings.Replace(text, `drain   = "10s"`, `drain   = "3s"`, 1)
}

// faultRun runs an experiment of one cell with one fault, and returns the cell
// and what the events say of the fault.
func faultRun(t *testing.T, r *rig) (measure.Cell, *store.Reader, event.FaultStarted, event.FaultHealed) {
	t.Helper()
	_, run, err := r.run(t, t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(run.Cells) != 1 {
		t.Fatalf("%d cells", len(run.Cells))
	}
	c := run.Cells[0]
	var started event.FaultStarted
	var healed event.FaultHealed
	for _, e := range r.events.list() {
		switch d := e.Data.(type) {
		case event.FaultStarted:
			started = d
		case event.FaultHealed:
			healed = d
		}
	}
	if !c.Ledger.Closed || spoiled(c) {
		t.Fatalf("the cell is %s: %+v; ledger %+v", c.Verdict, c.Reasons, c.Ledger)
	}
	if len(c.Faults) != 1 || started.Name == "" || c.Faults[0].Started != started.T {
		t.Fatalf("the cell's faults: %+v; begun: %+v", c.Faults, started)
	}
	return c, run, started, healed
}

// noRules demands that no rule of the firewall is about the lab's machines. Runs'
// names do not tell: another test's may begin in the same second.
func (r *rig) noRules(t *testing.T) {
	t.Helper()
	out, err := exec.Command("iptables", "-w", "5", "-S").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range r.lab.Targets() {
		if strings.Contains(string(out), target.Host+"/32") {
			t.Errorf("rules are left about %s:\n%s", target.Host, out)
			return
		}
	}
}

func seconds(v *float64) float64 {
	if v == nil {
		return -1
	}
	return *v
}

// A gateway that stands still for two seconds delays what came in these, and
// everything arrives after: latency, recovery and the arrivals must show it.
func TestTruthFaultPause(t *testing.T) {
	r := newRig(t, faulty(`
fault "the gateways stand still" {
  at  = "2s"
  for = "2s"
  pause { component = component.gateway }
}`), nil, "measure=8s")
	c, run, started, healed := faultRun(t, r)
	f := c.Faults[0]
	if started.T < 3 || started.T > 5 || healed.Lasted < 1.9 || healed.Lasted > 5 || started.Does != "pause" || started.Target != "gateway-1, gateway-2" {
		t.Errorf("begun %+v, healed %+v", started, healed)
	}
	if c.Latency.Max == nil || *c.Latency.Max < 1900 {
		t.Errorf("the largest latency is %v ms beside a pause of 2 s", seconds(c.Latency.Max))
	}
	if f.P99During == nil || *f.P99During < 1000 || f.P99Before == nil || *f.P99Before > 1000 {
		t.Errorf("p99 before %v, during %v", seconds(f.P99Before), seconds(f.P99During))
	}
	if f.RateBefore == nil || *f.RateBefore < 150 || *f.RateBefore > 250 || seconds(f.RateLowest) > 60 || seconds(f.RateLowest) < 0 {
		t.Errorf("rate before %v of 200 msg/s, at least %v", seconds(f.RateBefore), seconds(f.RateLowest))
	}
	if f.Recovery == nil || *f.Recovery > 3 || f.RecoveryFromStart == nil || *f.RecoveryFromStart < 1.9 {
		t.Errorf("recovery %v s, from the start %v s", seconds(f.Recovery), seconds(f.RecoveryFromStart))
	}
	full, err := run.Result(c.Position)
	if err != nil {
		t.Fatal(err)
	}
	still := false
	for _, n := range full.Arrived {
		still = still || n != nil && *n < 60
	}
	if !still {
		t.Errorf("no second of the stored arrivals shows the pause: %d seconds", len(full.Arrived))
	}
}

// A broker that is killed and started again: devices and customers come back,
// what it knew is gone and is not charged to anyone, and the cell is no worse
// for a component that ended as planned.
func TestTruthFaultKill(t *testing.T) {
	r := newRig(t, faulty(`
fault "the broker dies" {
  at  = "2s"
  for = "2s"
  kill { component = component.broker }
}
expect "it comes back" { that = unrecovered == 0 && recovery_s < 8 }
expect "once" { that = component.broker.restarts == 1 && component.gateway.restarts == 0 }
`), nil, "measure=10s")
	c, _, started, healed := faultRun(t, r)
	f := c.Faults[0]
	if started.Does != "kill" || healed.Lasted < 1 || f.Healed == nil {
		t.Errorf("begun %+v, healed %+v", started, healed)
	}
	if f.Recovery == nil || f.RateLowest == nil || *f.RateLowest > 20 {
		t.Errorf("recovery %v s, the poorest second %v", seconds(f.Recovery), seconds(f.RateLowest))
	}
	// 200 a second were due while there was no broker. Whether they are missing as
	// unsent or as dropped depends on who was back first, devices or customers.
	if l := c.Ledger; l.Intended-l.Delivered < 200 {
		t.Errorf("all but %d of %d came, with no broker for 2 s: %+v", l.Intended-l.Delivered, l.Intended, l)
	}
	for _, o := range c.Outcomes {
		if o.State != "held" {
			t.Errorf("expectation %q: %s: %s", o.Name, o.State, o.Message)
		}
	}
	for _, reason := range c.Reasons {
		if reason.Code == "component_exited" || reason.Code == "connections_lost" {
			t.Errorf("the fault speaks against the cell: %+v", reason)
		}
	}
	var charged int64
	for _, l := range c.Losses {
		charged += l.N
		if l.Hop == measure.UnknownHop && !strings.HasPrefix(l.Reason, measure.KilledByFault) {
			t.Errorf("a loss that nobody knows of is charged as %+v", l)
		}
	}
	if charged != c.Ledger.Dropped {
		t.Errorf("%d of %d drops are charged", charged, c.Ledger.Dropped)
	}
	for _, e := range r.events.list() {
		if s, ok := e.Data.(event.ComponentState); ok && s.State == "exited" {
			t.Errorf("a component that a fault ended is told as one that exited: %+v", s)
		}
	}
}

// A network that is cut lets nothing through, and heals even when the agent is
// killed.
func TestFaultCut(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("left out: cutting a network needs root")
	}
	if _, err := exec.LookPath("iptables"); err != nil {
		t.Skip("left out: iptables is missing (Debian: iptables)")
	}
	r := newRig(t, faulty(`
fault "partition" {
  at  = "2s"
  for = "3s"
  cut { between = [node.iot, node.worker] }
}`), nil, "measure=10s")
	c, _, started, healed := faultRun(t, r)
	f := c.Faults[0]
	if len(started.Nodes) != 3 || len(healed.Measured) != 3 || !strings.Contains(strings.Join(healed.Measured, " "), "no answer") {
		t.Errorf("begun %+v, healed %+v", started, healed)
	}
	if f.RateLowest == nil || *f.RateLowest != 0 {
		t.Errorf("%v messages arrived in the poorest second of a cut", seconds(f.RateLowest))
	}
	r.noRules(t)
}

// A fault that cannot be done must not leave a number that looks as if it had
// been.
func TestFaultImpossible(t *testing.T) {
	t.Parallel()
	r := newRig(t, faulty(`
fault "too much" {
  at  = "1s"
  for = "1s"
  pressure {
    on     = node.worker
    memory = "16TiB"
  }
}`), nil)
	_, run, err := r.run(t, t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := run.Cells[0]
	if c.Verdict != measure.Invalid || c.Reasons[0].Code != "fault_failed" || !strings.Contains(c.Reasons[0].Text, "too much") || !strings.Contains(c.Reasons[0].Text, "must stay") {
		t.Errorf("%s: %+v", c.Verdict, c.Reasons)
	}
}

// A run that is broken off in the middle of a fault heals it, and so does an
// agent that is killed.
func TestFaultAgentKilled(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("left out: cutting a network needs root")
	}
	if _, err := exec.LookPath("iptables"); err != nil {
		t.Skip("left out: iptables is missing (Debian: iptables)")
	}
	r := newRig(t, faulty(`
fault "partition" {
  at  = "1s"
  for = "60s"
  cut { between = [node.iot, node.worker] }
}`), nil, "measure=70s")
	r.events.on = func(e event.Event) {
		if _, ok := e.Data.(event.FaultStarted); !ok {
			return
		}
		for _, p := range processes(t, "BELA_DIR="+r.lab.Dir()) {
			var pid int
			if _, err := fmt.Sscan(p, &pid); err == nil && strings.Contains(p, " serve ") {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
	began := time.Now()
	_, run, _ := r.run(t, t.Context()) // how the run ends is told elsewhere
	if took := time.Since(began); took > 60*time.Second {
		t.Errorf("the run went on for %v without agents", took)
	}
	for _, c := range run.Cells {
		if c.Verdict != measure.Invalid {
			t.Errorf("a cell whose agents were killed is %s", c.Verdict)
		}
	}
	r.noRules(t)
}
