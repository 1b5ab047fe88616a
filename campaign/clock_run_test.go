package campaign_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"bela/agents/clock"
	"bela/measure"
	"bela/store"
)

// clocked is a load between clocks that are wrong. Each node's times are far off
// the others'; only the correction makes latencies of them.
const clocked = `
experiment "clocked" {
  seed = 7
  phases {
    warmup  = "1s"
    measure = "%s"
    drain   = "5s"
  }
}
node "worker"   { count = 1 }
node "iot"      { count = 2 }
node "customer" { count = 2 }
component "broker" {
  uses = platform.broker
  on   = node.worker
}
devices {
  on    = node.iot
  count = 20
  via   = component.broker
  rate  = "20/s"
  payload { size = 300 }
}
customers {
  on    = node.customer
  count = 4
  via   = component.broker
}
`

// runClocked runs one cell whose nodes' clocks have these errors.
func runClocked(t *testing.T, length string, errors map[string]string) store.CellResult {
	t.Helper()
	env := make(map[string][]string)
	for node, e := range errors {
		env[node] = []string{clock.Environment + "=" + e}
	}
	_, run, err := newRig(t, fmt.Sprintf(clocked, length), env).run(t, t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(run.Cells) != 1 {
		t.Fatalf("%d cells, want one", len(run.Cells))
	}
	c, err := run.Result(run.Cells[0].Position)
	if err != nil {
		t.Fatal(err)
	}
	if !c.Cell.Ledger.Closed || c.Cell.Ledger.Delivered == 0 || c.Cell.Service.P50 == nil || c.Cell.ClockErrorMS == nil {
		t.Fatalf("the cell measured nothing: %+v, %+v", c.Cell.Ledger, c.Cell.Reasons)
	}
	return c
}

// Nobody's clocks agree. Latencies between nodes whose clocks are 200 ms apart,
// and part by 100 µs each second, must be those that right clocks would show.
func TestTruthClockErrorsAreRemoved(t *testing.T) {
	for try := range 3 { // a busy machine may slow one of the two runs down
		right := runClocked(t, "4s", nil)
		wrong := runClocked(t, "4s", map[string]string{
			"iot-1": "+100ms,50ppm", "iot-2": "+100ms,50ppm",
			"customer-1": "-100ms,-50ppm", "customer-2": "-100ms,-50ppm",
		})
		apart := math.Abs(*wrong.Cell.Service.P50 - *right.Cell.Service.P50)
		error := *right.Cell.ClockErrorMS + *wrong.Cell.ClockErrorMS
		t.Logf("service p50 %.3f ms with right clocks, %.3f ms with wrong ones, clock errors %.3f and %.3f ms; latency p50 %.3f and %.3f ms; negative %d and %d",
			*right.Cell.Service.P50, *wrong.Cell.Service.P50, *right.Cell.ClockErrorMS, *wrong.Cell.ClockErrorMS,
			*right.Cell.Latency.P50, *wrong.Cell.Latency.P50, right.Cell.NegativeLatencies, wrong.Cell.NegativeLatencies)
		assertClocks(t, wrong)
		// On an idle machine the error is well below 1 ms. Under load the round
		// trips of the probes grow, and the bound with them.
		good := apart <= 1.5+error && *wrong.Cell.ClockErrorMS < 3 && wrong.Cell.NegativeLatencies == 0
		if good {
			return
		}
		t.Logf("try %d is not good enough", try+1)
	}
	t.Error("wrong clocks show in the latencies")
}

// assertClocks demands that the stored probes show the planted errors, and that
// fitting them again gives what the cell says.
func assertClocks(t *testing.T, c store.CellResult) {
	t.Helper()
	if len(c.Clocks) != 5 {
		t.Fatalf("%d nodes' clocks are kept, want 5", len(c.Clocks))
	}
	byNode := make(map[string]measure.ClockFit)
	for _, n := range c.Clocks {
		fit, err := measure.FitClock(n.Probes)
		if err != nil || fit.Offset != n.Fit.Offset || fit.Epoch != n.Fit.Epoch || fit.Drift != n.Fit.Drift || fit.Error != n.Fit.Error {
			t.Errorf("node %s: the stored probes fit to %+v, the cell says %+v (%v)", n.Node, fit, n.Fit, err)
		}
		if len(n.Probes) < 2*24+4 || n.Applied == (measure.TimeAxis{}) {
			t.Errorf("node %s: %d probes and axis %+v are kept", n.Node, len(n.Probes), n.Applied)
		}
		byNode[n.Node] = fit
	}
	for node, ahead := range map[string]float64{"iot-1": 100e6, "iot-2": 100e6, "customer-1": -100e6, "customer-2": -100e6} {
		// The drift has added up to 50 µs for each second since the agent's start.
		fit := byNode[node]
		if off := math.Abs(float64(fit.Offset) + ahead); off > float64(fit.Error)+60*50e3 {
			t.Errorf("node %s: its clock is off by %v, planted were %v", node, time.Duration(-fit.Offset), time.Duration(ahead))
		}
	}
}

// A clock that somebody sets while a cell runs makes latencies of that moment
// uncertain; a user must be told, and on which node.
func TestTruthClockStepIsTold(t *testing.T) {
	c := runClocked(t, "12s", map[string]string{"iot-2": "step=40ms@10s"})
	var steps []measure.ClockStep
	for _, n := range c.Clocks {
		if n.Node == "iot-2" {
			steps = n.Fit.Steps
		} else if len(n.Fit.Steps) > 0 {
			t.Errorf("node %s: steps %+v, none was planted", n.Node, n.Fit.Steps)
		}
	}
	if len(steps) != 1 {
		t.Fatalf("steps %+v, want one", steps)
	}
	if by := float64(-steps[0].By); math.Abs(by-40e6) > 5e6 {
		t.Errorf("a step by %v, planted were 40 ms", time.Duration(by))
	}
	if c.Cell.Verdict == measure.Valid {
		t.Error("the verdict is valid")
	}
	told := false
	for _, r := range c.Cell.Reasons {
		if r.Code == "clock_step" {
			told = true
			if r.Verdict != measure.Degraded || !strings.Contains(r.Text, "iot-2 by 3") && !strings.Contains(r.Text, "iot-2 by 4") || strings.Contains(r.Text, "iot-1") {
				t.Errorf("the reason is %+v", r)
			}
		}
	}
	if !told {
		t.Errorf("no reason clock_step: %+v", c.Cell.Reasons)
	}
	// Only the second of the step is uncertain; the rest is corrected, so the
	// medians stay far from the 40 ms.
	t.Logf("service p50 %.3f ms, latency p50 %.3f ms, clock error %.3f ms, %+v", *c.Cell.Service.P50, *c.Cell.Latency.P50, *c.Cell.ClockErrorMS, c.Cell.Reasons)
	if *c.Cell.Latency.P50 > 20 {
		t.Errorf("latency p50 %.3f ms: the step is in it", *c.Cell.Latency.P50)
	}
	if *c.Cell.ClockErrorMS < 35 {
		t.Errorf("clock error %.3f ms does not cover the second of a 40 ms step", *c.Cell.ClockErrorMS)
	}
}
