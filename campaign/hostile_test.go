package campaign_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode"

	"github.com/prometheus/procfs"

	"bela/agents/protocol"
	"bela/campaign"
	"bela/campaign/hostiletest"
	"bela/event"
	"bela/influx"
	"bela/tui"
)

// Bounds on what one hostile node costs, in bytes; docs/operations.md states them.
const (
	// Of the controller, at its peak, the lab's nodes included: the largest frame as
	// it was read, as a body, as text and as a bitmap, and what the garbage collector
	// has not got round to.
	hostileMemory = 450 << 20
	hostileDisk   = 200 << 20 // of the run directory, beside logs
)

// hostile is a small load on three honest nodes and, in turn, a hostile one.
const hostile = `
experiment "hostile" {
  seed = 7
  matrix { devices = [4, 6] }
  phases {
    warmup  = "1s"
    measure = "2s"
    drain   = "2s"
    collect = "20s"
  }
}
ssh {
  lease = "5s"
  keep  = "20s"
}
node "worker"   { count = 1 }
node "iot"      { count = 2 }
node "customer" { count = 1 }
component "broker" {
  uses = platform.broker
  on   = node.worker
}
devices {
  on    = node.iot
  count = cell.devices
  via   = component.broker
  qos   = 1
  rate  = "10/s"
  payload { size = 300 }
}
customers {
  on    = node.customer
  count = 2
  via   = component.broker
}
`

// hostileAgent is bela's agent, able to lie, built once.
var hostileAgent = sync.OnceValues(func() (string, error) {
	honest, err := agentPath() // whose directory goes in the end
	if err != nil {
		return "", err
	}
	dir := filepath.Dir(honest)
	source, err := filepath.Abs("../cmd/bela-agent")
	if err != nil {
		return "", err
	}
	stub := filepath.Join(dir, "hostile.go")
	text := "package main\n\nimport \"bela/campaign/hostiletest\"\n\nfunc init() { hostiletest.Install() }\n"
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(source, "hostile.go"): stub}})
	if err != nil {
		return "", err
	}
	if err := errors.Join(os.WriteFile(stub, []byte(text), 0o600), os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600)); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "hostile-agent")
	build := exec.Command("go", "build", "-trimpath", "-overlay", filepath.Join(dir, "overlay.json"), "-o", path, "bela/cmd/bela-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the hostile agent: %w\n%s", err, out)
	}
	return path, nil
})

