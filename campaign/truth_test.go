package campaign_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bela/event"
	"bela/measure"
	"bela/store"
)

// relayed is a broker with the relay on one side of it: 20 devices with 20
// messages a second each. All messages are measured, so that what the relay
// counts is what the ledger should.
const relayed = `
experiment "relayed" {
  seed = 7
  matrix { delay = %s }
  phases {
    warmup  = "0s"
    measure = "4s"
    drain   = "4s"
  }
}
node "worker"   { count = 1 }
node "iot"      { count = 2 }
node "customer" { count = 1 }
component "broker" {
  uses = platform.broker
  on   = node.worker
}
component "relay" {
  on      = node.worker
  command = [%s]
  port    = 2883
  links   = { broker = component.broker }
}
devices {
  on    = node.iot
  count = 20
  via   = component.%s
  qos   = %d
  rate  = "20/s"
  payload { size = 300 }
}
customers {
  on    = node.customer
  count = 4
  via   = component.%s
  qos   = 0
}
`

// offered is how many messages the relayed experiment intends a second.
const offered = 20 * 20

// doings are lines of the relay's report.
type doing struct {
	Did      string
	N        int64
	Cell     uint32
	Device   int
	Sequence uint32
	Intended int64
}

// relayRun is a run with a relay in it, and what the relay says that it did.
type relayRun struct {
	cells []store.CellResult
	did   []doing
}

func (r relayRun) count(did string, keep func(doing) bool) (n int64) {
	for _, d := range r.did {
		if d.Did == did && (keep == nil || keep(d)) {
			n++
		}
	}
	return n
}

