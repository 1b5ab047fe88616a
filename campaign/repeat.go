package campaign

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
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
	before := r.earlier[cell.Position]
	earlier := before.outcomes
	left := max(r.Plan.Retry-len(earlier), 0)
	for attempt := before.started + 1; ; attempt++ {
		if _, err := r.recover(ctx, cell.Position); err != nil {
			return r.ending(ctx, err)
		}
		now, notes, err := r.reduced(cell)
		if err != nil {
			return &nodeError{err}
		}
		c := r.newCell(now, attempt)
		c.notes = notes
		result, failure, err := r.attempt(ctx, c, earlier)
		if err != nil {
			return err
		}
		if _, skipped := errors.AsType[*skipError](failure); skipped {
			return nil
		}
		again, err := r.oncemore(ctx, result, failure, &left)
		if err != nil || again == "" {
			r.keep(result)
			return err
		}
		earlier = append(earlier, outcome(result))
		r.emit(event.Message{
			Level: "warn", Position: cell.Position,
			Text: fmt.Sprintf("attempt %d is invalid: %s; the cell runs again, %s", attempt, reasons(result), again),
		})
	}
}

// oncemore says why an invalid cell is to run once more; empty where it is not. It
// counts what is left of the retries: a testbed on which a lost node was replaced
// or left out has not had its attempt yet, and that costs none of them.
func (r *runner) oncemore(ctx context.Context, result measure.Cell, failure error, left *int) (string, error) {
	if ended := context.Cause(ctx); ended != nil {
		return "", ended
	}
	if result.Verdict != measure.Invalid {
		return "", nil
	}
	if lostNode(failure) {
		changed, err := r.recover(ctx, result.Position)
		if err != nil {
			return "", r.ending(ctx, err)
		}
		if changed {
			return "on a testbed without the node that was lost", nil
		}
	}
	if *left == 0 {
		return "", nil
	}
	if why := permanent(result, failure); why != "" {
		r.emit(event.Message{Level: "warn", Position: result.Position, Text: "the cell does not run again: " + why})
		return "", nil
	}
	*left--
	return fmt.Sprintf("attempt %d of at most %d", result.Attempt+1, result.Attempt+1+*left), nil
}

// ending is the error that ends a run whose testbed could not be made whole.
func (r *runner) ending(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if _, record := errors.AsType[*recordError](err); record {
		return err
	}
	return &nodeError{err}
}

