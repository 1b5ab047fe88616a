package campaign

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"bela/agents/client"
	"bela/agents/protocol"
	"bela/event"
	"bela/experiment"
	"bela/measure"
	"bela/nodes"
)

// Deadlines and intervals inside a cell.
const (
	cleanLimit  = 45 * time.Second
	stopLimit   = 45 * time.Second
	probeLimit  = 30 * time.Second
	probeEvery  = 500 * time.Millisecond
	statusEvery = 250 * time.Millisecond
	// lead is how long before the start of load the agents are told of it: long
	// enough for one sample of every node in between.
	lead = 1100 * time.Millisecond
)

// cellRun is one attempt at one cell.
type cellRun struct {
	*runner
	cell   experiment.Cell
	ref    event.CellRef
	wiring wiring

	devices   []*member // that run devices, in the order of the shares
	customers []*member

	limits []string // limits that a host could not enforce, in words
	cause  context.CancelCauseFunc

	mu      sync.Mutex
	skipped *skipError // set when an operator gives the cell up
	running bool       // components may not end now
	exits   []string
	// forgiven are ends that a restart policy allows.
	forgiven []string
	meter    *loadMeter
	use      *useMeter
	notes    []string
	gaps     map[string]uint64 // events that are lost, by node
	untimely map[string]bool   // nodes whose samples are of another time
	faults   []*faultRun
	killed   map[instanceKey]bool // by a fault

	start     int64 // testbed time of the start of load; 0 before
	window    window
	startedAt time.Time
	books     map[string]*protocol.Collected
	hops      map[instanceKey][]measure.HopBook
	peers     peerClocks
}

// run takes the cell through its life. The books that could be collected are in
// c when it returns, whatever the error; the nodes are clean of the cell.
func (c *cellRun) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c.mu.Lock()
	c.cause = cancel
	if c.skipped != nil {
		cancel(c.skipped)
	}
	c.mu.Unlock()
	stopWatch := c.watch(ctx)
	defer stopWatch()
	c.warnCapacity()

	err := c.phase(ctx, event.PhaseClean, cleanLimit, c.clean)
	if err != nil {
		return err
	}
	err = c.load(ctx)
	// From here on, what was begun is ended, under deadlines of its own and
	// even when ctx has ended; the first error is the one that counts.
	after := context.WithoutCancel(ctx)
	if c.start != 0 {
		err = first(err, c.phase(after, event.PhaseCollect, c.cell.Phases.Collect, c.collect))
	}
	c.setRunning(false)
	return first(err, c.phase(after, event.PhaseStop, stopLimit, c.stop))
}

// load is the part of a cell's life that an error or an interrupt cuts short.
func (c *cellRun) load(ctx context.Context) error {
	if err := c.checkFaults(ctx); err != nil {
		return err
	}
	if err := c.phase(ctx, event.PhaseStart, c.startLimit(), c.startComponents); err != nil {
		return err
	}
	c.setRunning(true)
	if err := c.phase(ctx, event.PhaseConnect, c.connectLimit()+askLimit, c.connect); err != nil {
		return err
	}
	if err := c.phase(ctx, event.PhaseProbe, probeLimit, c.probeChain); err != nil {
		return err
	}
	if err := c.begin(ctx); err != nil {
		return err
	}
	heal := c.scheduleFaults(ctx)
	// Before anything is collected, and whatever happened.
	return first(c.underLoad(ctx), heal())
}

// underLoad is the part of a cell in which messages are under way.
func (c *cellRun) underLoad(ctx context.Context) error {
	if err := c.until(ctx, event.PhaseWarmup, c.window.from-c.start, c.window.from); err != nil {
		return err
	}
	if err := c.until(ctx, event.PhaseMeasure, c.window.to-c.window.from, c.window.to); err != nil {
		return err
	}
	return c.phase(ctx, event.PhaseDrain, c.cell.Phases.Drain, c.drain)
}

// first keeps the error that came first and drops what followed from it.
func first(err, next error) error {
	if err != nil {
		return err
	}
	return next
}

