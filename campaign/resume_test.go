package campaign_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bela/campaign"
	"bela/event"
	"bela/influx"
	"bela/measure"
	"bela/store"
)

// goOn resumes the rig's run with new views and reads it back.
func (r *rig) goOn(t *testing.T, retryInvalid bool) (campaign.Summary, *store.Reader) {
	t.Helper()
	dir, err := store.Reopen(r.root)
	if err != nil {
		t.Fatal(err)
	}
	before, err := store.Open(r.root, "")
	if err != nil {
		t.Fatal(err)
	}
	r.events = new(recorder)
	r.config.Store, r.config.Sinks = dir, []campaign.Sink{r.events}
	r.config.Environment = store.Environment{BelaVersion: "2.0", StartedAt: time.Now().UTC()}
	r.config.Earlier = &campaign.Earlier{Run: before, RetryInvalid: retryInvalid, Views: r.config.Sinks}
	summary, run, err := r.run(t, t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return summary, run
}

// threeCells is three cells; one does not hold its expectation.
var threeCells = inExperiment(simplest, "matrix { size = [100, 200, 300] }") + `
expect "not the first" { that = cell.size > 100 }
`

// A run that was stopped in its second cell must go on with that, and its status
// be that of all three cells: also of the one that was measured before.
func TestResume(t *testing.T) {
	t.Parallel()
	r := newRig(t, threeCells, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	r.events.on = func(e event.Event) {
		if p, ok := e.Data.(event.PhaseStarted); ok && p.Position == 2 && p.Phase == event.PhaseMeasure {
			cancel(campaign.ErrInterrupted)
		}
	}
	summary, run, _ := r.run(t, ctx)
	if summary.Status != campaign.Interrupted || len(run.Cells) != 1 {
		t.Fatalf("summary %+v with %d cells, want one and an interrupt", summary, len(run.Cells))
	}

	summary, run = r.goOn(t, false)
	if len(run.Cells) != 3 || summary.Missing != 0 || summary.Valid+summary.Degraded+summary.Invalid != 3 {
		t.Fatalf("summary %+v with %d cells, want three", summary, len(run.Cells))
	}
	if summary.Invalid == 0 && (summary.Status != campaign.Unmet || !strings.Contains(summary.Reason, "in cell 1")) {
		t.Errorf("status %d (%s): the first cell does not hold its expectation", summary.Status, summary.Reason)
	}
	if got := fmt.Sprint(r.attempts()); got != "[2/2 3/1]" {
		t.Errorf("attempts %s, want the second at the second cell, and the first at the third", got)
	}
	if _, err := os.Stat(filepath.Join(run.CellDir(2), "attempt-1")); err != nil {
		t.Errorf("what was broken off is not set aside: %v", err)
	}
	assertToldBefore(t, r)
	assertNumbered(t, run)
	assertEncoded(t, run)
	if e := run.Environment.Resumed; len(e) != 1 || e[0].BelaVersion != "2.0" || len(e[0].Nodes) != 3 {
		t.Errorf("the environment tells of going on %+v", e)
	}
	t.Run("what was not told", func(t *testing.T) { testAdopted(t, r) })
}

// assertToldBefore demands that a view first learns how the run began and which
// result stands, and then that it goes on.
func assertToldBefore(t *testing.T, r *rig) {
	t.Helper()
	var kinds []event.Kind
	for _, e := range r.events.list()[:3] {
		kinds = append(kinds, e.Data.Kind())
	}
	if got := fmt.Sprint(kinds); got != "[run_started cell_finished run_resumed]" {
		t.Errorf("views were told %s", got)
	}
	if d, ok := r.events.list()[2].Data.(event.RunResumed); ok && (d.Done != 1 || d.Left != 2 || len(d.Nodes) != 3) {
		t.Errorf("%+v, want one cell done and two left", d)
	}
}

// assertNumbered demands events without gaps.
func assertNumbered(t *testing.T, run *store.Reader) {
	t.Helper()
	var last uint64
	if err := run.Events(func(e event.Event) {
		if e.Seq != last+1 {
			t.Errorf("event %d follows %d", e.Seq, last)
		}
		last = e.Seq
	}); err != nil {
		t.Fatal(err)
	}
}

// assertEncoded demands that the metrics are the run's events, all and no others.
func assertEncoded(t *testing.T, run *store.Reader) {
	t.Helper()
	encoder := influx.NewEncoder(run.Plan.Experiment, filepath.Base(run.Dir))
	var want []byte
	if err := run.Events(func(e event.Event) { want = encoder.Append(want, e) }); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(metricLines(t, filepath.Join(run.Dir, "metrics.lp.gz")), "\n") + "\n"; got != string(want) {
		t.Errorf("metrics.lp.gz has %d bytes, the events encode to %d", len(got), len(want))
	}
}

// testAdopted takes from a finished run what a kill right after its last result
// would have kept from being written: the result stands, is told, and no cell
// runs.
func testAdopted(t *testing.T, r *rig) {
	cutLines(t, filepath.Join(r.root, "journal.jsonl"), `"cell_done","position":3`)
	cutLines(t, filepath.Join(r.root, "events.jsonl"), `"kind":"cell_finished","data":{"cell":{"position":3`)
	metrics := filepath.Join(r.root, "metrics.lp.gz")
	lines := metricLines(t, metrics)
	var kept bytes.Buffer
	z := gzip.NewWriter(&kept)
	for i, line := range lines {
		if i == len(lines)/2 { // in the middle of what the events still have
			break
		}
		_, _ = z.Write([]byte(line + "\n"))
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(metrics, kept.Bytes()[:kept.Len()-4], 0o600); err != nil { // torn
		t.Fatal(err)
	}

	summary, run := r.goOn(t, false)
	if len(run.Cells) != 3 || summary.Missing != 0 || len(r.attempts()) != 0 {
		t.Fatalf("summary %+v with %d cells after attempts %v, want three and none", summary, len(run.Cells), r.attempts())
	}
	if !run.Done(3) || run.Finished() == nil {
		t.Errorf("the journal ends with %+v", run.Journal[len(run.Journal)-1])
	}
	assertNumbered(t, run)
	if told := r.told(); !strings.Contains(told, "metrics.lp.gz") {
		t.Errorf("nothing is said of the torn metrics:\n%s", told)
	}
	assertEncoded(t, run)
	now := metricLines(t, metrics)
	seen := make(map[string]bool)
	results := 0
	for _, line := range now {
		if seen[line] {
			t.Errorf("twice in the metrics: %s", line)
		}
		seen[line] = true
		if strings.HasPrefix(line, "bela_cell,") {
			results++
		}
	}
	if results != 3 {
		t.Errorf("%d results in the metrics, want 3", results)
	}
}

// cutLines cuts a file off before the first line that has text in it.
func cutLines(t *testing.T, path, text string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	i := bytes.Index(b, []byte(text))
	if i < 0 {
		t.Fatalf("%s has no %s", path, text)
	}
	if err := os.WriteFile(path, b[:bytes.LastIndexByte(b[:i], '\n')+1], 0o600); err != nil {
		t.Fatal(err)
	}
}

func metricLines(t *testing.T, path string) []string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // only read
	var lines []string
	for line, err := range influx.ReadLines(f) {
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(line))
	}
	return lines
}

// An invalid cell of a finished run is left as it is, and run again where that is
// asked for; what it was stays beside it.
func TestResumeRetryInvalid(t *testing.T) {
	t.Parallel()
	marker := filepath.Join(t.TempDir(), "marker")
	r := newRig(t, inExperiment(simplest, "matrix { size = [100, 200] }")+fmt.Sprintf(`
component "sidecar" {
  on      = node.worker
  command = ["/bin/sh", "-c", "if [ ${cell.size} -eq 100 ] && [ ! -e %[1]s ]; then touch %[1]s; exit 1; fi; exec sleep 60"]
}`, marker), nil)
	summary, run, err := r.run(t, t.Context())
	if err != nil || summary.Status != campaign.Incomplete {
		t.Fatalf("summary %+v, %v: want an invalid cell", summary, err)
	}
	if end := (&campaign.Earlier{Run: run}).End(); end == nil || end.Status != campaign.Incomplete || !strings.Contains(end.Reason, "-retry-invalid") {
		t.Errorf("without being asked there is %+v to do", end)
	}
	_, run = r.goOn(t, true)
	c := run.Cells[0]
	if c.Attempt != 2 || len(c.Attempts) != 2 || c.Attempts[0].Verdict != measure.Invalid || c.Ledger.Delivered == 0 {
		t.Errorf("the first cell is of attempt %d of %+v, with %d delivered", c.Attempt, c.Attempts, c.Ledger.Delivered)
	}
	for _, again := range r.attempts() {
		if !strings.HasPrefix(again, "1/2") && run.Cells[1].Attempt == 1 {
			t.Errorf("attempt %s at a cell that was valid", again)
		}
	}
}

// Whether the repetitions are enough is decided from what is stored: a run that
// was killed when it had enough must end without another.
func TestResumeRepeat(t *testing.T) {
	t.Parallel()
	r := newRig(t, inExperiment(simplest, `
  repeat {
    until   = "offered_msg_s"
    within  = "1%"
    at_most = 12
  }`), nil)
	rate, none := 40.0, 0.0
	dir := r.config.Store
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(dir.Event(event.Event{Seq: 1, Time: time.Now(), Data: event.RunStarted{Run: dir.Name()}}))
	must(dir.Journal(store.Entry{Kind: store.RunStarted}))
	for i, cell := range r.config.Plan.Cells[:6] {
		must(dir.Journal(store.Entry{Kind: store.CellStarted, Position: cell.Position, Number: 1, Repetition: cell.Repetition, Attempt: 1}))
		must(dir.WriteCell(store.CellResult{Cell: measure.Cell{
			Position: cell.Position, Number: 1, Repetition: cell.Repetition, Attempt: 1, Verdict: measure.Valid, MeasuredSeconds: 1,
			OfferedRate: &rate, DropsPer5Min: &none,
		}}))
		must(dir.Event(event.Event{Seq: uint64(i + 2), Time: time.Now(), Data: event.CellFinished{Cell: event.CellRef{Position: cell.Position, Attempt: 1}}}))
		must(dir.Journal(store.Entry{Kind: store.CellDone, Position: cell.Position, Number: 1, Repetition: cell.Repetition, Attempt: 1, Verdict: measure.Valid}))
	}
	must(dir.Close())

	summary, run := r.goOn(t, false)
	if summary.Status != campaign.Done || summary.Valid != 6 || summary.Missing != 0 || len(r.attempts()) != 0 {
		t.Errorf("summary %+v after attempts %v, want the six that are there", summary, r.attempts())
	}
	if len(run.Missing()) != 0 {
		t.Errorf("%d cells are missing", len(run.Missing()))
	}
}
