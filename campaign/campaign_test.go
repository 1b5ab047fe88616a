package campaign_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bela/campaign"
	"bela/event"
	"bela/experiment"
	"bela/influx"
	"bela/measure"
	"bela/nodes/lab"
	"bela/provision"
	"bela/provision/agentbin"
	"bela/store"
)

// agentGiven names an agent for a test process that another one started.
const agentGiven = "BELA_TEST_AGENT"

// agentPath is the agent that the tests push, built once with the platform beside it.
var agentPath = sync.OnceValues(func() (string, error) {
	if given := os.Getenv(agentGiven); given != "" {
		return given, nil
	}
	dir, err := os.MkdirTemp("", "bela-campaign-test-")
	if err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-trimpath", "-o", dir, "bela/cmd/bela-agent", "bela/cmd/bela-platform")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the programs for nodes: %w\n%s", err, out)
	}
	return filepath.Join(dir, string(agentbin.Agent)), nil
})

// programs gives an agent, and the platform that was built with the tests' own.
func programs(agent string) provision.Source {
	return func(p agentbin.Program, _ string, _ int) (agentbin.Binary, error) {
		if p == agentbin.Agent {
			return agentbin.FromFile(agent)
		}
		built, err := agentPath()
		if err != nil {
			return agentbin.Binary{}, err
		}
		return agentbin.FromFile(filepath.Join(filepath.Dir(built), string(p)))
	}
}