// relay runs the experiment with the relay between devices and broker (up) or
// between broker and customers, and reads back what both say.
func relay(t *testing.T, up bool, qos int, delays string, orders ...string) relayRun {
	t.Helper()
	dir := t.TempDir()
	program, report := filepath.Join(dir, "relay"), filepath.Join(dir, "report.jsonl")
	if out, err := exec.Command("go", "build", "-o", program, "bela/campaign/relaytest").CombinedOutput(); err != nil {
		t.Fatalf("build the relay: %v\n%s", err, out)
	}
	words := append([]string{program, "-report", report}, orders...)
	devices, customers := "broker", "relay"
	if up {
		words = append(words, "-up")
		devices, customers = "relay", "broker"
	}
	for i, w := range words {
		words[i] = `"` + w + `"`
	}
	r := newRig(t, fmt.Sprintf(relayed, delays, strings.Join(words, ", "), devices, qos, customers), nil)
	_, run, err := r.run(t, t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var result relayRun
	for _, c := range run.Cells {
		full, err := run.Result(c.Position)
		if err != nil {
			t.Fatal(err)
		}
		l := c.Ledger
		if !l.Closed || l.Delivered+l.Dropped+l.Late != l.Expected || l.Expected != l.Published || l.Published == 0 || l.Phantom != 0 {
			t.Fatalf("cell %d: the ledger does not close: %+v; %+v", c.Number, l, c.Reasons)
		}
		result.cells = append(result.cells, full)
	}
	f, err := os.Open(report)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for d := json.NewDecoder(f); ; {
		var line doing
		if err := d.Decode(&line); errors.Is(err, io.EOF) {
			return result
		} else if err != nil {
			t.Fatalf("the relay's report: %v", err)
		}
		result.did = append(result.did, line)
	}
}

// A platform that takes 40 ms longer must show in the latencies as exactly that;
// otherwise no comparison of two platforms means anything.
func TestTruthDelayShowsInTheMedian(t *testing.T) {
	var by float64
	for range 3 { // a busy machine may disturb one of the two cells
		r := relay(t, false, 0, "[0, 40]", "-delay", "${cell.delay}ms")
		if len(r.cells) != 2 {
			t.Fatalf("%d cells, want 2", len(r.cells))
		}
		without, with := r.cells[0].Cell, r.cells[1].Cell
		if without.Latency.Count != 4*offered || with.Latency.Count != 4*offered {
			t.Fatalf("%d and %d latencies, want %d each", without.Latency.Count, with.Latency.Count, 4*offered)
		}
		by = *with.Latency.P50 - *without.Latency.P50
		service := *with.Service.P50 - *without.Service.P50
		t.Logf("p50 %.3f ms without, %.3f ms with: %.3f ms more; service %.3f ms more", *without.Latency.P50, *with.Latency.P50, by, service)
		if math.Abs(by-40) <= 1 && math.Abs(service-40) <= 1 {
			return
		}
	}
	t.Errorf("40 ms on the way moved the median by %.3f ms", by)
}

// A platform that stands still for two seconds must not hide it: each message
// that was to be sent meanwhile has waited from its intended time on.
func TestTruthStallShowsInFull(t *testing.T) {
	r := relay(t, false, 0, "[0]", "-stall-after", fmt.Sprint(offered), "-stall", "2s")
	c := r.cells[0]
	if n := r.count("stall", nil); n != 1 {
		t.Fatalf("the relay stalled %d times", n)
	}
	q := c.Cell.Latency
	above := above(c.Latency, 500e6)
	t.Logf("p50 %.1f ms, p99 %.1f ms, max %.1f ms, %d of %d above 500 ms", *q.P50, *q.P99, *q.Max, above, q.Count)
	if *q.Max < 1900 || *q.Max > 3000 || *q.P99 < 1900 {
		t.Errorf("max %.1f ms and p99 %.1f ms after a stall of 2000 ms", *q.Max, *q.P99)
	}
	if want := 1.5 * offered; math.Abs(float64(above)-want) > 0.15*want {
		t.Errorf("%d messages above 500 ms, want about the %.0f that were due in the first 1.5 s of the stall", above, want)
	}
	if c.Cell.Ledger.Dropped != 0 {
		t.Errorf("%d dropped: a stall loses nothing", c.Cell.Ledger.Dropped)
	}
}

// When the generator itself stands still, nothing is sent, and a tool that
// counts from the actual sending would see nothing wrong (coordinated omission).
// Latency counts from the intended time, so the standstill must show in full,
// and the verdict must say whose fault it was.
func TestTruthGeneratorStallIsNotHidden(t *testing.T) {
	r := newRig(t, fmt.Sprintf(clocked, "5s"), nil)
	var once sync.Once
	var stalls sync.WaitGroup
	r.events.on = func(e event.Event) {
		if p, ok := e.Data.(event.PhaseStarted); ok && p.Phase == event.PhaseMeasure {
			once.Do(func() { stalls.Go(func() { stopAgent(t, r, "iot-1", time.Second, 2*time.Second) }) })
		}
	}
	_, run, err := r.run(t, t.Context())
	stalls.Wait()
	if err != nil {
		t.Fatal(err)
	}
	c, err := run.Result(1)
	if err != nil {
		t.Fatal(err)
	}
	above, service := above(c.Latency, 500e6), above(c.Service, 500e6)
	t.Logf("latency max %.0f ms with %d above 500 ms, service %d above; %+v", *c.Cell.Latency.Max, above, service, c.Cell.Reasons)
	// iot-1 runs half of the devices.
	if want := 1.5 * offered / 2; *c.Cell.Latency.Max < 1900 || math.Abs(float64(above)-want) > 0.2*want {
		t.Errorf("max %.0f ms and %d above 500 ms, want 2 s and about %.0f", *c.Cell.Latency.Max, above, want)
	}
	if l := c.Cell.Ledger; !l.Closed || l.Intended != 5*offered || l.Delivered+l.Unsent != l.Intended {
		t.Errorf("ledger %+v", l)
	}
	if float64(service) > 0.1*float64(above) {
		t.Errorf("%d service times above 500 ms: those count from the actual sending", service)
	}
	if !strings.Contains(fmt.Sprint(c.Cell.Reasons), "generator_late") {
		t.Errorf("the generator is not blamed: %+v", c.Cell.Reasons)
	}
}

// stopAgent stops a node's agent after a while, for a while.
func stopAgent(t *testing.T, r *rig, node string, after, length time.Duration) {
	time.Sleep(after) // into the measured window
	for _, p := range processes(t, "BELA_LAB="+r.lab.ID()) {
		if !strings.Contains(p, " serve ") || !strings.Contains(p, "/"+node+"/") {
			continue
		}
		pid, err := strconv.Atoi(p[:strings.IndexByte(p, ' ')])
		if err != nil {
			t.Errorf("process %q: %v", p, err)
			return
		}
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Errorf("stop %s: %v", p, err)
		}
		time.Sleep(length)
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			t.Errorf("continue %s: %v", p, err)
		}
		return
	}
	t.Errorf("node %s has no agent to stop", node)
}

// A customer that reads more slowly than messages come makes a queue grow. It
// must show in latencies that grow to what the arithmetic says, and be told as
// a cell that is not steady.
func TestTruthSlowCustomer(t *testing.T) {
	const slow = 20_000 // bytes/s for each of the four customers
	r := relay(t, false, 0, "[0]", "-slow", fmt.Sprint(slow))
	c := r.cells[0].Cell
	// 300 bytes of payload, and 12.5 of MQTT's header and the topic.
	want := offered*4/4*312.5/slow*1000 - 4000
	t.Logf("p50 %.0f ms, max %.0f ms, want a max of %.0f ms; %+v", *c.Latency.P50, *c.Latency.Max, want, c.Reasons)
	if math.Abs(*c.Latency.Max-want) > 0.15*want {
		t.Errorf("the last message waited for %.0f ms, want %.0f", *c.Latency.Max, want)
	}
	if c.Ledger.Dropped != 0 {
		t.Errorf("%d dropped, with time enough to pass on all", c.Ledger.Dropped)
	}
	steady := true
	for _, reason := range c.Reasons {
		steady = steady && reason.Code != "not_steady"
	}
	if steady {
		t.Errorf("no reason says that the cell is not steady: %+v", c.Reasons)
	}
}

