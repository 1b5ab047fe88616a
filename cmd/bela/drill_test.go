package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bela/campaign"
	"bela/event"
	"bela/nodes/netns"
	"bela/nodes/netns/bedtest"
	"bela/nodes/netns/snapshot"
	"bela/store"
)

// A campaign can be left alone: whatever happens to it on the way costs what
// docs/reliability.md says, and no more. Each drill plants one thing in a campaign
// of two cells on hosts of their own, and reads from the run directory what was
// lost and when it was noticed. BELA_DRILL=1 runs all of them at full length;
// BELA_DRILL_TABLE names the page to write.
func TestDrills(t *testing.T) {
	needAgents(t)
	if err := netns.Available(); err != nil {
		bedtest.Up(t, netns.Options{}) // says so
	}
	t.Parallel()
	earnest := os.Getenv("BELA_DRILL") != ""
	const side = 4 // beds at once
	var (
		all    sync.WaitGroup
		slots  = make(chan struct{}, side)
		mu     sync.Mutex
		rows   = make(map[string]drillRow)
		cases  = mishaps(earnest)
		commit = commitHere()
	)
	for _, m := range cases {
		if !earnest && !m.short {
			continue
		}
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			t.Run(m.name, func(t *testing.T) {
				r := rehearse(t, m)
				mu.Lock()
				defer mu.Unlock()
				rows[m.name] = r
			})
		})
	}
	all.Wait()
	if path := os.Getenv("BELA_DRILL_TABLE"); path != "" && !t.Failed() {
		writeDrillTable(t, path, commit, cases, rows)
	}
}

// mishap is one thing that goes wrong in a campaign.
type mishap struct {
	name  string   // as the table has it
	short bool     // part of the tests that always run
	args  []string // of bela run, beside the experiment and the inventory
	more  string   // text for the end of the experiment
	spare bool     // the bed has a spare machine for the group iot
	small bool     // the run directory is on a small disk of its own
	// happen does it, in the first cell's measurement, and what follows up to the
	// end of the last command.
	happen func(t *testing.T, r *rehearsal)
	// noticed is the event that tells of it, back the one with which the campaign is
	// whole again; nil where the drill says itself.
	noticed, back func(e event.Event) bool
	status        campaign.Status // of the last command
	says          string          // matches where what the user sees of it begins
	lost          drillLoss       // at most; Messages only where Books is not set
	books         bool            // messages may be lost, and the books must say how many
}

// rehearsal is a drill on its way.
type rehearsal struct {
	*bedRun
	mishap   mishap
	at       time.Time // when it happened
	noticed  time.Time // where the drill says itself
	back     time.Time
	began    time.Time // of the command that is on its way
	dead     map[string]bool
	noRun    bool // the run directory is none to be read whole
	status   campaign.Status
	firstOut string // what the user saw, where the drill says itself
}

// rehearse carries a drill out and reads what it cost.
func rehearse(t *testing.T, m mishap) drillRow {
	t.Helper()
	r := &rehearsal{bedRun: &bedRun{dir: t.TempDir(), out: &lookout{}}, mishap: m, dead: make(map[string]bool)}
	groups := []netns.Group{{Name: "master", Count: 1}, {Name: "worker", Count: 1}, {Name: "iot", Count: 2}, {Name: "customer", Count: 1}}
	if m.spare {
		groups = append(groups, netns.Group{Name: "spare", Count: 1})
	}
	r.bed = bedtest.Up(t, netns.Options{Groups: groups})
	for _, n := range r.bed.Nodes() {
		s, err := snapshot.Take(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		r.before = append(r.before, s)
	}
	if m.small {
		smallDisk(t, filepath.Join(r.dir, "results"))
	}
	text, err := os.ReadFile("testdata/drills.hcl")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(r.dir, "drills.hcl"), string(text)+m.more)
	r.writeInventory(t)
	r.start(t, append([]string{"run", "drills.hcl", "-inventory", "machines.hcl", "-view", "plain"}, m.args...)...)
	r.await(t, "cell 1/2 devices=4  measure ")
	m.happen(t, r)
	if r.cmd.ProcessState == nil {
		r.ended(t)
		r.status = campaign.Status(r.cmd.ProcessState.ExitCode())
	}
	row := r.account(t)
	if t.Failed() {
		t.Logf("%s", r.out)
	}
	return row
}

// writeInventory is the bed's inventory, with its spare machine as iot's.
func (r *rehearsal) writeInventory(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(r.bed.Inventory())
	if err != nil {
		t.Fatal(err)
	}
	inventory := string(text)
	if r.mishap.spare {
		spare, err := r.bed.Find("spare-1")
		if err != nil {
			t.Fatal(err)
		}
		from := strings.Index(inventory, `node "spare"`)
		to := from + strings.Index(inventory[from:], "ssh {")
		inventory = inventory[:from] + inventory[to:]
		inventory = strings.Replace(inventory, "node \"iot\" {\n", "node \"iot\" {\n  spares = [\""+spare.Address().String()+"\"]\n", 1)
	}
	if os.Getenv("BELA_DRILL") == "" { // notices sooner
		inventory = strings.Replace(inventory, "ssh {\n", "ssh {\n  keepalive = \"1s\"\n", 1)
	}
	write(t, filepath.Join(r.dir, "machines.hcl"), inventory)
}