// A broken or hostile node must cost its own numbers, and nobody else anything: the
// run ends in time and names the node, and memory, disk, terminal, other files and
// InfluxDB are as safe as with honest ones. BELA_DRILL=1 tells every lie, else some
// are left to the tests of what refuses them.
func TestHostileAgent(t *testing.T) {
	t.Parallel()
	const refused = "broken or hostile"
	for _, tc := range []struct {
		mode   hostiletest.Mode
		node   string
		always bool
		ends   bool     // the run, as it cannot go on without the node
		says   []string // all of it in what the run says, and beside it the node's name
	}{
		{hostiletest.FloodWords, "iot-1", false, true, []string{refused, "floods"}},
		{hostiletest.FloodSamples, "iot-1", true, true, []string{refused, "floods"}},
		{hostiletest.FloodAnswers, "customer-1", false, true, []string{refused, "floods"}},
		{hostiletest.OversizedFrame, "iot-1", false, true, []string{refused, "above the limit"}},
		{hostiletest.LyingLength, "iot-1", true, true, []string{refused, "not JSON"}},
		{hostiletest.NoJSON, "worker-1", false, true, []string{refused, "not JSON"}},
		{hostiletest.Negative, "iot-1", true, true, []string{refused, "memory_used_bytes is -1"}},
		{hostiletest.Infinite, "iot-1", false, true, []string{refused, "load1"}},
		{hostiletest.FarFuture, "iot-1", true, false, []string{"events_lost", "left out"}},
		{hostiletest.FarPast, "customer-1", false, false, []string{"events_lost", "left out"}},
		{hostiletest.Component, "iot-1", false, true, []string{refused, "planted-1"}},
		{hostiletest.Components, "worker-1", true, true, []string{refused, "which no cell has"}},
		{hostiletest.Reasons, "worker-1", false, true, []string{refused, "planted-"}},
		{hostiletest.Numbers, "iot-1", false, true, []string{refused, "seq is"}},
		{hostiletest.Words, "worker-1", true, false, []string{"planted"}},
		{hostiletest.FutureAnswer, "iot-1", false, true, []string{refused, "it answers request"}},
		{hostiletest.TwiceAnswered, "iot-1", false, false, nil},
		{hostiletest.BooksDevice, "iot-1", false, true, []string{refused, "its books have device"}},
		{hostiletest.BooksSequence, "iot-1", false, true, []string{refused}},
		{hostiletest.BooksPages, "iot-1", true, true, []string{refused, "its books have device 0 after 0"}},
		{hostiletest.BooksLarge, "iot-1", false, true, []string{refused, "above the limit"}},
		{hostiletest.BooksSecond, "customer-1", true, true, []string{refused, "latencies of second"}},
		{hostiletest.BooksReceipts, "customer-1", false, false, []string{"phantom", "no device gives"}},
		{hostiletest.HopDevices, "worker-1", false, false, nil},
		{hostiletest.HopLarge, "worker-1", true, false, nil},
		{hostiletest.HopReasons, "worker-1", false, true, []string{refused, "which no component says"}},
		{hostiletest.Status, "iot-1", true, true, []string{refused, "are planned"}},
		{hostiletest.Clock, "iot-1", false, true, []string{refused, "ping"}},
		{hostiletest.OtherRun, "iot-1", false, true, []string{"serves run"}},
		{hostiletest.OtherVersion, "iot-1", false, true, []string{"protocol version 99"}},
		{hostiletest.Silent, "iot-1", false, true, []string{"agent_lost"}},
		{hostiletest.Drip, "iot-1", true, true, []string{"agent_lost"}},
		{hostiletest.Breaks, "iot-1", false, false, []string{"the link was made anew"}},
		{hostiletest.Logs, "worker-1", true, false, []string{"more logs than"}},
	} {
		if !tc.always && os.Getenv("BELA_DRILL") != "1" {
			continue
		}
		t.Run(string(tc.mode), func(t *testing.T) {
			t.Parallel()
			out := hostileController(t, tc.mode, tc.node)
			var got hostileRun
			if err := json.Unmarshal(out.result, &got); err != nil {
				t.Fatalf("%v in\n%s", err, out.text)
			}
			told := strings.Join(got.Told, "\n")
			// On a busy machine a cell may be invalid for other reasons.
			if ended := got.Status == campaign.Unreachable; ended != tc.ends || !ended && got.Status != campaign.Done && got.Status != campaign.Incomplete {
				t.Errorf("status %d: %.2000s", got.Status, told)
			}
			if !tc.ends && strings.Contains(told, refused) {
				t.Errorf("the node is given up: %.2000s", told)
			}
			for _, want := range tc.says {
				if !strings.Contains(told, want) {
					t.Errorf("nobody says %q of the node: %.2000s", want, told)
				}
			}
			if len(tc.says) > 0 && !strings.Contains(told, tc.node) {
				t.Errorf("nobody names %s: %.2000s", tc.node, told)
			}
			if got.Peak <= 0 || got.Peak > hostileMemory {
				t.Errorf("the controller took %d MiB", got.Peak>>20)
			}
			if got.Disk > hostileDisk {
				t.Errorf("the run directory has %d MiB beside logs", got.Disk>>20)
			}
			t.Logf("peak %d MiB, run directory %.1f MiB, took %v", got.Peak>>20, float64(got.Disk)/(1<<20), got.Took.Round(time.Second/10))
			for i, r := range out.text {
				if unicode.IsControl(r) && r != '\n' && r != '\t' || unicode.Is(unicode.Bidi_Control, r) {
					t.Fatalf("%U on the terminal: %q", r, out.text[max(0, i-80):min(len(out.text), i+40)])
				}
			}
		})
	}
}

// hostileRun is what a controller found.
type hostileRun struct {
	Status campaign.Status
	Told   []string // what the run says of the node
	Disk   int64    // bytes of the run directory but for logs
	Peak   int64    // bytes of memory, the lab's nodes included
	Took   time.Duration
}

type hostileOutput struct {
	text   string
	result []byte
}

// hostileController runs a controller as a process of its own, in which
// TestHostileController looks at the run.
func hostileController(t *testing.T, mode hostiletest.Mode, node string) hostileOutput {
	t.Helper()
	agent, err := hostileAgent()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	result := filepath.Join(dir, "result.json")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestHostileController$", "-test.timeout=2m30s")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "BELA_TEST_HOSTILE="+string(mode)+" "+node+" "+result, agentGiven+"="+agent, "NO_COLOR=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, printable(out))
	}
	text, err := os.ReadFile(result)
	if err != nil {
		t.Fatalf("%v\n%s", err, printable(out))
	}
	return hostileOutput{string(out), text}
}

