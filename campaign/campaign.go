package campaign

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"bela/agents/protocol"
	"bela/event"
	"bela/experiment"
	"bela/influx"
	"bela/measure"
	"bela/nodes"
	"bela/provision"
	"bela/store"
)

// Status is how a run ended; it is also bela's exit status.
type Status int

// The statuses of the contract that a run can end with.
const (
	Done        Status = 0   // all cells are there and fit to use, all expectations held
	Unmet       Status = 1   // an expectation failed
	Unreachable Status = 3   // a node could not be reached or used
	Incomplete  Status = 4   // cells are missing or invalid, or an expectation was not decided
	Internal    Status = 5   // bela itself failed
	Interrupted Status = 130 // the user stopped it
)

// ErrInterrupted is the cause to cancel a run's context with when the user
// stops it.
var ErrInterrupted = errors.New("interrupted")

// Config is everything that a run needs; nothing is taken from elsewhere.
type Config struct {
	Plan *experiment.Plan
	// Expect evaluates the experiment's expectations for a cell.
	Expect func(experiment.Cell, map[string]float64, ...experiment.Measured) ([]experiment.Outcome, error)
	// Targets are the plan's nodes and how to reach them.
	Targets []nodes.Target
	// Spares take the place of nodes of their group that are lost, in order.
	Spares []nodes.Target
	// Lab says, for the record, that the nodes are the loopback lab's.
	Lab bool
	// Programs holds the programs for nodes.
	Programs provision.Source
	Store    *store.Run
	// Environment is what is known of it before the nodes are.
	Environment store.Environment
	// InfluxDB takes the metrics as they come; nil for none. It can neither
	// slow nor fail the run.
	InfluxDB *influx.Config
	Sinks    []Sink
	// Earlier is what the run had done before, where it goes on with Store; nil
	// for a new run.
	Earlier *Earlier
	// KeepAgents leaves the programs on the nodes for the next run.
	KeepAgents bool
	// Control lets whoever watches the run step in; nil for nobody.
	Control *Control
	Now     func() time.Time
}

// Summary is how a run went.
type Summary struct {
	Status                            Status
	Reason                            string
	Valid, Degraded, Invalid, Missing int
	// InfluxDB counts the points that it took and those that it did not.
	InfluxDB influx.Stats
}

// runner is a run in progress.
type runner struct {
	Config
	*stream
	testbed  *testbed
	password string
	attempts uint32
	planned  int // cells to run
	skipped  int // by an operator
	// instances are those of the whole plan.
	instances map[instanceKey]bool

	mu      sync.Mutex
	current *cellRun // nil between cells

	results []measure.Cell // that stand, in running order
	// Of a run that goes on: what is known of earlier attempts, by position, and
	// the positions of the cells that run again though they may have a result.
	earlier map[int]attempts
	again   []int
	changes []store.NodeChange // of the testbed, since this process began
}

// Run carries out the plan. Cancelling ctx stops load and components, collects
// what there is and leaves the nodes clean; the summary then says interrupted.
// The error, if any, says what ended the run before its plan was done.
func Run(ctx context.Context, cfg Config) (Summary, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := &runner{Config: cfg, password: rand.Text(), planned: len(cfg.Plan.Cells), instances: plannedInstances(cfg.Plan)}
	record := newRecord(cfg.Store, cfg.Plan.Experiment)
	r.stream = &stream{now: cfg.Now, journal: record, sinks: cfg.Sinks, failed: func(err error) { cancel(&recordError{err}) }, seq: cfg.Store.LastEvent()}
	r.Control.take(r, cancel)
	defer r.Control.take(nil, nil)
	checked := r.openInflux(ctx, record)
	r.testbed = r.newTestbed()
	err := r.beginRun(record)
	r.startSending(ctx, record)
	if err != nil {
		err = &recordError{err}
	} else {
		err = r.onTestbed(ctx)
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause // what followed from the end is not the reason for it
	}
	summary := r.summarize(err)
	<-checked
	summary.InfluxDB = record.close(context.WithoutCancel(ctx))
	r.emit(event.RunFinished{
		Status: int(summary.Status), Reason: summary.Reason, Directory: r.Store.Dir(),
		Valid: summary.Valid, Degraded: summary.Degraded, Invalid: summary.Invalid, Missing: summary.Missing,
	})
	status := int(summary.Status)
	if jerr := cfg.Store.Journal(store.Entry{Kind: store.RunFinished, Reason: summary.Reason, Status: &status}); err == nil && jerr != nil {
		err = &recordError{jerr}
	}
	return summary, err
}

