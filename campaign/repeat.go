package campaign

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"bela/event"
	"bela/experiment"
	"bela/measure"
	"bela/store"
)

// runCell runs one cell, and again while it is invalid and the plan allows it.
// Its error ends the run; a cell that failed on its own is an invalid result
// instead. What ends the run ends the attempts too: the cell then has no
// result, and the attempts before stay where they were put aside.
func (r *runner) runCell(ctx context.Context, cell experiment.Cell) error {
	var earlier []measure.Attempt
	for attempt := 1; ; attempt++ {
		if err := r.testbed.recover(ctx); err != nil {
			return &nodeError{err}
		}
		result, err := r.attempt(ctx, r.newCell(cell, attempt), earlier)
		if err != nil {
			return err
		}
		ended := context.Cause(ctx)
		if result.Verdict != measure.Invalid || attempt > r.Plan.Retry || ended != nil {
			r.results = append(r.results, result)
			return ended
		}
		earlier = append(earlier, outcome(result))
		r.emit(event.Message{
			Level: "warn", Position: cell.Position,
			Text: fmt.Sprintf("attempt %d is invalid: %s; the cell runs again, attempt %d of at most %d", attempt, reasons(result), attempt+1, r.Plan.Retry+1),
		})
	}
}

// attempt makes one attempt at a cell and makes its result durable.
func (r *runner) attempt(ctx context.Context, c *cellRun, earlier []measure.Attempt) (measure.Cell, error) {
	if err := r.store.Journal(c.entry(store.CellStarted)); err != nil {
		return measure.Cell{}, &recordError{err}
	}
	if n := len(earlier); n > 0 {
		// Only now: the journal does not call the cell done any more.
		if err := r.store.SetAside(c.cell.Position, earlier[n-1].Attempt); err != nil {
			return measure.Cell{}, &recordError{err}
		}
	}
	r.emit(event.CellStarted{Cell: c.ref})
	r.setCurrent(c)
	failure := c.run(ctx)
	r.setCurrent(nil)
	if err := context.Cause(ctx); err != nil {
		entry := c.entry(store.CellFailed)
		entry.Reason = err.Error()
		return measure.Cell{}, first(err, r.store.Journal(entry))
	}
	record := c.record(failure)
	if len(earlier) > 0 {
		record.Cell.Attempts = slices.Concat(earlier, []measure.Attempt{outcome(record.Cell)})
	}
	if err := r.store.WriteCell(record); err != nil {
		return measure.Cell{}, &recordError{err}
	}
	entry := c.entry(store.CellDone)
	entry.Verdict = record.Cell.Verdict
	if err := r.store.Journal(entry); err != nil {
		return measure.Cell{}, &recordError{err}
	}
	r.emit(event.CellFinished{Cell: c.ref, Result: record.Cell})
	return record.Cell, nil
}

// outcome is what later attempts tell of this one.
func outcome(c measure.Cell) measure.Attempt {
	return measure.Attempt{Attempt: c.Attempt, StartedAt: c.StartedAt, Verdict: c.Verdict, Reasons: c.Reasons}
}

// reasons are those that made a cell invalid, in words.
func reasons(c measure.Cell) string {
	var all []string
	for _, r := range c.Reasons {
		if r.Verdict == measure.Invalid {
			all = append(all, r.Code+": "+r.Text)
		}
	}
	return strings.Join(all, "; ")
}