// attempt makes one attempt at a cell and makes its result durable.
func (r *runner) attempt(ctx context.Context, c *cellRun, earlier []measure.Attempt) (result measure.Cell, failure, err error) {
	if err := r.Store.Journal(c.entry(store.CellStarted)); err != nil {
		return result, nil, &recordError{err}
	}
	if c.ref.Attempt > 1 {
		// Only now: the journal does not call the cell done any more.
		if err := r.Store.SetAside(c.cell.Position, c.ref.Attempt-1); err != nil {
			return result, nil, &recordError{err}
		}
		r.drop(c.cell.Position)
	}
	r.emit(event.CellStarted{Cell: c.ref})
	r.setCurrent(c)
	failure = c.run(ctx)
	by := r.endCurrent()
	if err := context.Cause(ctx); err != nil {
		entry := c.entry(store.CellFailed)
		entry.Reason = err.Error()
		return result, failure, first(err, r.Store.Journal(entry))
	}
	if by != nil {
		r.skipped++
		r.emit(event.CellSkipped{Cell: c.ref, By: by.by})
		entry := c.entry(store.CellSkipped)
		entry.Reason = by.Error()
		if err := r.Store.Journal(entry); err != nil {
			return result, failure, &recordError{err}
		}
		return result, by, nil
	}
	record := c.record(failure)
	if len(earlier) > 0 {
		record.Cell.Attempts = slices.Concat(earlier, []measure.Attempt{outcome(record.Cell)})
	}
	if err := r.Store.WriteCell(record); err != nil {
		return result, failure, &recordError{err}
	}
	// The journal's line makes the event durable with it: a cell that is done
	// has been told.
	r.emit(event.CellFinished{Cell: c.ref, Result: record.Cell})
	entry := c.entry(store.CellDone)
	entry.Verdict = record.Cell.Verdict
	if err := r.Store.Journal(entry); err != nil {
		return result, failure, &recordError{err}
	}
	return record.Cell, failure, nil
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

// enough says whether the repetitions that ran make the others needless. It is
// asked between two repetitions; ran is how many cells the finished ones have.
func (r *runner) enough(repetition, ran int) (bool, error) {
	p := r.Plan.Repeat
	if p == nil || repetition < p.AtLeast {
		return false, nil
	}
	if slices.ContainsFunc(r.results, func(c measure.Cell) bool { return c.Repetition > repetition }) {
		return false, nil // it was decided before, when later ones ran
	}
	if _, wide := widest(p, r.results); len(wide) > 0 {
		return false, nil
	}
	text := fmt.Sprintf("%d repetitions are enough: the 95 %% interval of the median of %s is within ±%.3g %% in every cell; %d planned cells are not needed",
		repetition, p.Until, 100*p.Within, len(r.Plan.Cells)-ran)
	if err := r.Store.Journal(store.Entry{Kind: store.RepetitionsEnough, Repetition: repetition, Reason: text}); err != nil {
		return false, &recordError{err}
	}
	r.planned = ran
	r.emit(event.Message{Level: "info", Text: text})
	return true, nil
}

// notEnough says, after all repetitions, which cells would have needed more.
func (r *runner) notEnough() {
	p := r.Plan.Repeat
	if p == nil {
		return
	}
	reach, wide := widest(p, r.results)
	if len(wide) == 0 {
		return
	}
	text := fmt.Sprintf("%d repetitions are not enough: the 95 %% interval of the median of %s is wider than ±%.3g %% in %s",
		r.Plan.Cells[len(r.Plan.Cells)-1].Repetition, p.Until, 100*p.Within, numbered(wide))
	if math.IsInf(reach, 0) {
		text += ", or not known, where too few repetitions have the number"
	} else {
		text += fmt.Sprintf(", up to ±%.3g %%", 100*reach)
	}
	r.emit(event.Message{Level: "warn", Text: text, Next: "raise at_most or within, or measure longer"})
}

// numbered is "cells 1, 2 and 7", of at most ten by their numbers.
func numbered(cells []int) string {
	const most = 10
	var names []string
	for _, n := range cells[:min(len(cells), most)] {
		names = append(names, strconv.Itoa(n))
	}
	if more := len(cells) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	if len(names) == 1 {
		return "cell " + names[0]
	}
	last := len(names) - 1
	return "cells " + strings.Join(names[:last], ", ") + " and " + names[last]
}

// widest gives the numbers of the cells whose interval is wider than the plan
// allows, in order, and how far the widest of all reaches as a share of its
// median: without bound where too few repetitions have the number.
func widest(p *experiment.Repeat, results []measure.Cell) (reach float64, wide []int) {
	for _, c := range measure.Combinations(results) {
		var samples []float64
		for _, cell := range c.Cells {
			if v, ok := Metrics(cell)[p.Until]; ok {
				samples = append(samples, v)
			}
		}
		share := halfWidth(measure.MedianOf(samples))
		reach = max(reach, share)
		if share > p.Within {
			wide = append(wide, c.Number)
		}
	}
	return reach, wide
}

// halfWidth is how far an interval reaches from its median, on the side where it
// is farther, as a share of the median.
func halfWidth(m *measure.Median) float64 {
	if m == nil || m.Low == nil || m.High == nil {
		return math.Inf(1)
	}
	distance := max(m.Value-*m.Low, *m.High-m.Value)
	if distance == 0 {
		return 0 // also of a median of 0
	}
	return distance / math.Abs(m.Value)
}