// onTestbed opens the testbed, runs the cells and releases the testbed again,
// whatever happened.
func (r *runner) onTestbed(ctx context.Context) (err error) {
	defer func() {
		if released := r.testbed.release(context.WithoutCancel(ctx), r.KeepAgents); released != nil && err == nil {
			err = &nodeError{released}
		}
	}()
	if err := r.testbed.open(ctx, r.Programs); err != nil {
		return &nodeError{err}
	}
	r.calibrate(ctx)
	if err := r.recordEnvironment(ctx); err != nil {
		return err
	}
	return r.cells(ctx)
}

// nodeError is a run that ended because of nodes.
type nodeError struct{ err error }

func (e *nodeError) Error() string { return e.err.Error() }
func (e *nodeError) Unwrap() error { return e.err }

// recordError is a run that ended because its results could not be written.
type recordError struct{ err error }

func (e *recordError) Error() string {
	if errors.Is(e.err, syscall.ENOSPC) || errors.Is(e.err, syscall.EDQUOT) {
		return "the disk of the controller is full: cannot record the run: " + e.err.Error() + "; free some space, then go on with `bela resume`"
	}
	return "cannot record the run: " + e.err.Error()
}
func (e *recordError) Unwrap() error { return e.err }

// cells runs what the plan has, one cell after another; a cell is durable
// before the next begins.
func (r *runner) cells(ctx context.Context) error {
	if err := r.salvage(ctx); err != nil {
		return err
	}
	for n, cell := range r.Plan.Cells {
		if n > 0 && r.Plan.Cells[n-1].Repetition != cell.Repetition {
			if enough, err := r.enough(r.Plan.Cells[n-1].Repetition, n); enough || err != nil {
				return err
			}
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if r.stands(cell.Position) {
			continue
		}
		if err := r.runCell(ctx, cell); err != nil {
			return err
		}
	}
	r.notEnough()
	return nil
}

// newCell is an attempt at a cell, from 1.
func (r *runner) newCell(cell experiment.Cell, attempt int) *cellRun {
	r.attempts++
	c := &cellRun{
		runner: r, cell: cell, ref: cellRef(cell),
		wiring: wiring{
			cell: cell, seed: r.Plan.Seed, run: crc32.ChecksumIEEE([]byte(r.Store.Name())), attempt: r.attempts,
			address:  func(node string) string { return r.testbed.find(node).ssh().Address() },
			facts:    func(node string) nodes.Facts { return r.testbed.find(node).facts },
			user:     "bela",
			password: r.password,
		},
	}
	c.ref.Attempt = attempt
	for _, s := range cell.Devices.Shares {
		c.devices = append(c.devices, r.testbed.find(s.Node))
	}
	for _, s := range cell.Customers.Shares {
		c.customers = append(c.customers, r.testbed.find(s.Node))
	}
	return c
}

// entry is a line about the cell in the journal.
func (c *cellRun) entry(kind store.EntryKind) store.Entry {
	return store.Entry{Kind: kind, Position: c.cell.Position, Number: c.cell.Number, Repetition: c.cell.Repetition, Attempt: c.ref.Attempt}
}

func (r *runner) setCurrent(c *cellRun) {
	r.mu.Lock()
	r.current = c
	r.mu.Unlock()
}

// onAgentEvent takes what an agent says of its own accord.
func (r *runner) onAgentEvent(m *member, e protocol.Event) {
	c := r.cellNow()
	if err := r.admit(m, c, &e); err != nil {
		_ = m.refuse(err) // whoever waits for the agent says so
		return
	}
	switch {
	case e.Sample != nil:
		if !r.inTime(m, e.Sample) {
			r.untimely(m, c, e.Sample)
			return
		}
		m.meter.complete(&e.Sample.Host)
		rates, ok := m.meter.add(*e.Sample)
		if !ok {
			return
		}
		rates.T, rates.ClockError = -1, m.clock.uncertainty()
		if m.clock.onAxis() {
			rates.At = lateAt(e.Sample.At)
		}
		var loads []event.Load
		if c != nil {
			rates.Position = c.cell.Position
			rates.T, loads = c.takeSample(m.name(), rates, *e.Sample)
		}
		r.emit(rates)
		for _, l := range loads {
			r.emit(l)
		}
	case e.Component != nil && c != nil:
		c.takeExit(*e.Component, m.name())
	case e.Log != nil:
		r.onDisk(m, *e.Log)
		msg := event.Message{Level: e.Log.Level, Node: m.name(), Text: e.Log.Text}
		if c != nil {
			msg.Position = c.cell.Position
		}
		r.emit(msg)
	}
}

func (r *runner) newTestbed() *testbed {
	t := &testbed{
		source: r.Programs, platform: platformNodes(r.Plan.Cells),
		run: r.Store.Name(), stream: r.stream, lease: r.Plan.SSH.AgentLease(), keep: r.Plan.SSH.AgentKeep(), spares: slices.Clone(r.Spares),
		resumed: r.Earlier != nil,
		onEvent: r.onAgentEvent, onGap: r.onGap, onLink: r.onLink,
	}
	pool := nodes.NewPool()
	for _, target := range r.Targets {
		t.members = append(t.members, &member{target: target, pool: pool, meter: nodeMeter{node: target.Name}})
	}
	return t
}

func (r *runner) started() event.RunStarted {
	e := event.RunStarted{
		Run: r.Store.Name(), Experiment: r.Plan.Experiment, Directory: r.Store.Dir(),
		Dimensions: r.Plan.Dimensions, Lab: r.Lab, Expected: r.Plan.Expected,
	}
	seen := make(map[string]bool)
	for _, cell := range r.Plan.Cells {
		e.Cells = append(e.Cells, cellRef(cell))
		for _, c := range cell.Components {
			if !seen[c.Name] {
				seen[c.Name] = true
				e.Components = append(e.Components, c.Name)
			}
		}
	}
	e.Nodes = r.nodeRefs()
	return e
}

func (r *runner) nodeRefs() []event.NodeRef {
	var all []event.NodeRef
	for _, t := range r.Targets {
		all = append(all, event.NodeRef{Name: t.Name, Role: t.Role, Address: t.Host})
	}
	return all
}

func cellRef(cell experiment.Cell) event.CellRef {
	return event.CellRef{
		Position: cell.Position, Number: cell.Number, Repetition: cell.Repetition, Attempt: 1,
		Dimensions: dimensions(cell), Expected: cell.Expected,
	}
}

// summarize decides how the run ended.
func (r *runner) summarize(err error) Summary {
	s := Summary{Missing: r.planned - len(r.results)}
	var unmet, undecided []string
	for _, c := range r.results {
		switch c.Verdict {
		case measure.Valid:
			s.Valid++
		case measure.Degraded:
			s.Degraded++
		case measure.Invalid:
			s.Invalid++
		}
		for _, o := range c.Outcomes {
			switch where := fmt.Sprintf("%q in cell %d", o.Name, c.Number); experiment.Status(o.State) {
			case experiment.Held:
			case experiment.Failed:
				unmet = append(unmet, where)
			default:
				undecided = append(undecided, where)
			}
		}
	}
	s.Status, s.Reason = Done, "all cells are done"
	_, nodeTrouble := errors.AsType[*nodeError](err)
	switch {
	case errors.Is(err, ErrInterrupted):
		s.Status, s.Reason = Interrupted, "interrupted; finished cells are kept"
	case nodeTrouble:
		// Each node's own trouble has been told; here one stands for all.
		first, more, _ := strings.Cut(err.Error(), "\n")
		if more != "" {
			first += fmt.Sprintf(" (and %d more nodes)", strings.Count(more, "\n")+1)
		}
		s.Status, s.Reason = Unreachable, first
	case err != nil:
		s.Status, s.Reason = Internal, err.Error()
	case s.Missing > 0 || s.Invalid > 0:
		s.Status, s.Reason = Incomplete, fmt.Sprintf("%d cells invalid, %d missing", s.Invalid, s.Missing)
		if r.skipped > 0 {
			s.Reason += fmt.Sprintf(", %d of them skipped by the operator; `bela resume` runs them", r.skipped)
		}
	case len(unmet) > 0:
		s.Status, s.Reason = Unmet, "not held: "+strings.Join(unmet, ", ")
	case len(undecided) > 0:
		s.Status, s.Reason = Incomplete, "not decided, because a number was not taken or a condition cannot be worked out: "+strings.Join(undecided, ", ")
	}
	return s
}
