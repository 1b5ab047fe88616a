package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh/knownhosts"

	"bela/campaign"
	"bela/event"
	"bela/influx/influxtest"
	"bela/measure"
	"bela/nodes/sshdtest"
	"bela/provision/agentbin"
	"bela/store"
)

// needAgents leaves a system test out where this test binary was built without
// agents inside.
func needAgents(t *testing.T) {
	t.Helper()
	if _, err := agentbin.For(agentbin.Agent, "amd64", 0); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("left out: the whole of bela: %v", err)
		}
		t.Skipf("left out: the whole of bela: %v", err)
	}
}

// bela runs the command as a process of its own, in dir, and returns its exit
// status and what it printed.
func bela(t *testing.T, dir string, args ...string) (status int, out string) {
	t.Helper()
	cmd := belaCommand(t, dir, args...)
	b, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(b)
}

func belaCommand(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	return belaCommandWithin(t, 4*time.Minute, dir, args...)
}

func belaCommandWithin(t *testing.T, limit time.Duration, dir string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath("bela") // testscript put the test binary there
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	if err := os.MkdirAll(labRoot(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+labRoot(dir))
	return cmd
}

// shipped is the path of an experiment that ships with bela.
func shipped(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../../experiments", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// assertWhole demands what every finished run must have, however busy the
// machine was: closed books in which everything published arrived, a latency,
// and the use of all five kinds of components.
func assertWhole(t *testing.T, dir string, cells int) {
	t.Helper()
	run, err := store.Open("latest", filepath.Join(dir, "results"))
	if err != nil {
		t.Fatal(err)
	}
	if len(run.Cells) != cells {
		t.Fatalf("%d cells, want %d", len(run.Cells), cells)
	}
	for _, c := range run.Cells {
		l := c.Ledger
		if !l.Closed || l.Published == 0 || l.Delivered+l.Dropped != l.Published {
			t.Errorf("cell %d: ledger %+v", c.Number, l)
		}
		if c.Latency.P50 == nil || *c.Latency.P50 <= 0 {
			t.Errorf("cell %d: latency %+v", c.Number, c.Latency)
		}
		kinds := make(map[string]bool)
		for _, u := range c.Components {
			if u.CPUMean != nil && *u.CPUMean > 0 && u.MemoryMax != nil && *u.MemoryMax > 0 {
				kinds[u.Component] = true
			}
		}
		for _, name := range []string{"broker", "nats", "stan", "gateway", "hub"} {
			if !kinds[name] {
				t.Errorf("cell %d: no CPU and memory of %s", c.Number, name)
			}
		}
	}
	for _, name := range []string{"experiment.hcl", "variables.json", "plan.json", "environment.json", "journal.jsonl", "events.jsonl",
		"metrics.lp.gz", "cells.csv", "components.csv", "series.csv", "report.html", "cells/001/summary.json", "cells/001/logs"} {
		if _, err := os.Stat(filepath.Join(run.Dir, name)); err != nil {
			t.Errorf("the run directory has no %s", name)
		}
	}
}

// assertStatus takes 0, and 4 where the machine was too busy for the generator:
// then, and only then, may a cell be invalid.
func assertStatus(t *testing.T, dir string, status int, out string) {
	t.Helper()
	if status == int(campaign.Done) {
		return
	}
	run, err := store.Open("latest", filepath.Join(dir, "results"))
	if err != nil {
		t.Fatalf("status %d: %v\n%s", status, err, out)
	}
	for _, c := range run.Cells {
		for _, r := range c.Reasons {
			if r.Verdict == measure.Invalid && r.Code != "generator_late" {
				t.Fatalf("status %d: %s\n%s", status, r.Text, out)
			}
		}
	}
	if status != int(campaign.Incomplete) {
		t.Fatalf("status %d\n%s", status, out)
	}
}

// The README's first command, in small: a run on the lab leaves its results,
// and nothing else.
func TestLabRun(t *testing.T) {
	needAgents(t)
	t.Parallel()
	dir := t.TempDir()
	status, out := bela(t, dir, "run", shipped(t, "quick.hcl"), "-var", "measure=3s")
	assertStatus(t, dir, status, out)
	assertWhole(t, dir, 1)
	if strings.Contains(out, "\x1b") {
		t.Error("escape codes in output that is not a terminal's")
	}
	assertNothingLeft(t, dir)
	if status, out := bela(t, dir, "report"); status != 0 || !strings.Contains(out, "broker") {
		t.Errorf("report: status %d\n%s", status, out)
	}
	if status, out := bela(t, dir, "export"); status != 0 {
		t.Errorf("export: status %d\n%s", status, out)
	}
}

// assertNothingLeft demands that no process has a directory of the run's lab in
// its arguments, and that the lab's directory is gone. Every lab that a test
// starts is below its own temporary directory, so that tests tell theirs apart.
func assertNothingLeft(t *testing.T, dir string) {
	t.Helper()
	for _, what := range leftOf(t, dir) {
		t.Errorf("left behind: %s", what)
	}
}

// leftOf are the processes and files of labs made by a process that ran in dir.
func leftOf(t *testing.T, dir string) []string {
	t.Helper()
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	left, _ := filepath.Glob(filepath.Join(labRoot(dir), "*"))
	for _, path := range commands {
		if text, err := os.ReadFile(path); err == nil && bytes.Contains(text, []byte(labRoot(dir))) {
			left = append(left, fmt.Sprintf("%s %s", path, bytes.ReplaceAll(text, []byte{0}, []byte{' '})))
		}
	}
	return left
}

// labRoot is where a process that runs in dir makes its labs.
func labRoot(dir string) string { return filepath.Join(dir, "tmp") }

// The same experiment runs through a real OpenSSH server, with nothing changed
// but the inventory, and leaves the machine as it was.
func TestOpenSSH(t *testing.T) {
	needAgents(t)
	t.Parallel()
	dir := t.TempDir()
	remote := overSSH(t, dir)

	status, out := bela(t, dir, "nodes", shipped(t, "quick.hcl"), "-inventory", "lab.hcl")
	if status != 0 || !strings.Contains(out, "customer-1") {
		t.Fatalf("nodes: status %d\n%s", status, out)
	}
	status, out = bela(t, dir, "run", shipped(t, "quick.hcl"), "-inventory", "lab.hcl", "-var", "measure=3s")
	assertStatus(t, dir, status, out)
	assertWhole(t, dir, 1)
	if left, _ := filepath.Glob(remote + "*"); len(left) > 0 {
		t.Errorf("left on the machine: %v", left)
	}
	status, out = bela(t, dir, "doctor", shipped(t, "quick.hcl"), "-inventory", "lab.hcl")
	if status != 0 {
		t.Errorf("doctor: status %d\n%s", status, out)
	}
	status, out = bela(t, dir, "clean", shipped(t, "quick.hcl"), "-inventory", "lab.hcl")
	if status != 0 {
		t.Errorf("clean: status %d\n%s", status, out)
	}

	// A host key that is not known is status 3, with the fingerprint, and
	// nothing is started.
	write(t, filepath.Join(dir, "known_hosts"), "")
	status, out = bela(t, dir, "run", shipped(t, "quick.hcl"), "-inventory", "lab.hcl")
	if status != int(campaign.Unreachable) || !strings.Contains(out, "SHA256:") {
		t.Errorf("unknown host key: status %d\n%s", status, out)
	}
}

// overSSH makes four nodes on one OpenSSH server, one a role, with an inventory
// in dir/lab.hcl, and returns the beginning of bela's directories there.
func overSSH(t *testing.T, dir string) (remote string) {
	t.Helper()
	const nodes = 4
	port := freePort(t)
	var listen, hosts []string
	for i := range nodes {
		// Addresses of its own for each, since components listen at ports of theirs.
		address := fmt.Sprintf("127.%d.%d.%d:%d", 128+port/250%100, port%250, i+1, port)
		listen = append(listen, "ListenAddress "+address)
		hosts = append(hosts, address)
	}
	server := sshdtest.Start(t, sshdtest.Options{Config: listen})
	var known []string
	for _, h := range hosts {
		known = append(known, knownhosts.Line([]string{knownhosts.Normalize(h)}, server.HostKey))
	}
	write(t, filepath.Join(dir, "known_hosts"), strings.Join(known, "\n")+"\n")
	remote = filepath.Join(t.TempDir(), "remote")
	inventory := fmt.Sprintf(`
ssh {
  user        = %q
  key_files   = [%q]
  known_hosts = %q
  directory   = %q
}
`, server.User, server.KeyFile, filepath.Join(dir, "known_hosts"), remote)
	for i, group := range []string{"master", "worker", "iot", "customer"} {
		inventory += fmt.Sprintf("node %q { hosts = [%q] }\n", group, hosts[i])
	}
	write(t, filepath.Join(dir, "lab.hcl"), inventory)
	return remote
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// Ctrl-C stops cleanly, with status 130; a second one ends at once.
func TestInterruptedRun(t *testing.T) {
	needAgents(t)
	t.Parallel()
	for _, tc := range []struct {
		name    string
		signals int
	}{{"once", 1}, {"twice", 2}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			cmd := belaCommand(t, dir, "run", shipped(t, "quick.hcl"), "-var", "measure=60s")
			out := &watched{want: "measure 1m", seen: make(chan struct{})}
			cmd.Stdout, cmd.Stderr = out, out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			select {
			case <-out.seen:
			case <-time.After(60 * time.Second):
				t.Fatalf("it never measured\n%s", out)
			}
			for range tc.signals {
				if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
					t.Fatal(err)
				}
				time.Sleep(20 * time.Millisecond) // two signals at once are one
			}
			_ = cmd.Wait()
			if got := cmd.ProcessState.ExitCode(); got != int(campaign.Interrupted) {
				t.Fatalf("status %d, want 130\n%s", got, out)
			}
			if tc.signals > 1 { // who leaves at once leaves a sweeper behind, which then asks everything to end
				awaitNothingLeft(t, dir)
			}
			assertNothingLeft(t, dir)
		})
	}
}

