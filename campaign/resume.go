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

// Earlier is a run that was broken off, as its directory has it.
type Earlier struct {
	Run *store.Reader
	// RetryInvalid runs cells again whose verdict is invalid, beside what the
	// plan allows.
	RetryInvalid bool
	// Views are those of the sinks that are told again how the run began and
	// what stands of it.
	Views []Sink
}

// attempts are what is known of the attempts at a cell before the run went on.
type attempts struct {
	started  int               // as many were begun
	outcomes []measure.Attempt // of those that came to a result
}

// End is how the run ended, where it has come to its end and nothing is left to
// be run; nil otherwise.
func (e *Earlier) End() *Summary {
	end := e.Run.Finished()
	if end == nil || end.Status == nil || len(e.Run.Missing()) > 0 || slices.ContainsFunc(e.Run.Cells, e.again) {
		return nil
	}
	s := &Summary{Status: Status(*end.Status), Reason: end.Reason}
	for _, c := range e.Run.Cells {
		if c.Verdict == measure.Invalid {
			s.Invalid++
		}
	}
	if s.Invalid > 0 {
		s.Reason += "; -retry-invalid runs the invalid cells again"
	}
	return s
}

// again says whether a cell that has a result is run again.
func (e *Earlier) again(c measure.Cell) bool {
	if !e.complete(c) {
		return true
	}
	if c.Verdict != measure.Invalid {
		return false
	}
	return e.RetryInvalid || e.last() == c.Position && max(len(c.Attempts), 1) <= e.Run.Plan.Retry && permanent(c, nil) == ""
}

// last is the position of the cell after whose end the controller ended, before
// it decided whether the cell was to run again; 0 where it ended elsewhere.
func (e *Earlier) last() int {
	for _, entry := range slices.Backward(e.Run.Journal) {
		switch entry.Kind {
		case store.RunResumed:
		case store.CellDone:
			return entry.Position
		case store.CellStarted: // whose result may be whole
			return entry.Position
		default:
			return 0
		}
	}
	return 0
}

// complete says whether a stored result is of the cell's last attempt. It is
// not where the controller ended between the line in the journal that begins
// another attempt and moving the result aside.
func (e *Earlier) complete(c measure.Cell) bool {
	return e.Run.Done(c.Position) || c.Attempt == e.Run.Attempts(c.Position)
}

// beginRun tells that the run begins or goes on, and writes it down.
func (r *runner) beginRun(rec *record) error {
	if r.Earlier == nil {
		r.emit(r.started())
		return r.Store.Journal(store.Entry{Kind: store.RunStarted})
	}
	told, err := r.replay(rec)
	if err != nil {
		return err
	}
	r.load()
	if told.started {
		r.emit(r.goesOn())
	} else {
		r.emit(r.started())
	}
	if err := r.Store.Journal(store.Entry{Kind: store.RunResumed, Reason: "by bela " + r.Environment.BelaVersion}); err != nil {
		return err
	}
	for _, text := range r.Store.Repairs() {
		r.emit(event.Message{Level: "info", Text: "what the controller's end had torn: " + text})
	}
	if err := r.Store.WriteEnvironment(r.resumedOn(nil)); err != nil {
		return err
	}
	return r.adopt(told)
}

// load takes over what stands of the run.
func (r *runner) load() {
	r.earlier = make(map[int]attempts)
	run := r.Earlier.Run
	for _, cell := range r.Plan.Cells {
		n := run.Attempts(cell.Position)
		r.attempts += uint32(n)
		a := attempts{started: n}
		i := slices.IndexFunc(run.Cells, func(c measure.Cell) bool { return c.Position == cell.Position })
		if i < 0 || r.Earlier.again(run.Cells[i]) {
			// What cannot be read of earlier attempts is missing in the list of
			// them, and nowhere else.
			a.outcomes, _ = run.Attempted(cell.Position)
			r.again = append(r.again, cell.Position)
		}
		if i >= 0 {
			r.results = append(r.results, run.Cells[i])
		}
		r.earlier[cell.Position] = a
	}
}

// goesOn is the event of a run that goes on.
func (r *runner) goesOn() event.RunResumed {
	e := event.RunResumed{
		Run: r.Store.Name(), Directory: r.Store.Dir(), StartedAt: r.Earlier.Run.Environment.StartedAt,
		Nodes: r.nodeRefs(), Version: r.Environment.BelaVersion,
	}
	for _, cell := range r.Plan.Cells {
		if r.stands(cell.Position) {
			e.Done++
		} else {
			e.Left++
			e.Expected += cell.Expected
		}
	}
	return e
}