func TestMain(m *testing.M) {
	// Whole runs wait more than they work: more of those that measure nothing side by
	// side than there are CPUs. They begin when those that measure have ended.
	if err := flag.Set("test.parallel", "5"); err != nil {
		panic(err)
	}
	code := m.Run()
	if path, err := agentPath(); err == nil && os.Getenv(agentGiven) == "" {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// small is a whole platform under a small load. %s takes more blocks, and
// variables set lengths and counts.
const small = `
variable "measure" {
  type    = duration
  default = "3s"
}
experiment "small" {
  seed = 7
  matrix { devices = %s }
  phases {
    warmup  = "1s"
    measure = var.measure
    drain   = "10s"
  }
}
node "worker"   { count = 1 }
node "iot"      { count = 2 }
node "customer" { count = 2 }
component "broker" {
  uses = platform.broker
  on   = node.worker
}
component "nats" {
  uses = platform.nats
  on   = node.worker
}
component "stan" {
  uses = platform.stan
  on   = node.worker
}
component "gateway" {
  uses      = platform.gateway
  on        = node.worker
  instances = 2
}
component "hub" {
  uses = platform.hub
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
  count = 3
  via   = component.broker
}
%s
`

// rig is a campaign on a lab, ready to run.
type rig struct {
	config campaign.Config
	lab    *lab.Lab
	root   string
	events *recorder
}

// recorder keeps events and can act on them.
type recorder struct {
	mu  sync.Mutex
	all []event.Event
	on  func(event.Event)
}

func (r *recorder) Handle(e event.Event) {
	r.mu.Lock()
	r.all = append(r.all, e)
	r.mu.Unlock()
	if r.on != nil {
		r.on(e)
	}
}

func (r *recorder) list() []event.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

// newRig loads the experiment and starts a lab for it; env is added to the
// environment of each node's processes, by node name.
func newRig(t testing.TB, text string, env map[string][]string, vars ...string) *rig {
	t.Helper()
	agent, err := agentPath()
	if err != nil {
		t.Fatal(err)
	}
	exp, err := experiment.Load("test.hcl", experiment.Inputs{
		Vars:     vars,
		ReadFile: func(string) ([]byte, error) { return []byte(text), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	plan := exp.Plan()
	var specs []lab.Spec
	for _, g := range plan.Groups {
		for i := range g.Count {
			specs = append(specs, lab.Spec{Name: g.NodeName(i), Group: g.Name, Role: string(g.Role), Env: env[g.NodeName(i)]})
		}
	}
	l, err := lab.Start(t.Context(), specs, lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close the lab: %v", err)
		}
	})
	root := t.TempDir()
	dir, err := store.Create(root, plan.Experiment, time.Now(), "test", store.Inputs{
		Experiment: exp.Source(), Variables: exp.Variables(), Plan: plan, Dimensions: plan.Dimensions,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	events := new(recorder)
	return &rig{
		lab: l, root: dir.Dir(), events: events,
		config: campaign.Config{
			Plan: plan, Expect: exp.Expect, Targets: l.Targets(), Lab: true, Store: dir, Now: time.Now,
			Programs: programs(agent),
			Sinks:    []campaign.Sink{events},
		},
	}
}

// run carries the campaign out, closes the run directory and reads it back.
func (r *rig) run(t testing.TB, ctx context.Context) (campaign.Summary, *store.Reader, error) {
	t.Helper()
	summary, read, err := r.carryOut(t, ctx)
	r.assertClean(t)
	return summary, read, err
}

// truth runs an experiment of one cell and demands that nothing in it is wrong,
// which is what check returns. A cell that bela itself does not trust may be
// run again, twice: on a busy machine it says so. One that it calls valid may not.
func truth(t *testing.T, text string, check func(measure.Cell) []string) {
	t.Helper()
	for try := 1; ; try++ {
		_, run, err := newRig(t, text, nil).run(t, t.Context())
		if err != nil || len(run.Cells) != 1 {
			t.Fatalf("%d cells, %v", len(run.Cells), err)
		}
		c := run.Cells[0]
		wrong := check(c)
		if len(wrong) == 0 {
			return
		}
		t.Logf("try %d, %s %v:\n%s", try, c.Verdict, c.Reasons, strings.Join(wrong, "\n"))
		if c.Verdict == measure.Valid || try == 3 {
			t.FailNow()
		}
	}
}

// spoiled says that a cell is invalid for something else than a busy machine,
// which makes the generators late.
func spoiled(c measure.Cell) bool {
	return slices.ContainsFunc(c.Reasons, func(r measure.Reason) bool {
		return r.Verdict == measure.Invalid && r.Code != "generator_late" && r.Code != "load_not_achieved"
	})
}

// carryOut is run where nodes need not be clean afterwards.
func (r *rig) carryOut(t testing.TB, ctx context.Context) (campaign.Summary, *store.Reader, error) {
	t.Helper()
	summary, err := campaign.Run(ctx, r.config)
	if cerr := r.config.Store.Close(); cerr != nil {
		t.Errorf("close the run: %v", cerr)
	}
	read, rerr := store.Open(r.root, "")
	if rerr != nil {
		t.Fatalf("read the run back: %v", rerr)
	}
	return summary, read, err
}

// assertClean demands that nothing of bela is left on the nodes: no process of
// the lab but those that are dying, no file.
func (r *rig) assertClean(t testing.TB) {
	t.Helper()
	for _, p := range processes(t, "BELA_LAB="+r.lab.ID()) {
		t.Errorf("process left behind: %s", p)
	}
	err := filepath.WalkDir(r.lab.Dir(), func(path string, d os.DirEntry, err error) error {
		if err == nil && strings.Contains(path, ".bela") {
			t.Errorf("left behind: %s", path)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// processes lists those whose environment holds a setting.
func processes(t testing.TB, setting string) []string {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, dir := range dirs {
		environ, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err != nil || !strings.Contains(string(environ), setting) {
			continue
		}
		cmdline, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		found = append(found, filepath.Base(dir)+" "+strings.ReplaceAll(string(cmdline), "\x00", " "))
	}
	return found
}

// An expectation that cannot be worked out must not take the others with it: a run
// with a failed one would end well.
func TestOneExpectationHidesNoOther(t *testing.T) {
	t.Parallel()
	r := newRig(t, simplest+`
expect "of nothing" { that = (late - late) / (late - late) > 1 }
expect "nothing is delivered" { that = delivered == 0 }
`, nil)
	summary, run, err := r.run(t, t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(run.Cells) != 1 || len(run.Cells[0].Outcomes) != 2 || run.Cells[0].Outcomes[0].State != "unknown" || run.Cells[0].Outcomes[1].State != "failed" {
		t.Fatalf("%+v", run.Cells)
	}
	if summary.Invalid == 0 && summary.Status != campaign.Unmet {
		t.Errorf("status %d (%s), and an expectation failed", summary.Status, summary.Reason)
	}
}

// QoS 2 is in the language, so devices and customers that use it must get through
// the built-in platform, each message once and acknowledged to the end.
func TestQoS2ThroughThePlatform(t *testing.T) {
	t.Parallel()
	text := strings.Replace(fmt.Sprintf(small, "[6]", ""), "qos   = 1", "qos   = 2", 1)
	r := newRig(t, text, nil, "measure=1s")
	_, run, err := r.run(t, t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := run.Cells[0]
	if l := c.Ledger; !l.Closed || l.Published == 0 || l.Acked != l.Published || l.Delivered+l.Late != l.Published || l.Duplicated != 0 {
		t.Errorf("%s %v: %+v", c.Verdict, c.Reasons, l)
	}
}

// A user who runs an experiment must get books that close, latencies, and the
// use of every component, and nodes as they were.
func TestRunEndToEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t, fmt.Sprintf(small, "[2, 20]", `expect "nothing is lost" { that = dropped == 0 }`), nil)
	summary, run, err := r.run(t, t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if summary.Missing != 0 || len(run.Cells) != 2 {
		t.Fatalf("summary %+v with %d cells, want two", summary, len(run.Cells))
	}
	for i, c := range run.Cells {
		want := int64([]int{2, 20}[i] * 10 * 3)
		l := c.Ledger
		if !l.Closed || l.Published != want || l.Delivered+l.Late+l.Dropped != l.Published || l.Dropped != 0 {
			t.Errorf("cell %d: ledger %+v, want %d published and all delivered", c.Number, l, want)
		}
		if l.Acked != l.Published {
			t.Errorf("cell %d: %d of %d acknowledged at QoS 1", c.Number, l.Acked, l.Published)
		}
		if c.Latency.Count != want || c.Latency.P50 == nil || *c.Latency.P50 <= 0 {
			t.Errorf("cell %d: latency %+v", c.Number, c.Latency)
		}
		if c.Service.Count != want || c.Service.P50 == nil || *c.Service.P50 > *c.Latency.P50+1 {
			t.Errorf("cell %d: service time %+v beside latency %+v", c.Number, c.Service, c.Latency)
		}
		if c.ClockErrorMS == nil || *c.ClockErrorMS <= 0 {
			t.Errorf("cell %d has no clock error", c.Number)
		}
		if c.BrokerIn == nil || c.GatewayOut == nil || c.HubIn == nil || *c.HubIn < float64(want)/3*300 {
			t.Errorf("cell %d: throughput per hop is missing or below the payloads", c.Number)
		}
		if len(c.Components) != 6 {
			t.Errorf("cell %d: %d component instances, want 6", c.Number, len(c.Components))
		}
		for _, u := range c.Components {
			if u.CPUMean == nil || *u.CPUMean <= 0 || u.MemoryMax == nil || *u.MemoryMax <= 1 || u.NetIn == nil {
				t.Errorf("cell %d: use of %s-%d is missing: %+v", c.Number, u.Component, u.Instance, u)
			}
		}
		if len(c.Outcomes) != 1 || c.Outcomes[0].State != "held" {
			t.Errorf("cell %d: expectations %+v", c.Number, c.Outcomes)
		}
		series, err := run.Series(c.Position)
		if err != nil {
			t.Fatal(err)
		}
		var published, delivered int64
		for _, s := range series {
			if s.Phase == "measure" {
				published += s.Published
				delivered += s.Delivered
			}
		}
		if published != want || delivered != want {
			t.Errorf("cell %d: the series has %d published and %d delivered, want %d", c.Number, published, delivered, want)
		}
	}
	assertMetrics(t, r)
}

// assertMetrics demands that metrics.lp.gz holds what the events say, point for
// point: it is what InfluxDB gets and what an export sends later.
func assertMetrics(t *testing.T, r *rig) {
	t.Helper()
	encoder := influx.NewEncoder(r.config.Plan.Experiment, r.config.Store.Name())
	var want []byte
	for _, e := range r.events.list() {
		want = encoder.Append(want, e)
	}
	f, err := os.Open(filepath.Join(r.root, "metrics.lp.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var got []byte
	for line, err := range influx.ReadLines(f) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(append(got, line...), '\n')
	}
	if len(want) == 0 || string(got) != string(want) {
		t.Errorf("metrics.lp.gz has %d bytes, the events encode to %d", len(got), len(want))
	}
}

// Ctrl-C must leave the nodes clean, keep the finished cells and say how it ended.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	r := newRig(t, fmt.Sprintf(small, "[2, 4]", ""), nil, "measure=30s")
	ctx, cancel := context.WithCancelCause(t.Context())
	var pressed time.Time
	r.events.on = func(e event.Event) {
		if p, ok := e.Data.(event.PhaseStarted); ok && p.Phase == event.PhaseMeasure {
			pressed = time.Now()
			cancel(campaign.ErrInterrupted)
		}
	}
	summary, run, _ := r.run(t, ctx)
	if summary.Status != campaign.Interrupted || summary.Missing != 2 || len(run.Cells) != 0 {
		t.Errorf("summary %+v with %d cells, want interrupted, 2 missing", summary, len(run.Cells))
	}
	if d := time.Since(pressed); d > 25*time.Second {
		t.Errorf("it took %v to stop: it waited for the measurement to end", d)
	}
}

// A component that cannot start must fail its own cell, name itself and its
// last words, and leave the other cells alone.
func TestComponentFails(t *testing.T) {
	t.Parallel()
	r := newRig(t, fmt.Sprintf(small, "[2, 3]", `
component "sidecar" {
  on      = node.worker
  command = ["/bin/sh", "-c", "echo cannot find the license; [ ${cell.devices} -eq 3 ] && sleep 60"]
}`), nil)
	summary, run, err := r.run(t, t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if summary.Status != campaign.Incomplete || summary.Invalid == 0 || len(run.Cells) != 2 {
		t.Fatalf("summary %+v with %d cells, want an invalid one of two", summary, len(run.Cells))
	}
	first := run.Cells[0]
	if first.Verdict != measure.Invalid || len(first.Reasons) == 0 || !strings.Contains(first.Reasons[0].Text, "sidecar-1") {
		t.Errorf("the first cell does not name the component: %+v", first.Reasons)
	}
	if second := run.Cells[1]; second.Ledger.Delivered != 3*10*3 || strings.Contains(fmt.Sprint(second.Reasons), "cell_failed") {
		t.Errorf("the second cell delivered %d, want 90: %+v", second.Ledger.Delivered, second.Reasons)
	}
	said := false
	for _, e := range r.events.list() {
		if c, ok := e.Data.(event.ComponentState); ok && slices.ContainsFunc(c.Log, func(l string) bool { return strings.Contains(l, "license") }) {
			said = true
		}
	}
	if !said {
		t.Error("no event carries the component's last words")
	}
}

// A lost agent must be named and cost its own cell only.
func TestAgentDies(t *testing.T) {
	t.Parallel()
	r := newRig(t, fmt.Sprintf(small, "[2, 3]", ""), nil)
	var once sync.Once
	var killed time.Time
	r.events.on = func(e event.Event) {
		if p, ok := e.Data.(event.PhaseStarted); ok && p.Phase == event.PhaseMeasure && p.Position == 1 {
			once.Do(func() {
				killed = time.Now()
				for _, p := range processes(t, "BELA_LAB="+r.lab.ID()) {
					if strings.Contains(p, " serve ") && strings.Contains(p, "/customer-2/") {
						pid, _, _ := strings.Cut(p, " ")
						if out, err := exec.Command("kill", "-KILL", pid).CombinedOutput(); err != nil {
							t.Errorf("kill the agent: %v: %s", err, out)
						}
					}
				}
			})
		}
	}
	summary, run, err := r.run(t, t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(run.Cells) != 2 || summary.Invalid == 0 {
		t.Fatalf("summary %+v with %d cells, want an invalid one of two", summary, len(run.Cells))
	}
	code(t, run.Cells[0].Reasons, "agent_lost", "customer-2")
	r.noticed(t, "customer-2", event.NodeAgentLost, killed)
	if c := run.Cells[1]; !c.Ledger.Closed || c.Ledger.Delivered != 3*10*3 {
		t.Errorf("the second cell's ledger: %+v", c.Ledger)
	}
}
