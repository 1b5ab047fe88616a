package campaign_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"bela/campaign"
	"bela/event"
	"bela/store"
)

// An operator who skips a cell must lose that cell only: the run goes on, says who
// skipped it, and does not pretend that it was measured.
func TestSkipCell(t *testing.T) {
	t.Parallel()
	r := newRig(t, fmt.Sprintf(small, "[2, 4]", ""), nil, "measure=3s")
	control := new(campaign.Control)
	r.config.Control = control
	if err := control.SkipCell(1, "nobody"); err == nil {
		t.Error("a cell was skipped before the run began")
	}
	var early, late error
	r.events.on = func(e event.Event) {
		if p, ok := e.Data.(event.PhaseStarted); ok && p.Position == 1 && p.Phase == event.PhaseMeasure {
			early = control.SkipCell(2, "the test")
			late = control.SkipCell(1, "the test")
		}
	}
	summary, run, err := r.run(t, t.Context())
	if err != nil {
		t.Errorf("the run ended with %v", err)
	}
	if early == nil || !strings.Contains(early.Error(), "cell 2 is not running") || late != nil {
		t.Errorf("skipping the next cell: %v; the one in progress: %v", early, late)
	}
	if summary.Status != campaign.Incomplete || summary.Missing != 1 || !strings.Contains(summary.Reason, "skipped by the operator") {
		t.Errorf("summary %+v, want status 4 with one cell missing, skipped", summary)
	}
	if len(run.Cells) != 1 || run.Cells[0].Position != 2 {
		t.Errorf("%d cells have a result, want the second alone", len(run.Cells))
	}
	if len(run.Missing()) != 1 || run.Missing()[0].Position != 1 {
		t.Errorf("missing: %+v", run.Missing())
	}
	if !slices.ContainsFunc(run.Journal, func(e store.Entry) bool {
		return e.Kind == store.CellSkipped && e.Position == 1 && e.Reason == "skipped by the test"
	}) {
		t.Errorf("the journal does not say who skipped the cell: %+v", run.Journal)
	}
	skipped := slices.ContainsFunc(r.events.list(), func(e event.Event) bool {
		s, ok := e.Data.(event.CellSkipped)
		return ok && s.By == "the test" && s.Cell.Position == 1
	})
	if !skipped {
		t.Error("no event says that the cell was skipped")
	}
	if err := control.StopRun(); err == nil {
		t.Error("a run that is over was stopped")
	}
}

// Stopping a run from a view is the first Ctrl-C: clean, and said so.
func TestStopRun(t *testing.T) {
	t.Parallel()
	r := newRig(t, fmt.Sprintf(small, "[2]", ""), nil, "measure=30s")
	control := new(campaign.Control)
	r.config.Control = control
	r.events.on = func(e event.Event) {
		if p, ok := e.Data.(event.PhaseStarted); ok && p.Phase == event.PhaseConnect {
			if err := control.StopRun(); err != nil {
				t.Error(err)
			}
		}
	}
	summary, _, err := r.run(t, t.Context())
	if !errors.Is(err, campaign.ErrInterrupted) || summary.Status != campaign.Interrupted {
		t.Errorf("it ended with %v, %+v", err, summary)
	}
}

// The views draw where latencies lie, how late a node sends and how good its clock
// is from these: what they show must be there while load is on.
func TestSecondsTellLatencies(t *testing.T) {
	t.Parallel()
	r := newRig(t, fmt.Sprintf(small, "[4]", ""), nil, "measure=3s")
	if _, _, err := r.run(t, t.Context()); err != nil {
		t.Fatal(err)
	}
	var seconds, late, latency, clocks int
	for _, e := range r.events.list() {
		switch d := e.Data.(type) {
		case event.Load:
			var sum int64
			for _, n := range d.Bands {
				sum += n
			}
			if d.P50 == nil {
				continue
			}
			seconds++
			if len(d.Bands) != len(event.LatencyBounds())+1 || sum == 0 {
				t.Errorf("second %d has bands %v for %v messages", d.T, d.Bands, d.Delivered)
			}
		case event.NodeSample:
			if d.Lateness != nil && strings.HasPrefix(d.Node, "iot") {
				late++
			}
			if d.Latency != nil && strings.HasPrefix(d.Node, "customer") {
				latency++
			}
			if d.ClockError != nil && *d.ClockError > 0 && *d.ClockError < 1000 {
				clocks++
			}
		}
	}
	if seconds == 0 || late == 0 || latency == 0 || clocks == 0 {
		t.Errorf("%d seconds with latencies, %d samples with lateness, %d with latency, %d with a clock error", seconds, late, latency, clocks)
	}
}
