package main

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"bela/campaign"
	"bela/influx/influxtest"
	"bela/report"
	"bela/store"
)

// drillCells is how many cells testdata/drill.hcl has.
const drillCells = 3

// Killed at any moment, and again while it goes on, a run must cost no more than
// the cell in progress: at the end each cell is there once, from one attempt,
// and nothing is left anywhere. BELA_DRILL=1 kills 50 times instead of 6, and
// BELA_DRILL_SEED repeats the moments of an earlier drill.
func TestKilled(t *testing.T) {
	needAgents(t)
	t.Parallel()
	// A cell takes about three seconds, and what comes before the first about one:
	// some kills come early, and some after a cell or two.
	kills, span, seed := 6, 6*time.Second, uint64(time.Now().UnixNano())
	if os.Getenv("BELA_DRILL") == "1" {
		kills, span = 50, 10*time.Second
	}
	if text := os.Getenv("BELA_DRILL_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("BELA_DRILL_SEED: %v", err)
		}
	}
	t.Logf("BELA_DRILL_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for run := 1; kills > 0 && !t.Failed(); run++ {
		d := &drill{t: t, dir: t.TempDir(), file: drillFile(t), span: span}
		kills -= d.run(random, kills)
		t.Logf("run %d: killed after %v", run, d.moments)
		d.verify()
	}
}

