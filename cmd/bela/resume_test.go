package main

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
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
	"bela/event"
	"bela/influx"
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
	kills, seed := 6, uint64(time.Now().UnixNano())
	if os.Getenv("BELA_DRILL") == "1" {
		kills = 50
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
		d := &drill{t: t, dir: t.TempDir(), file: drillFile(t)}
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
	args    []string // of run and resume
	moments []time.Duration
	out     []byte // of the last process
}

// run runs the experiment to its end and kills it up to most times on the way.
func (d *drill) run(random *rand.Rand, most int) (kills int) {
	d.t.Helper()
	for {
		limit := time.Duration(-1)
		if kills < most {
			limit = time.Duration(random.Int64N(int64(5 * time.Second)))
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

// verify demands a whole run: every cell once, of one attempt, told once.
func (d *drill) verify() {
	t := d.t
	t.Helper()
	run, err := store.Open("latest", filepath.Join(d.dir, "results"))
	if err != nil {
		t.Fatal(err)
	}
	if len(run.Cells) != drillCells || run.Finished() == nil || run.Running {
		t.Fatalf("%d cells, finished %v, running %v\n%s", len(run.Cells), run.Finished(), run.Running, d.out)
	}
	for _, c := range run.Cells {
		l := c.Ledger
		if !l.Closed || l.Intended == 0 || l.Delivered+l.Late+l.Dropped != l.Expected {
			t.Errorf("cell %d: ledger %+v of %v", c.Number, l, c.Reasons)
		}
		if l.Phantom != 0 {
			t.Errorf("cell %d: %d messages of no attempt of its own", c.Number, l.Phantom)
		}
		for k := 1; k < c.Attempt; k++ {
			if _, err := os.Stat(filepath.Join(run.CellDir(c.Position), fmt.Sprintf("attempt-%d", k))); err != nil {
				t.Errorf("cell %d, whose result is of attempt %d: %v", c.Number, c.Attempt, err)
			}
		}
	}
	verifyTables(t, run)
	verifyJournal(t, run)
	verifyEvents(t, run)
	verifyMetrics(t, run)
	awaitNothingLeft(t, d.dir)
}

func verifyTables(t *testing.T, run *store.Reader) {
	t.Helper()
	for name, want := range map[string]int{"cells.csv": 1, "components.csv": 1, "series.csv": 0} {
		f, err := os.Open(filepath.Join(run.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(f).ReadAll()
		_ = f.Close() // only read
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		count := make(map[string]int)
		seen := make(map[string]bool)
		for _, row := range rows[1:] {
			count[row[0]]++
			key := strings.Join(row[:3], ",")
			if seen[key] {
				t.Errorf("%s has the row %s twice", name, key)
			}
			seen[key] = true
		}
		for n := 1; n <= drillCells; n++ {
			if got := count[strconv.Itoa(n)]; got == 0 || want > 0 && got != want {
				t.Errorf("%s has %d rows of cell %d", name, got, n)
			}
		}
		if len(count) != drillCells {
			t.Errorf("%s has rows of %d cells", name, len(count))
		}
	}
}

// verifyJournal demands that attempts count without gaps, that each cell is
// done once, by the attempt whose result stands, and that the end is the end.
func verifyJournal(t *testing.T, run *store.Reader) {
	t.Helper()
	started, done := make(map[int]int), make(map[int]int)
	for i, e := range run.Journal {
		switch e.Kind {
		case store.RunStarted:
			if i != 0 {
				t.Errorf("line %d of the journal begins the run again", i+1)
			}
		case store.CellStarted:
			if e.Attempt != started[e.Position]+1 || done[e.Position] != 0 {
				t.Errorf("line %d of the journal: attempt %d at cell %d after %d, done by %d", i+1, e.Attempt, e.Position, started[e.Position], done[e.Position])
			}
			started[e.Position] = e.Attempt
		case store.CellDone:
			if done[e.Position] != 0 {
				t.Errorf("line %d of the journal: cell %d is done twice", i+1, e.Position)
			}
			done[e.Position] = e.Attempt
		case store.RunFinished:
			if i != len(run.Journal)-1 {
				t.Errorf("line %d of the journal ends the run, and %d follow", i+1, len(run.Journal)-1-i)
			}
		}
	}
	for _, c := range run.Cells {
		if done[c.Position] != c.Attempt || started[c.Position] != c.Attempt {
			t.Errorf("cell %d: the result is of attempt %d, %d were started and %d is done", c.Number, c.Attempt, started[c.Position], done[c.Position])
		}
	}
}

// verifyEvents demands numbers without gaps, and one end of each cell.
func verifyEvents(t *testing.T, run *store.Reader) {
	t.Helper()
	var last uint64
	finished := make(map[int]int)
	begun := 0
	err := run.Events(func(e event.Event) {
		if e.Seq != last+1 {
			t.Errorf("event %d follows %d", e.Seq, last)
		}
		last = e.Seq
		switch d := e.Data.(type) {
		case event.RunStarted:
			begun++
		case event.CellFinished:
			if finished[d.Cell.Position] != 0 {
				t.Errorf("cell %d is told to have finished twice", d.Cell.Number)
			}
			finished[d.Cell.Position] = d.Cell.Attempt
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if begun != 1 {
		t.Errorf("the run is told to have started %d times", begun)
	}
	for _, c := range run.Cells {
		if finished[c.Position] != c.Attempt {
			t.Errorf("cell %d: the result is of attempt %d, and %d is told to have finished", c.Number, c.Attempt, finished[c.Position])
		}
	}
}

// verifyMetrics demands that no point is there twice, and one result of each cell.
func verifyMetrics(t *testing.T, run *store.Reader) {
	t.Helper()
	f, err := os.Open(filepath.Join(run.Dir, "metrics.lp.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // only read
	seen := make(map[string]bool)
	results := 0
	for line, err := range influx.ReadLines(f) {
		if err != nil {
			t.Fatal(err)
		}
		text := string(line)
		series, _, _ := strings.Cut(text, " ")
		key := series + text[strings.LastIndexByte(text, ' '):]
		if seen[key] {
			t.Errorf("twice in metrics.lp.gz: %s", key)
		}
		seen[key] = true
		if strings.HasPrefix(text, "bela_cell,") {
			results++
		}
	}
	if results != drillCells {
		t.Errorf("metrics.lp.gz has %d results of %d cells", results, drillCells)
	}
}

// awaitNothingLeft gives the lab's sweepers, which clean up after a controller
// that was killed, their time, and then demands that nothing is left.
func awaitNothingLeft(t *testing.T, dir string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if left, _ := filepath.Glob(filepath.Join(labRoot(dir), "*")); len(left) == 0 {
			break
		}
	}
	assertNothingLeft(t, dir)
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