// start begins a command of bela whose output is kept.
func (r *rehearsal) start(t *testing.T, args ...string) {
	t.Helper()
	r.cmd = belaCommandWithin(t, 10*time.Minute, r.dir, args...)
	r.cmd.Stdout, r.cmd.Stderr, r.cmd.WaitDelay = r.out, r.out, 5*time.Second
	r.began = time.Now()
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

// await waits until the output has a text.
func (r *rehearsal) await(t *testing.T, text string) {
	t.Helper()
	for end := time.Now().Add(4 * time.Minute); !strings.Contains(r.out.String(), text); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			_ = r.cmd.Process.Kill()
			t.Fatalf("it never said %q\n%s", text, r.out)
		}
	}
}

// eventually waits until something is so.
func (r *rehearsal) eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(4 * time.Minute); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("four minutes are not enough for %s\n%s", what, r.out)
		}
	}
}

// now marks the moment at which it happens.
func (r *rehearsal) now() { r.at = time.Now() }

// kill ends the controller as a crash would.
func (r *rehearsal) kill(t *testing.T) {
	t.Helper()
	r.now()
	if err := r.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = r.cmd.Wait()
}

// finish waits for the command that is on its way.
func (r *rehearsal) finish(t *testing.T) {
	t.Helper()
	_ = r.cmd.Wait()
	r.status = campaign.Status(r.cmd.ProcessState.ExitCode())
}

// then runs another command of bela to its end.
func (r *rehearsal) then(t *testing.T, args ...string) {
	t.Helper()
	r.start(t, args...)
	r.finish(t)
}

// account demands what the mishap allows, and tells what it cost.
func (r *rehearsal) account(t *testing.T) drillRow {
	t.Helper()
	m := r.mishap
	row := drillRow{status: r.status, says: r.firstOut}
	if r.status != m.status {
		t.Errorf("status %d, want %d", r.status, m.status)
	}
	if row.says == "" {
		row.says = firstLine(r.out.String(), m.says)
	}
	if row.says == "" {
		t.Errorf("nothing in the output says %q", m.says)
	}
	if !r.noRun {
		run, err := store.Open("latest", filepath.Join(r.dir, "results"))
		if err != nil {
			t.Fatal(err)
		}
		row.loss = lossOf(t, run)
		row.noticed, row.back = r.moments(t, run)
		r.bounded(t, row.loss)
	}
	if !r.noticed.IsZero() {
		row.noticed = r.noticed.Sub(r.at)
	}
	if !r.back.IsZero() {
		row.back = r.back.Sub(r.at)
	}
	if found := r.left(t, time.Minute); len(found) > 0 {
		t.Errorf("left on the nodes:\n%s", strings.Join(found, "\n"))
	}
	return row
}

// bounded holds what was lost against what may be.
func (r *rehearsal) bounded(t *testing.T, got drillLoss) {
	t.Helper()
	most := r.mishap.lost
	if got.Missing != most.Missing || got.Invalid > most.Invalid || got.Attempts > most.Attempts || got.Seconds > most.Seconds ||
		!r.mishap.books && got.Messages > most.Messages {
		t.Errorf("lost: %+v, and may be: %+v", got, most)
	}
}

// left is what differs on the nodes that live, beside what the drill itself changed.
func (r *rehearsal) left(t *testing.T, patience time.Duration) []string {
	t.Helper()
	var all []string
	for i, n := range r.bed.Nodes() {
		if !r.dead[n.Name()] {
			all = append(all, r.differencesOn(t, i, patience)...)
		}
	}
	return slices.DeleteFunc(all, func(line string) bool {
		// A node that boots gets a link whose other end has another number.
		return strings.Contains(line, " files: /etc/ssh/host_key ") || strings.Contains(line, " files: /run/sshd.pid ") ||
			strings.Contains(line, " links: ") && strings.Contains(line, ": eth0@if")
	})
}

// moments reads from the run's events when it was noticed and when the campaign
// was whole again, from when it happened.
func (r *rehearsal) moments(t *testing.T, run *store.Reader) (noticed, back time.Duration) {
	t.Helper()
	err := run.Events(func(e event.Event) {
		if r.at.IsZero() || e.Time.Before(r.at) {
			return
		}
		if noticed == 0 && r.mishap.noticed != nil && r.mishap.noticed(e) {
			noticed = e.Time.Sub(r.at)
		}
		if back == 0 && r.mishap.back != nil && r.mishap.back(e) {
			back = e.Time.Sub(r.at)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.mishap.noticed != nil && noticed == 0 {
		t.Error("no event tells of it")
	}
	if r.mishap.back != nil && back == 0 {
		t.Error("no event tells that the campaign is whole again")
	}
	return noticed, back
}

// state is a change of a node to one of some states.
func state(node string, states ...string) func(event.Event) bool {
	return func(e event.Event) bool {
		s, ok := e.Data.(event.NodeState)
		return ok && s.Node == node && slices.Contains(states, s.State)
	}
}

// exited is a component that ended without being asked.
func exited(component string) func(event.Event) bool {
	return func(e event.Event) bool {
		s, ok := e.Data.(event.ComponentState)
		return ok && s.Component == component && s.State == "exited"
	}
}

// measuring is a cell that begins to measure: the campaign is whole.
func measuringAgain(e event.Event) bool {
	p, ok := e.Data.(event.PhaseStarted)
	return ok && p.Phase == event.PhaseMeasure
}