// above counts the values above a bound.
func above(h *measure.Histogram, ns float64) (n int64) {
	for i := range h.Count() {
		if v, ok := h.Quantile((float64(i) + 0.5) / float64(h.Count())); ok && v > ns {
			n++
		}
	}
	return n
}

// What a platform loses, doubles and mixes up is what it is judged by: the
// counts must be exact, in sum and for each device.
func TestLossesAreExact(t *testing.T) {
	r := relay(t, false, 0, "[0]", "-drop", "97", "-double", "53", "-swap", "31")
	ledger := r.cells[0].Cell.Ledger
	if ledger.Published != 4*offered {
		t.Fatalf("%d published, want %d", ledger.Published, 4*offered)
	}
	dropped, doubled, swapped := r.count("drop", nil), r.count("double", nil), r.count("swap", nil)
	t.Logf("the relay dropped %d, doubled %d, swapped %d; the ledger says %d, %d, %d",
		dropped, doubled, swapped, ledger.Dropped, ledger.Duplicated, ledger.Reordered)
	if dropped != 4*offered/97 || doubled == 0 || swapped == 0 {
		t.Fatal("the relay did not do as it was told")
	}
	if ledger.Dropped != dropped || ledger.Duplicated != doubled || ledger.Reordered != swapped {
		t.Errorf("the ledger says %+v", ledger)
	}
	for _, d := range r.cells[0].Devices {
		of := func(did string) int64 { return r.count(did, func(a doing) bool { return a.Device == d.Device }) }
		if d.Dropped != of("drop") || d.Duplicated != of("double") || d.Reordered != of("swap") {
			t.Errorf("device %d: dropped %d, duplicated %d, reordered %d; the relay says %d, %d, %d",
				d.Device, d.Dropped, d.Duplicated, d.Reordered, of("drop"), of("double"), of("swap"))
		}
	}
}

// A broker that acknowledges a message and then loses it is the worst there is;
// the acknowledgement must not be taken for a delivery.
func TestAcknowledgedAndLost(t *testing.T) {
	r := relay(t, true, 1, "[0]", "-swallow", "97")
	ledger, swallowed := r.cells[0].Cell.Ledger, r.count("swallow", nil)
	t.Logf("swallowed %d; the ledger says %d published, %d acked, %d dropped, %d in doubt", swallowed, ledger.Published, ledger.Acked, ledger.Dropped, ledger.InDoubt)
	if swallowed != 4*offered/97 {
		t.Fatalf("the relay swallowed %d", swallowed)
	}
	if ledger.Acked != ledger.Published || ledger.InDoubt != 0 {
		t.Errorf("%d acked and %d in doubt of %d published: all were acknowledged", ledger.Acked, ledger.InDoubt, ledger.Published)
	}
	if ledger.Dropped != swallowed {
		t.Errorf("%d dropped, the relay swallowed %d", ledger.Dropped, swallowed)
	}
}

// When a connection breaks, nobody knows the fate of what was on the way but the
// customers' books. The ledger must say so and still close, to the message.
func TestTruthCutConnections(t *testing.T) {
	r := relay(t, true, 1, "[0]", "-delay", "60ms", "-ack-delay", "120ms", "-cut-after", fmt.Sprint(2*offered), "-trace")
	c := r.cells[0]
	ledger := c.Cell.Ledger
	if r.count("cut", nil) != 1 {
		t.Fatal("the relay did not cut")
	}
	passed := make(map[[2]int64]bool)
	for _, d := range r.did {
		if d.Did == "pass" {
			passed[[2]int64{int64(d.Device), int64(d.Sequence)}] = true
		}
	}
	t.Logf("passed on %d; the ledger says %+v", len(passed), ledger)
	if ledger.InDoubt == 0 {
		t.Error("no message is in doubt, with messages and acknowledgements on the way when the connections were cut")
	}
	if ledger.Dropped == 0 || ledger.Delivered != int64(len(passed)) {
		t.Errorf("%d delivered and %d dropped of %d published; the relay passed %d on", ledger.Delivered, ledger.Dropped, ledger.Published, len(passed))
	}
	if ledger.Dropped > ledger.InDoubt {
		t.Errorf("%d dropped, but only %d in doubt: what was acknowledged was passed on", ledger.Dropped, ledger.InDoubt)
	}
	if ledger.Acked+ledger.InDoubt != ledger.Published {
		t.Errorf("%d acked and %d in doubt of %d published", ledger.Acked, ledger.InDoubt, ledger.Published)
	}
}