func drillFile(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("testdata/drill.hcl")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// drill is a run that is killed.
type drill struct {
	t       *testing.T
	dir     string
	file    string
	args    []string      // of run and resume
	span    time.Duration // kills come within it
	moments []time.Duration
	out     []byte // of the last process
}

// run runs the experiment to its end and kills it up to most times on the way.
func (d *drill) run(random *rand.Rand, most int) (kills int) {
	d.t.Helper()
	for {
		limit := time.Duration(-1)
		if kills < most {
			limit = time.Duration(random.Int64N(int64(d.span)))
		}
		status, killed := d.next(limit)
		if !killed {
			// A busy machine may make a cell invalid; it is a result all the same.
			if status != int(campaign.Done) && status != int(campaign.Incomplete) {
				d.t.Fatalf("status %d\n%s", status, d.out)
			}
			return kills
		}
		kills++
		d.moments = append(d.moments, limit.Round(time.Millisecond))
		d.readable()
	}
}

// next starts or resumes the run and kills it after limit, unless it ends
// before; a negative limit is none.
func (d *drill) next(limit time.Duration) (status int, killed bool) {
	d.t.Helper()
	args := append([]string{"run", d.file}, d.args...)
	if d.begun() {
		args = append([]string{"resume", "latest"}, d.args...)
	}
	cmd := belaCommand(d.t, d.dir, append(args, "-view", "plain")...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &out, 5*time.Second
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	if limit >= 0 {
		timer := time.AfterFunc(limit, func() { _ = cmd.Process.Kill() })
		defer timer.Stop()
	}
	err := cmd.Wait()
	d.out = out.Bytes()
	if cmd.ProcessState == nil {
		d.t.Fatal(err)
	}
	status = cmd.ProcessState.ExitCode()
	return status, status == -1
}

// begun says whether there is a run to go on with: a kill may come before its
// plan is stored.
func (d *drill) begun() bool {
	_, err := store.Open("latest", filepath.Join(d.dir, "results"))
	if err != nil && !errors.Is(err, store.ErrNotRun) && !errors.Is(err, store.ErrIncomplete) {
		d.t.Fatal(err)
	}
	return err == nil
}

// readable demands that a run that was just killed can be reported and exported.
func (d *drill) readable() {
	d.t.Helper()
	if !d.begun() {
		return
	}
	run, err := store.Open("latest", filepath.Join(d.dir, "results"))
	if err == nil {
		err = errors.Join(report.Text(io.Discard, run, report.Options{Width: 100}), run.Rebuild())
	}
	if err != nil {
		d.t.Fatalf("after the kill at %v: %v", d.moments[len(d.moments)-1], err)
	}
}

// On real machines the agents outlive the controller: they must be taken over,
// and nothing of them be left at the end.
func TestKilledOnOpenSSH(t *testing.T) {
	needAgents(t)
	t.Parallel()
	dir := t.TempDir()
	remote := overSSH(t, dir)
	d := &drill{t: t, dir: dir, file: drillFile(t), args: []string{"-inventory", "lab.hcl"}}

	d.killAt("cell 2/3", "measure 1s")
	before := agentsAt(t, remote)
	if len(before) != 4 {
		t.Fatalf("%d agents outlived the controller, want 4\n%s", len(before), d.out)
	}
	d.args = nil // the run has the inventory
	d.killAt("cell 2/3", "attempt 2", "measure 1s")
	if got := strings.Count(string(d.out), ": taken over"); got != 4 {
		t.Errorf("%d agents were taken over, want 4\n%s", got, d.out)
	}
	if after := agentsAt(t, remote); !slices.Equal(before, after) {
		t.Errorf("the agents were %v and are %v", before, after)
	}
	d.run(nil, 0)
	d.verify()
	run, err := store.Open("latest", filepath.Join(dir, "results"))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(run.Environment.Resumed); n != 2 || len(run.Environment.Resumed[n-1].Nodes) != 4 || len(run.Environment.Resumed[n-1].Changes) > 0 {
		t.Errorf("environment.json tells of going on: %+v", run.Environment.Resumed)
	}
	logs, err := filepath.Glob(filepath.Join(run.CellDir(2), "attempt-1", "logs", "*.log"))
	if err != nil || len(logs) == 0 {
		t.Errorf("the broker's log of the attempt that was broken off is lost (%v)", err)
	}
	if left, _ := filepath.Glob(remote + "*"); len(left) > 0 {
		t.Errorf("left on the machines: %v", left)
	}
	if left := processesOf(t, remote); len(left) > 0 {
		t.Errorf("left on the machines: %v", left)
	}
}

// A database that was not there before the controller died must have the whole
// run when it has gone on: every point, and no other.
func TestKilledWithInfluxDB(t *testing.T) {
	needAgents(t)
	t.Parallel()
	db := influxtest.Start(t, false, "bela")
	db.Stop(t)
	dir := t.TempDir()
	d := &drill{t: t, dir: dir, file: withInflux(t, dir, "drill.hcl", db.URL)}
	d.killAt("cell 2/3", "measure 1s")
	db.Start(t)
	d.run(nil, 0)
	d.verify()

	assertStored(t, dir, db)
}

// killAt runs or resumes the run and kills it once its output has had each of
// the texts, one after the other.
func (d *drill) killAt(texts ...string) {
	d.t.Helper()
	args := append([]string{"run", d.file}, d.args...)
	if d.begun() {
		args = append([]string{"resume"}, d.args...)
	}
	cmd := belaCommand(d.t, d.dir, append(args, "-view", "plain")...)
	out := &sequence{want: texts, seen: make(chan struct{})}
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = out, out, 5*time.Second
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-out.seen:
	case err := <-ended:
		d.t.Fatalf("it ended before %q: %v\n%s", texts, err, out.buf.String())
	case <-time.After(2 * time.Minute):
		d.t.Errorf("it never came to %q", texts)
	}
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		d.t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := <-ended; !errors.As(err, &exit) {
		d.t.Fatalf("it was not killed: %v", err)
	}
	d.out = out.buf.Bytes()
	d.moments = append(d.moments, 0)
	if d.t.Failed() {
		d.t.Fatalf("%s", d.out)
	}
	d.readable()
}

// sequence is output that tells when texts have come in it one after the other.
type sequence struct {
	want []string
	seen chan struct{}
	from int
	buf  bytes.Buffer
}

func (s *sequence) Write(p []byte) (int, error) {
	n, err := s.buf.Write(p)
	for len(s.want) > 0 {
		i := strings.Index(s.buf.String()[s.from:], s.want[0])
		if i < 0 {
			break
		}
		s.from += i + len(s.want[0])
		if s.want = s.want[1:]; len(s.want) == 0 {
			close(s.seen)
		}
	}
	return n, err
}

// agentsAt are the process numbers of the agents below remote that live.
func agentsAt(t *testing.T, remote string) []string {
	t.Helper()
	files, err := filepath.Glob(remote + "*/run/agent.pid")
	if err != nil {
		t.Fatal(err)
	}
	var pids []string
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		pid := strings.TrimSpace(string(text))
		if exe, err := os.Readlink("/proc/" + pid + "/exe"); err == nil && strings.HasPrefix(exe, remote) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// processesOf are the processes that run from below remote.
func processesOf(t *testing.T, remote string) []string {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, l := range links {
		if exe, err := os.Readlink(l); err == nil && strings.HasPrefix(exe, remote) {
			found = append(found, l+" "+exe)
		}
	}
	return found
}
