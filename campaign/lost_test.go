package campaign_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"bela/agents/transport/mqtt/mqtttest"
	"bela/campaign"
	"bela/campaign/hostiletest"
	"bela/event"
	"bela/measure"
	"bela/nodes/lab"
)

// leases is the block that lets a node be given up soon; in a drill it takes the
// default of two minutes.
func leases() string {
	if drill {
		return ""
	}
	return `
ssh {
  lease = "5s"
  keep  = "10s"
}`
}

// dying is an experiment of two cells that says what to do about lost nodes.
func dying(policy string) string {
	text := fmt.Sprintf(small, "[4, 6]", leases())
	if policy != "" {
		text = strings.Replace(text, "seed = 7", fmt.Sprintf("seed = 7\n  on_node_lost = %q", policy), 1)
	}
	return text
}

// kill ends every process of a node, and its network with it.
func (r *rig) kill(t *testing.T, node string, wire *mqtttest.Proxy) {
	t.Helper()
	wire.Freeze()
	for range 3 { // what a component starts while it is being killed
		for _, p := range processes(t, "BELA_LAB="+r.lab.ID()) {
			number, _, _ := strings.Cut(p, " ")
			pid, err := strconv.Atoi(number)
			if err != nil {
				t.Errorf("process %q: %v", p, err)
				continue
			}
			home, err := os.Readlink(filepath.Join("/proc", number, "cwd"))
			if err == nil && strings.HasPrefix(home+"/", filepath.Join(r.lab.Dir(), node)+"/") {
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
					t.Errorf("kill %s: %v", p, err)
				}
			}
		}
	}
}

// code demands that a cell is invalid for a reason that names a node.
func code(t *testing.T, reasons []measure.Reason, code, node string) {
	t.Helper()
	if !slices.ContainsFunc(reasons, func(r measure.Reason) bool {
		return r.Code == code && r.Verdict == measure.Invalid && strings.Contains(r.Text, node)
	}) {
		t.Errorf("no reason %s names %s: %+v", code, node, reasons)
	}
}