// peakMemory is this process's, in bytes. What the kernel counts of children that
// have ended (getrusage) begins with their parent's and says nothing.
func peakMemory(t *testing.T) int64 {
	t.Helper()
	p, err := procfs.Self()
	if err != nil {
		t.Fatal(err)
	}
	status, err := p.NewStatus()
	if err != nil {
		t.Fatal(err)
	}
	return int64(status.VmHWM)
}

func printable(out []byte) string {
	return string(bytes.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return '?'
		}
		return r
	}, out[:min(len(out), 8<<10)]))
}

// TestHostileController is the controller in which TestHostileAgent looks at a run.
func TestHostileController(t *testing.T) {
	order := strings.Fields(os.Getenv("BELA_TEST_HOSTILE"))
	if len(order) != 3 {
		return // there is nothing to look at but what TestHostileAgent begins
	}
	mode, node, result := order[0], order[1], order[2]
	r := newRig(t, hostile, map[string][]string{node: {hostiletest.Environment + "=" + mode}})
	view := tui.NewPlain(os.Stdout, tui.Options{})
	r.config.Sinks = append(r.config.Sinks, view)
	before := treeOf(t, os.TempDir())
	begun := time.Now()
	summary, run, err := r.run(t, t.Context())
	got := hostileRun{Status: summary.Status, Took: time.Since(begun)}
	if cerr := view.Close(); cerr != nil {
		t.Error(cerr)
	}
	got.Told = append(got.Told, summary.Reason)
	if err != nil {
		got.Told = append(got.Told, err.Error())
	}
	for _, c := range run.Cells {
		for _, reason := range c.Reasons {
			got.Told = append(got.Told, reason.Code+": "+reason.Text)
		}
	}
	for _, e := range r.events.list() {
		if m, ok := e.Data.(event.Message); ok && m.Node == node && len(got.Told) < 1000 {
			got.Told = append(got.Told, m.Node+": "+protocol.Clip(m.Text, 300))
		}
		if m, ok := e.Data.(event.Message); ok && m.Node == "" && m.Level == "warn" {
			got.Told = append(got.Told, protocol.Clip(m.Text, 300))
		}
	}
	got.Peak = peakMemory(t)
	got.Disk = insideRun(t, r, before)
	plannedSeries(t, r)
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(result, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// insideRun demands that all that was written is in the run directory, in files
// whose names steer nothing, and gives its size beside logs.
func insideRun(t *testing.T, r *rig, before map[string]bool) (size int64) {
	t.Helper()
	for path := range treeOf(t, os.TempDir()) {
		inside := strings.HasPrefix(path, r.root+"/")
		latest := path == filepath.Join(filepath.Dir(r.root), "latest")
		if !before[path] && !inside && !latest && !strings.HasPrefix(path, r.lab.Dir()+"/") {
			t.Errorf("written outside the run directory: %q", path)
		}
		if !inside {
			continue
		}
		if strings.ContainsFunc(path, func(c rune) bool { return c < ' ' || c > '~' }) {
			t.Errorf("the file name %q", path)
		}
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			t.Errorf("%q is a link", path)
		}
		switch {
		case !info.Mode().IsRegular():
		case filepath.Base(filepath.Dir(path)) != "logs":
			size += info.Size()
		case info.Size() > 32<<20:
			t.Errorf("the log %q has %d bytes", path, info.Size())
		}
	}
	return size
}

// plannedSeries demands that InfluxDB gets only series that the plan has.
func plannedSeries(t *testing.T, r *rig) {
	t.Helper()
	known := map[string][]string{"component": {"broker"}, "instance": {"1"}, "reason": protocol.DropReasons()}
	for _, target := range r.config.Targets {
		known["node"] = append(known["node"], target.Name)
	}
	tag := regexp.MustCompile(`,([a-z_]+)=((?:[^\\, ]|\\.)*)`)
	f, err := os.Open(filepath.Join(r.root, "metrics.lp.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	series := make(map[string]bool)
	for line, err := range influx.ReadLines(f) {
		if err != nil {
			t.Fatal(err)
		}
		head := regexp.MustCompile(`^(?:[^\\ ]|\\.)*`).Find(line)
		if series[string(head)] {
			continue
		}
		series[string(head)] = true
		for _, m := range tag.FindAllSubmatch(head, -1) {
			if want, ok := known[string(m[1])]; ok && !slices.Contains(want, string(m[2])) {
				t.Errorf("a series that nobody planned: %s", head)
			}
		}
	}
	if len(series) > 200 {
		t.Errorf("%d series", len(series))
	}
}