// adopt tells and writes down what the controller's end kept from being told:
// results that are whole, and that the journal or the events do not have.
func (r *runner) adopt(told told) error {
	for _, cell := range r.results {
		if !r.stands(cell.Position) && !r.Earlier.complete(cell) {
			continue
		}
		i := slices.IndexFunc(r.Plan.Cells, func(c experiment.Cell) bool { return c.Position == cell.Position })
		ref := cellRef(r.Plan.Cells[i])
		ref.Attempt = max(cell.Attempt, 1)
		if told.finished[cell.Position] < ref.Attempt {
			r.emit(event.CellFinished{Cell: ref, Result: cell})
		}
		if r.Earlier.Run.Done(cell.Position) {
			continue
		}
		err := r.Store.Journal(store.Entry{
			Kind: store.CellDone, Position: cell.Position, Number: cell.Number, Repetition: cell.Repetition,
			Attempt: ref.Attempt, Verdict: cell.Verdict,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// stands says whether a cell has a result that is not to be replaced.
func (r *runner) stands(position int) bool {
	return !slices.Contains(r.again, position) && slices.ContainsFunc(r.results, func(c measure.Cell) bool { return c.Position == position })
}

// keep takes a cell's result into the run's.
func (r *runner) keep(c measure.Cell) {
	r.drop(c.Position)
	r.results = append(r.results, c)
	place := func(c measure.Cell) int {
		return slices.IndexFunc(r.Plan.Cells, func(p experiment.Cell) bool { return p.Position == c.Position })
	}
	slices.SortStableFunc(r.results, func(a, b measure.Cell) int { return place(a) - place(b) })
}

// drop takes a result out of the run's: another attempt at its cell began.
func (r *runner) drop(position int) {
	r.results = slices.DeleteFunc(r.results, func(c measure.Cell) bool { return c.Position == position })
}

// salvage fetches what the attempt that was broken off left on nodes that
// outlived it: its components' logs go where its directory is set aside. What
// is lost of them costs nothing else.
func (r *runner) salvage(ctx context.Context) error {
	if r.Earlier == nil {
		return nil
	}
	for _, cell := range r.Plan.Cells {
		if r.stands(cell.Position) || r.earlier[cell.Position].started == 0 {
			continue
		}
		c := &cellRun{runner: r, cell: cell}
		limited, cancel := context.WithTimeoutCause(ctx, stopLimit, fmt.Errorf("fetching them took longer than %v", stopLimit))
		err := c.each(limited, r.testbed.members, c.fetchLogs)
		cancel()
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		if err != nil {
			r.emit(event.Message{Level: "warn", Position: cell.Position, Text: "logs of the attempt that was broken off are lost: " + err.Error()})
		}
	}
	return nil
}

// resumedOn is the run's environment with what is known of its going on: nodes
// are those that it goes on with, nil before they are known. What changed on
// them is told.
func (r *runner) resumedOn(found []store.NodeEnvironment) store.Environment {
	env := r.Store.Environment()
	last := store.Resumption{
		At: r.Environment.StartedAt, BelaVersion: r.Environment.BelaVersion, Commit: r.Environment.Commit,
		CommandLine: r.Environment.CommandLine, Controller: r.Environment.Controller, Nodes: found,
	}
	if n := len(env.Resumed); n > 0 && env.Resumed[n-1].At.Equal(last.At) {
		env.Resumed = env.Resumed[:n-1]
	}
	env.Resumed = slices.Clone(env.Resumed)
	before := lastNodes(env)
	switch {
	case found == nil:
	case len(before) == 0:
		env.Nodes = found
	default:
		all := changes(before, found)
		if was := env.BelaVersion + " " + env.Commit; was != last.BelaVersion+" "+last.Commit {
			all = append(all, change{fmt.Sprintf("bela was %s and is %s", strings.TrimSpace(was), strings.TrimSpace(last.BelaVersion+" "+last.Commit)), true})
		}
		for _, c := range all {
			last.Changes = append(last.Changes, c.text)
		}
		r.sayChanges(all)
	}
	env.Resumed = append(env.Resumed, last)
	return env
}

// lastNodes are the nodes that the run's latest part was measured on.
func lastNodes(env store.Environment) []store.NodeEnvironment {
	for _, r := range slices.Backward(env.Resumed) {
		if len(r.Nodes) > 0 {
			return r.Nodes
		}
	}
	return env.Nodes
}

// sayChanges tells what changed on the testbed while the run stood still.
func (r *runner) sayChanges(all []change) {
	for _, c := range all {
		if !c.matters {
			r.emit(event.Message{Level: "info", Text: "since the run was broken off: " + c.text})
			continue
		}
		r.emit(event.Message{Level: "warn", Text: "CHANGED since the run was broken off: " + c.text + "; cells before and after may not be comparable",
			Next: "start a new run if what is compared lies on both sides of it"})
	}
}
