package campaign_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bela/campaign"
	"bela/event"
	"bela/measure"
	"bela/store"
)

// inExperiment adds arguments and blocks to the experiment block of small.
func inExperiment(text, more string) string {
	return strings.Replace(text, "seed = 7", "seed = 7\n"+more, 1)
}

// told are the texts of the run's messages.
func (r *rig) told() string {
	var all []string
	for _, e := range r.events.list() {
		if m, ok := e.Data.(event.Message); ok {
			all = append(all, m.Text)
		}
	}
	return strings.Join(all, "\n")
}

// attempts are "position/attempt" of the cells that started.
func (r *rig) attempts() []string {
	var all []string
	for _, e := range r.events.list() {
		if c, ok := e.Data.(event.CellStarted); ok {
			all = append(all, fmt.Sprintf("%d/%d", c.Cell.Position, c.Cell.Attempt))
		}
	}
	return all
}

// A cell that broke for a passing reason must be measured by its next attempt,
// with the broken one kept to look into; one that never works must end invalid
// after the attempts that the file allows.
func TestRetry(t *testing.T) {
	t.Parallel()
	marker := filepath.Join(t.TempDir(), "marker")
	r := newRig(t, inExperiment(fmt.Sprintf(small, "[2, 3]", fmt.Sprintf(`
component "sidecar" {
  on      = node.worker
  command = ["/bin/sh", "-c", "if [ ${cell.devices} -eq 3 ] || [ ! -e %[1]s ]; then touch %[1]s; echo cannot find the license; exit 1; fi; exec sleep 60"]
}`, marker)), "retry = 1"), nil)
	summary, run, err := r.run(t, t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if summary.Missing != 0 || summary.Invalid == 0 || len(run.Cells) != 2 {
		t.Fatalf("summary %+v with %d cells, want two, the second invalid", summary, len(run.Cells))
	}
	if got := fmt.Sprint(r.attempts()); got != "[1/1 1/2 2/1 2/2]" {
		t.Errorf("attempts %s, want two at each cell", got)
	}
	cell := run.Cells[0]
	if cell.Attempt != 2 || cell.Ledger.Delivered != 2*10*3 || strings.Contains(fmt.Sprint(cell.Reasons), "cell_failed") {
		t.Errorf("the first cell's result is of attempt %d with %d delivered: %+v", cell.Attempt, cell.Ledger.Delivered, cell.Reasons)
	}
	if a := cell.Attempts; len(a) != 2 || a[0].Verdict != measure.Invalid || !strings.Contains(a[0].Reasons[0].Text, "sidecar-1") ||
		a[1].Attempt != 2 || a[1].Verdict != cell.Verdict {
		t.Errorf("the first cell tells of the attempts %+v", a)
	}
	if a := run.Cells[1].Attempts; run.Cells[1].Verdict != measure.Invalid || len(a) != 2 || a[1].Verdict != measure.Invalid {
		t.Errorf("the second cell is %s after %+v", run.Cells[1].Verdict, a)
	}
	assertSetAside(t, run)
	if table, err := os.ReadFile(filepath.Join(r.root, "cells.csv")); err != nil || strings.Count(string(table), "\n") != 3 {
		t.Errorf("cells.csv must have one row a cell and repetition (%v):\n%s", err, table)
	}
	var journal []string
	for _, e := range run.Journal {
		if e.Position == 1 {
			journal = append(journal, fmt.Sprintf("%s/%d", e.Kind, e.Attempt))
		}
	}
	if got := fmt.Sprint(journal); got != "[cell_started/1 cell_done/1 cell_started/2 cell_done/2]" {
		t.Errorf("the journal tells of the first cell %s", got)
	}
	if told := r.told(); !strings.Contains(told, "attempt 1 is invalid: cell_failed") || !strings.Contains(told, "attempt 2 of at most 2") {
		t.Errorf("no message tells of the second attempt:\n%s", told)
	}
	assertMetrics(t, r)
}

// assertSetAside demands the first cell's first attempt, whole.
func assertSetAside(t *testing.T, run *store.Reader) {
	t.Helper()
	aside := filepath.Join(run.CellDir(1), "attempt-1")
	text, err := os.ReadFile(filepath.Join(aside, "summary.json"))
	if err != nil {
		t.Fatal(err)
	}
	var first measure.Cell
	if err := json.Unmarshal(text, &first); err != nil || first.Attempt != 1 || first.Verdict != measure.Invalid {
		t.Errorf("the first attempt's summary (%v): %+v", err, first)
	}
	logs, err := filepath.Glob(filepath.Join(aside, "logs", "*sidecar*"))
	if err != nil || len(logs) != 1 {
		t.Fatalf("the first attempt's log of the sidecar: %v %v", logs, err)
	}
	if log, err := os.ReadFile(logs[0]); err != nil || !strings.Contains(string(log), "license") {
		t.Errorf("the first attempt's log (%v) says %q", err, log)
	}
}

// simplest is a broker under a load of a second, so that many cells take little
// time.
const simplest = `
experiment "simplest" {
  seed = 7
  phases {
    warmup  = "0s"
    measure = "1s"
  }
}
node "worker"   { count = 1 }
node "iot"      { count = 1 }
node "customer" { count = 1 }
component "broker" {
  uses = platform.broker
  on   = node.worker
}
devices {
  on    = node.iot
  count = 2
  rate  = "20/s"
}
customers {
  on    = node.customer
  count = 1
}
`

// Repetitions that nobody needs cost hours; those that were saved must not show
// as missing, in the run's status or in its report.
func TestRepeatUntil(t *testing.T) {
	t.Parallel()
	r := newRig(t, inExperiment(simplest, `
  repeat {
    until   = "offered_msg_s"
    within  = "1%"
    at_most = 12
  }`), nil)
	summary, run, err := r.run(t, t.Context())
	if err != nil {
		t.Fatal(err)
	}
	usable := 0
	for _, c := range run.Cells {
		if c.Verdict != measure.Invalid {
			usable++
		}
	}
	// The schedule is the same each time, so that six usable repetitions do.
	if usable != 6 || len(run.Cells) >= 12 {
		t.Fatalf("%d cells ran, %d of them usable, want to stop at six usable ones", len(run.Cells), usable)
	}
	if summary.Missing != 0 || len(run.Missing()) != 0 {
		t.Errorf("%d cells are missing, in the run directory %d", summary.Missing, len(run.Missing()))
	}
	want := fmt.Sprintf("%d repetitions are enough", len(run.Cells))
	if told := r.told(); !strings.Contains(told, want) {
		t.Errorf("no message says %q:\n%s", want, told)
	}
	said := false
	for _, e := range run.Journal {
		said = said || e.Kind == store.RepetitionsEnough && e.Repetition == len(run.Cells) && strings.HasPrefix(e.Reason, want)
	}
	if !said {
		t.Errorf("the journal does not say why the run ended early: %+v", run.Journal)
	}
}

// Ctrl-C means stop: an invalid cell is not tried again after it, and keeps the
// result that it has.
func TestInterruptedIsNotRetried(t *testing.T) {
	t.Parallel()
	r := newRig(t, inExperiment(fmt.Sprintf(small, "[2, 3]", `
component "sidecar" {
  on      = node.worker
  command = ["/bin/false"]
}`), "retry = 5"), nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	r.events.on = func(e event.Event) {
		if _, ok := e.Data.(event.CellFinished); ok {
			cancel(campaign.ErrInterrupted)
		}
	}
	summary, run, _ := r.run(t, ctx)
	if got := fmt.Sprint(r.attempts()); got != "[1/1]" {
		t.Errorf("attempts %s after the interrupt", got)
	}
	if summary.Status != campaign.Interrupted || summary.Invalid != 1 || summary.Missing != 1 || len(run.Cells) != 1 {
		t.Errorf("summary %+v with %d cells, want one invalid and one missing", summary, len(run.Cells))
	}
}

// Ctrl-C during a second attempt must leave the first one where it can be
// looked into, and a run that opens: the cell itself has no result then.
func TestInterruptedRetryKeepsTheFirstAttempt(t *testing.T) {
	t.Parallel()
	r := newRig(t, inExperiment(simplest, "retry = 1")+`
component "sidecar" {
  on      = node.worker
  command = ["/bin/sh", "-c", "echo cannot find the license; exit 1"]
}`, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	r.events.on = func(e event.Event) {
		if c, ok := e.Data.(event.CellStarted); ok && c.Cell.Attempt == 2 {
			cancel(campaign.ErrInterrupted)
		}
	}
	summary, run, _ := r.run(t, ctx)
	if summary.Status != campaign.Interrupted || summary.Missing != 1 || len(run.Cells) != 0 || len(run.Missing()) != 1 {
		t.Errorf("summary %+v with %d cells, want the cell missing", summary, len(run.Cells))
	}
	assertSetAside(t, run)
	if table, err := os.ReadFile(filepath.Join(r.root, "cells.csv")); err != nil || strings.Count(string(table), "\n") != 1 {
		t.Errorf("cells.csv must not have the attempt that was put aside (%v):\n%s", err, table)
	}
}