// watched is output that tells when a text has been written to it.
type watched struct {
	want string
	seen chan struct{}
	buf  bytes.Buffer
	done bool
}

func (w *watched) Write(p []byte) (int, error) {
	n, err := w.buf.Write(p)
	if !w.done && strings.Contains(w.buf.String(), w.want) {
		w.done = true
		close(w.seen)
	}
	return n, err
}

func (w *watched) String() string { return w.buf.String() }

// What stands in InfluxDB after a run must be what the run directory holds:
// every point, and no other.
func TestInfluxDB(t *testing.T) {
	needAgents(t)
	t.Parallel()
	db := influxtest.Start(t, false, "bela")
	dir := t.TempDir()
	run := func() string {
		cmd := belaCommand(t, dir, "run", shipped(t, "qos1.hcl"), "-only", "cell.devices == 1", "-var", "measure=3s", "-var", "warmup=1s")
		cmd.Env = append(cmd.Env, "INFLUX_URL="+db.URL)
		out, err := cmd.CombinedOutput()
		if err != nil && cmd.ProcessState == nil {
			t.Fatal(err)
		}
		assertStatus(t, dir, cmd.ProcessState.ExitCode(), string(out))
		return string(out)
	}
	run()
	assertStored(t, dir, db)

	// A database that is not there is said, and costs the run nothing.
	db.Stop(t)
	begun := time.Now()
	if out := run(); !strings.Contains(out, "InfluxDB") {
		t.Errorf("nothing is said of InfluxDB:\n%s", out)
	}
	if d := time.Since(begun); d > 90*time.Second {
		t.Errorf("the run took %v", d)
	}

	// It gets the run later.
	db.Start(t)
	before := len(db.Stored(t, "bela"))
	if status, out := bela(t, dir, "export", "latest", "-influx", db.URL); status != 0 {
		t.Fatalf("export: status %d\n%s", status, out)
	}
	if after := len(db.Stored(t, "bela")); after <= before {
		t.Errorf("the database has %d values after the export, and had %d", after, before)
	}
}

// A program that follows a run reads one event a line, from the first to the last.
func TestJSONView(t *testing.T) {
	needAgents(t)
	t.Parallel()
	dir := t.TempDir()
	cmd := belaCommand(t, dir, "run", shipped(t, "quick.hcl"), "-var", "measure=1s", "-view", "json")
	out, err := cmd.Output()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	assertStatus(t, dir, cmd.ProcessState.ExitCode(), string(out))
	var events []event.Event
	for line := range bytes.Lines(out) {
		var e event.Event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("line %d: %v\n%s", len(events)+1, err, line)
		}
		events = append(events, e)
	}
	if len(events) < 10 || events[0].Data.Kind() != event.KindRunStarted || events[len(events)-1].Data.Kind() != event.KindRunFinished {
		t.Errorf("%d events, from the first to the last?\n%s", len(events), out)
	}
}