// phase announces a step and runs it under its deadline.
func (c *cellRun) phase(ctx context.Context, p event.Phase, limit time.Duration, do func(context.Context) error) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	c.emit(event.PhaseStarted{Position: c.cell.Position, Phase: p, Limit: limit})
	// While a node is out of reach, the deadline stands still.
	ctx, cancel := client.Limit(ctx, limit, c.testbed.absence.sum, &limitError{p, limit})
	defer cancel()
	if err := do(ctx); err != nil {
		return fmt.Errorf("%s: %w", p, err)
	}
	return nil
}

// limitError is a phase that used up its time.
type limitError struct {
	phase event.Phase
	limit time.Duration
}

func (e *limitError) Error() string {
	return fmt.Sprintf("%s took longer than its limit of %v", e.phase, e.limit)
}

// watch ends the cell when a node's agent is lost.
func (c *cellRun) watch(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	for _, m := range c.testbed.members {
		tasks.Go(func() {
			link := m.link()
			if link == nil {
				return
			}
			select {
			case <-ctx.Done():
			case <-link.Done():
				lost := m.lostBy(link)
				c.emit(event.NodeState{Node: m.name(), State: lost.state, Detail: lost.err.Error()})
				c.cause(lost)
			}
		})
	}
	return func() {
		cancel()
		tasks.Wait()
	}
}

// waiting says for whom the phase waits; for nobody when the wait is over.
func (c *cellRun) waiting(p event.Phase, whom ...string) {
	c.emit(event.Waiting{Position: c.cell.Position, Phase: p, For: whom})
}

// waitingFor says it once the wait has lasted for a second, and what it returns
// says that it is over if it was said.
func (c *cellRun) waitingFor(p event.Phase, whom ...string) (over func()) {
	timer := time.AfterFunc(time.Second, func() { c.waiting(p, whom...) })
	return func() {
		if !timer.Stop() {
			c.waiting(p)
		}
	}
}

// fanOut is how many customers should get each message.
func (c *cellRun) fanOut() int { return len(owners(c.cell, 0)) }

// loaders are the members with devices or customers, each once.
func (c *cellRun) loaders() []*member {
	all := slices.Clone(c.devices)
	for _, m := range c.customers {
		if !slices.Contains(all, m) {
			all = append(all, m)
		}
	}
	return all
}

// each works on members side by side.
func (c *cellRun) each(ctx context.Context, members []*member, do func(context.Context, *member) error) error {
	return nodes.Each(ctx, members, fanOut, do)
}

func (c *cellRun) setRunning(yes bool) {
	c.mu.Lock()
	c.running = yes
	c.mu.Unlock()
}

// takeSample feeds a node's second into the cell's meters.
func (c *cellRun) takeSample(node string, rates event.NodeSample, raw protocol.Sample) (t int, loads []event.Load) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.use == nil {
		return -1, nil
	}
	c.use.add(rates, raw)
	return int((raw.At - c.start) / int64(time.Second)), c.meter.add(node, raw)
}

// takeExit notes a component that ended by itself.
func (c *cellRun) takeExit(e protocol.ComponentEvent, node string) {
	c.mu.Lock()
	running := c.running
	if running {
		text := fmt.Sprintf("%s-%d on %s: %s", e.Name, e.Instance, node, e.Detail)
		switch {
		case e.State != "exited":
			c.notes = noted(c.notes, fmt.Sprintf("%s-%d on %s was started again by its policy: %s", e.Name, e.Instance, node, e.Detail))
		case e.Again:
			c.forgiven = noted(c.forgiven, text)
		default:
			c.exits = noted(c.exits, text)
		}
	}
	c.mu.Unlock()
	if running || e.State != "exited" {
		c.emit(event.ComponentState{Position: c.cell.Position, Component: e.Name, Instance: e.Instance, Node: node, State: e.State, Detail: e.Detail, Log: e.Log})
	}
}

// sleep waits for d or until ctx ends, and then says why it ended.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// dimensions are a cell's coordinates as results carry them.
func dimensions(cell experiment.Cell) []measure.Dimension {
	var all []measure.Dimension
	for _, v := range cell.Values {
		all = append(all, measure.Dimension{Name: v.Name, Value: v.Value})
	}
	return all
}