// spares gives the run machines of another lab, which ends with the test.
func (r *rig) spares(t *testing.T, specs ...lab.Spec) *lab.Lab {
	t.Helper()
	l, err := lab.Start(t.Context(), specs, lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	r.config.Spares = l.Targets()
	return l
}

// A node that dies must cost one attempt: the cell runs again on a spare, without
// a retry, and the rest of the campaign with it; the record says so, and the dead
// node is cleaned when it is there again in the end.
func TestSpareTakesOver(t *testing.T) {
	t.Parallel()
	r := newRig(t, dying(""), nil)
	wires := r.wires(t, "worker-1")
	second := r.spares(t, lab.Spec{Name: "worker-spare-1", Group: "worker", Role: "worker"})
	var killed time.Time
	r.atMeasure(1, func() {
		killed = time.Now()
		go r.kill(t, "worker-1", wires["worker-1"])
	})
	watch := r.events.on
	r.events.on = func(e event.Event) {
		watch(e)
		if f, ok := e.Data.(event.CellFinished); ok && f.Cell.Position == 2 {
			wires["worker-1"].Thaw() // it is there again, when all is over
		}
	}
	summary, run, err := r.run(t, t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if summary.Missing != 0 || slices.ContainsFunc(run.Cells, spoiled) || len(run.Cells) != 2 {
		t.Fatalf("summary %+v: %+v", summary, run.Cells)
	}
	r.noticed(t, "worker-1", event.NodeLinkLost, killed)
	states, _ := r.states("worker-1")
	if !inOrder(states, event.NodeLinkLost, event.NodeLost, event.NodeConnecting, event.NodeLost, event.NodeConnecting, event.NodeReplaced, event.NodeReady, event.NodeClean, event.NodeClean) {
		t.Errorf("worker-1 was %v", states)
	}
	first := run.Cells[0]
	if len(first.Attempts) != 2 || first.Attempt != 2 {
		t.Fatalf("the first cell has the attempts %+v", first.Attempts)
	}
	code(t, first.Attempts[0].Reasons, "node_lost", "worker-1")
	for i, c := range run.Cells {
		want := int64([]int{4, 6}[i] * 10 * 3)
		if !c.Ledger.Closed || c.Ledger.Published != want || c.Ledger.Delivered != want {
			t.Errorf("cell %d: ledger %+v, want %d delivered", c.Number, c.Ledger, want)
		}
		if !strings.Contains(fmt.Sprint(c.Notes), "spare") {
			t.Errorf("cell %d does not say that a spare stands in: %q", c.Number, c.Notes)
		}
	}
	changes := run.Environment.Changes
	if len(changes) != 1 || changes[0].Node != "worker-1" || changes[0].What != "replaced" || changes[0].Position != 1 ||
		!strings.Contains(changes[0].By, r.config.Spares[0].Host) {
		t.Errorf("changes %+v", changes)
	}
	if a := run.Environment.Nodes[0].Address; a != r.config.Spares[0].Address {
		t.Errorf("worker-1 is at %s in the record, the spare is %s", a, r.config.Spares[0].Address)
	}
	if left, err := filepath.Glob(filepath.Join(second.Dir(), "*", ".bela*")); err != nil || len(left) > 0 {
		t.Errorf("left on the spare: %v: %v", left, err)
	}
}

// A spare whose agent cannot be used must cost the next spare's turn, and no more: a
// run that ended there would end for a machine that it never needed.
func TestNextSpareTakesOver(t *testing.T) {
	t.Parallel()
	hostile, err := hostileAgent()
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, dying(""), nil)
	r.config.Programs = programs(hostile) // honest where nothing else is asked for
	wires := r.wires(t, "worker-1")
	second := r.spares(t,
		lab.Spec{Name: "worker-spare-1", Group: "worker", Role: "worker", Env: []string{hostiletest.Environment + "=" + string(hostiletest.ClockAtOnce)}},
		lab.Spec{Name: "worker-spare-2", Group: "worker", Role: "worker"})
	r.atMeasure(1, func() { go r.kill(t, "worker-1", wires["worker-1"]) })
	summary, run, err := r.carryOut(t, t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if summary.Missing != 0 || slices.ContainsFunc(run.Cells, spoiled) || len(run.Cells) != 2 {
		t.Fatalf("summary %+v: %+v", summary, run.Cells)
	}
	changes := run.Environment.Changes
	if len(changes) != 1 || changes[0].What != "replaced" || !strings.HasSuffix(changes[0].By, fmt.Sprint(r.config.Spares[1].Port)) {
		t.Errorf("changes %+v, want the one by %+v", changes, r.config.Spares[1])
	}
	if !slices.ContainsFunc(r.events.list(), func(e event.Event) bool {
		m, ok := e.Data.(event.Message)
		return ok && m.Node == "worker-1" && strings.Contains(m.Text, "a spare cannot be used: ") && strings.Contains(m.Text, "broken or hostile")
	}) {
		t.Error("nothing says why the first spare cannot be used")
	}
	if left, err := filepath.Glob(filepath.Join(second.Dir(), "*", ".bela*")); err != nil || len(left) > 0 {
		t.Errorf("left on the spares: %v: %v", left, err)
	}
}

// inOrder tells whether all of want are in states, in that order.
func inOrder(states []string, want ...string) bool {
	for _, s := range states {
		if len(want) > 0 && s == want[0] {
			want = want[1:]
		}
	}
	return len(want) == 0
}

// Where the file allows it, a campaign goes on without a dead node: the others of
// its group do its work, and every result says so. What could not be cleaned is
// told, with what to do about it.
func TestGoesOnWithout(t *testing.T) {
	t.Parallel()
	r := newRig(t, dying("without"), nil)
	wires := r.wires(t, "iot-2")
	var killed time.Time
	r.atMeasure(1, func() {
		killed = time.Now()
		go r.kill(t, "iot-2", wires["iot-2"])
	})
	summary, run, err := r.carryOut(t, t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if summary.Missing != 0 || slices.ContainsFunc(run.Cells, spoiled) || len(run.Cells) != 2 {
		t.Fatalf("summary %+v: %+v", summary, run.Cells)
	}
	r.noticed(t, "iot-2", event.NodeLinkLost, killed)
	if states, _ := r.states("iot-2"); !inOrder(states, event.NodeLinkLost, event.NodeLost, event.NodeRemoved) {
		t.Errorf("iot-2 was %v", states)
	}
	for i, c := range run.Cells {
		want := int64([]int{4, 6}[i] * 10 * 3)
		if !c.Ledger.Closed || c.Ledger.Published != want || c.Ledger.Delivered != want {
			t.Errorf("cell %d: ledger %+v, want %d delivered", c.Number, c.Ledger, want)
		}
		if !strings.Contains(fmt.Sprint(c.Notes), "without node iot-2") {
			t.Errorf("cell %d does not say that iot-2 is missing: %q", c.Number, c.Notes)
		}
	}
	if changes := run.Environment.Changes; len(changes) != 1 || changes[0].What != "removed" {
		t.Errorf("changes %+v", changes)
	}
	told := false
	for _, e := range r.events.list() {
		m, ok := e.Data.(event.Message)
		told = told || ok && m.Node == "iot-2" && strings.Contains(m.Text, "not clean") && strings.Contains(m.Next, "bela clean")
	}
	if !told {
		t.Error("nothing says that iot-2 is not clean")
	}
	home := filepath.Join(r.lab.Dir(), "iot-2")
	if err := os.RemoveAll(filepath.Join(home, ".bela")); err != nil {
		t.Error(err)
	}
	r.assertClean(t)
}

// Without a spare, and without leave to go on, a dead node ends the campaign with
// the status of a node that cannot be reached, and the cell tells why.
func TestStopsWhenANodeIsLost(t *testing.T) {
	t.Parallel()
	r := newRig(t, dying("stop"), nil)
	wires := r.wires(t, "customer-2")
	r.atMeasure(1, func() { go r.kill(t, "customer-2", wires["customer-2"]) })
	watch := r.events.on
	ended := false
	r.events.on = func(e event.Event) {
		watch(e)
		if _, ok := e.Data.(event.CellFinished); ok {
			ended = true
		}
		if s, ok := e.Data.(event.NodeState); ok && s.Node == "customer-2" && s.State == event.NodeLost && ended {
			wires["customer-2"].Thaw() // for the release alone
		}
	}
	summary, run, err := r.run(t, t.Context())
	if err == nil || summary.Status != campaign.Unreachable || summary.Missing != 1 || !strings.Contains(err.Error(), "customer-2") {
		t.Errorf("summary %+v: %v", summary, err)
	}
	if len(run.Cells) != 1 {
		t.Fatalf("%d cells", len(run.Cells))
	}
	code(t, run.Cells[0].Reasons, "node_lost", "customer-2")
}
