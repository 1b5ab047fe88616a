package campaign

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

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
	running bool // components may not end now
	exits   []string
	meter   *loadMeter
	use     *useMeter

	start     int64 // testbed time of the start of load; 0 before
	window    window
	startedAt time.Time
	books     map[string]*protocol.Collected
	hops      map[instanceKey][]measure.HopBook
}

// run takes the cell through its life. The books that could be collected are in
// c when it returns, whatever the error; the nodes are clean of the cell.
func (c *cellRun) run(ctx context.Context) error {
	ctx, c.cause = context.WithCancelCause(ctx)
	defer c.cause(nil)
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
	ctx, cancel := context.WithTimeoutCause(ctx, limit, &limitError{p, limit})
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
				err := &lostError{m.name(), link.Err()}
				c.emit(event.NodeState{Node: m.name(), State: "lost", Detail: link.Err().Error()})
				c.cause(err)
			}
		})
	}
	return func() {
		cancel()
		tasks.Wait()
	}
}

// clean ends what an earlier cell may have left on the agents.
func (c *cellRun) clean(ctx context.Context) error {
	return c.each(ctx, c.testbed.members, func(ctx context.Context, m *member) error {
		return m.ask(ctx, cleanLimit, protocol.TypeReset, nil, nil)
	})
}

// startLimit allows each component its time, since they start one after another.
func (c *cellRun) startLimit() time.Duration {
	return time.Duration(len(c.cell.Components)) * (c.cell.Phases.Ready + 5*time.Second)
}

// startComponents starts the components in their order; the instances of one
// start side by side.
func (c *cellRun) startComponents(ctx context.Context) error {
	all := c.wiring.components()
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].spec.Name == all[0].spec.Name {
			n++
		}
		var names []string
		for _, p := range all[:n] {
			names = append(names, fmt.Sprintf("%s-%d on %s", p.spec.Name, p.spec.Instance, p.node))
		}
		over := c.waitingFor(event.PhaseStart, names...)
		err := nodes.Each(ctx, all[:n], 0, c.startInstance)
		over()
		if err != nil {
			return err
		}
		all = all[n:]
	}
	return nil
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

func (c *cellRun) startInstance(ctx context.Context, p placed) error {
	state := event.ComponentState{Position: c.cell.Position, Component: p.spec.Name, Instance: p.spec.Instance, Node: p.node, State: "starting"}
	c.emit(state)
	var started protocol.ComponentStarted
	m := c.testbed.find(p.node)
	if err := m.ask(ctx, p.spec.ReadyTimeout+askLimit, protocol.TypeStartComponent, p.spec, &started); err != nil {
		state.State, state.Detail = "exited", err.Error()
		if e, ok := errors.AsType[*protocol.Error](err); ok {
			state.Log = e.Log
		}
		c.emit(state)
		return fmt.Errorf("component %s-%d: %w", p.spec.Name, p.spec.Instance, err)
	}
	state.State, state.Detail = "ready", fmt.Sprintf("pid %d", started.PID)
	c.emit(state)
	if limited := p.spec.LimitCPU > 0 || p.spec.LimitMemory > 0; limited && !started.LimitsEnforced {
		c.mu.Lock()
		c.limits = append(c.limits, fmt.Sprintf("%s-%d on %s: %s", p.spec.Name, p.spec.Instance, p.node, started.LimitsReason))
		c.mu.Unlock()
	}
	return nil
}

// probeChain sends single messages through the whole chain, from each node with
// devices, until one arrives: from then on a message that is missing was
// dropped, and a node that cannot reach the broker shows by name.
func (c *cellRun) probeChain(ctx context.Context) error {
	return c.each(ctx, c.devices, c.probeFrom)
}

// probeFrom sends probes from one node until a customer has one.
func (c *cellRun) probeFrom(ctx context.Context, m *member) error {
	base := uint32(slices.Index(c.devices, m)+1) << 16
	defer c.waitingFor(event.PhaseProbe, fmt.Sprintf("a message from %s to reach a customer", m.name()))()
	for n := uint32(1); ; n++ {
		err := m.ask(ctx, askLimit, protocol.TypeProbe, protocol.Probe{ID: base + n}, nil)
		if err != nil {
			return err
		}
		if arrived, err := c.probeArrived(ctx, base); err != nil || arrived {
			return err
		}
		if err := sleep(ctx, probeEvery); err != nil {
			return fmt.Errorf("no message from node %s reached a customer after %d tries (%w): see the components' logs in %s",
				m.name(), n, err, filepath.Join(c.store.Dir(), "cells", cellName(c.cell), "logs"))
		}
	}
}

func (c *cellRun) probeArrived(ctx context.Context, base uint32) (bool, error) {
	// The first look comes soon: a message needs milliseconds.
	for _, wait := range []time.Duration{5 * time.Millisecond, 50 * time.Millisecond, 200 * time.Millisecond} {
		if err := sleep(ctx, wait); err != nil {
			return false, nil // the caller says what was waited for
		}
		for _, m := range c.customers {
			var s protocol.LoadStatus
			if err := m.ask(ctx, askLimit, protocol.TypeStatus, nil, &s); err != nil {
				return false, err
			}
			if slices.ContainsFunc(s.Probes, func(id uint32) bool { return id>>16 == base>>16 }) {
				return true, nil
			}
		}
	}
	return false, nil
}

// connectLimit is how long connecting may take, the ramp included.
func (c *cellRun) connectLimit() time.Duration {
	return c.cell.Phases.Connect + c.cell.Devices.Ramp
}

// connect connects the customers, then all devices, spread over the ramp, and
// says who is missing.
func (c *cellRun) connect(ctx context.Context) error {
	customers, devices := c.wiring.customers(), c.wiring.devices()
	connect := func(ctx context.Context, m *member) error {
		limit := c.connectLimit()
		return m.ask(ctx, limit+askLimit, protocol.TypeConnect, protocol.Connect{Timeout: limit}, nil)
	}
	err := c.each(ctx, c.customers, func(ctx context.Context, m *member) error {
		if err := m.ask(ctx, askLimit, protocol.TypePrepareCustomers, customers[m.name()], nil); err != nil {
			return err
		}
		return connect(ctx, m)
	})
	if err != nil {
		return err
	}
	err = c.each(ctx, c.devices, func(ctx context.Context, m *member) error {
		return m.ask(ctx, askLimit, protocol.TypePrepareDevices, devices[m.name()], nil)
	})
	if err != nil {
		return err
	}
	done := make(chan struct{})
	var reporter sync.WaitGroup
	reporter.Go(func() { c.reportMissing(ctx, done) })
	err = c.each(ctx, c.devices, connect)
	close(done)
	reporter.Wait()
	return err
}

// reportMissing tells, each second, which devices are not connected yet.
func (c *cellRun) reportMissing(ctx context.Context, done <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var before string
	for {
		select {
		case <-done:
			if before != "" {
				c.waiting(event.PhaseConnect)
			}
			return
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var waiting []string
		for _, m := range c.devices {
			var s protocol.LoadStatus
			if m.ask(ctx, askLimit, protocol.TypeStatus, nil, &s) == nil && s.Connected < s.Prepared {
				waiting = append(waiting, fmt.Sprintf("%s: %d of %d devices", m.name(), s.Prepared-s.Connected, s.Prepared))
			}
		}
		if now := strings.Join(waiting, ", "); now != before {
			before = now
			c.waiting(event.PhaseConnect, waiting...)
		}
	}
}

// begin reads the clocks, fixes the time axis and tells every agent when load
// starts. It is the barrier: all must have agreed before the start.
func (c *cellRun) begin(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, askLimit, fmt.Errorf("agreeing on the start took longer than %v", askLimit))
	defer cancel()
	err := c.each(ctx, c.testbed.members, func(ctx context.Context, m *member) error {
		if err := m.probe(ctx, probesAround); err != nil {
			return err
		}
		return m.apply(ctx)
	})
	if err != nil {
		return err
	}
	start := controllerClock() + int64(lead)
	start += int64(time.Second) - start%int64(time.Second) // so that seconds of load are seconds of samples
	warmup := wholeSeconds(c.cell.Phases.Warmup)
	w := window{from: start + int64(warmup), to: start + int64(warmup+c.cell.Phases.Measure)}

	c.mu.Lock()
	c.start, c.window = start, w
	c.startedAt = time.Unix(0, w.from).UTC()
	c.meter = newLoadMeter(c.cell.Position, len(c.loaders()), c.fanOut(), start, warmup, c.cell.Phases.Measure)
	c.use = newUseMeter(w)
	c.mu.Unlock()

	order := protocol.Start{At: start, Warmup: warmup, Measure: c.cell.Phases.Measure}
	return c.each(ctx, c.loaders(), func(ctx context.Context, m *member) error {
		return m.ask(ctx, askLimit, protocol.TypeStart, order, nil)
	})
}

// wholeSeconds rounds up, so that warm-up and measurement meet between two
// seconds of the series.
func wholeSeconds(d time.Duration) time.Duration {
	return (d + time.Second - 1).Truncate(time.Second)
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

// until waits for a point in testbed time while it keeps an eye on the clocks.
func (c *cellRun) until(ctx context.Context, p event.Phase, length, at int64) error {
	c.emit(event.PhaseStarted{Position: c.cell.Position, Phase: p, Limit: time.Duration(length), Fixed: true})
	for {
		left := time.Duration(at - controllerClock())
		if left <= 0 {
			return nil
		}
		if err := sleep(ctx, min(left, probeInterval)); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		// One probe of each clock a second; it also renews the agents' lease.
		err := c.each(ctx, c.testbed.members, func(ctx context.Context, m *member) error { return m.probe(ctx, 1) })
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
}

// drain waits until everything published has been delivered, or the limit.
func (c *cellRun) drain(ctx context.Context) error {
	began := time.Now()
	said := began
	for {
		published, pending, delivered, err := c.totals(ctx)
		left := published*int64(c.fanOut()) - delivered
		switch {
		case err != nil && context.Cause(ctx) == nil:
			return err
		case err == nil && pending == 0 && left <= 0:
			if said != began {
				c.waiting(event.PhaseDrain)
			}
			return nil
		case err == nil && time.Since(said) > time.Second:
			said = time.Now()
			c.waiting(event.PhaseDrain, fmt.Sprintf("%d deliveries", max(left, 0)), fmt.Sprintf("%d acknowledgements", pending))
		}
		err = sleep(ctx, statusEvery)
		if _, limit := errors.AsType[*limitError](err); limit {
			return nil // what has not come by now was dropped
		}
		if err != nil {
			return err
		}
	}
}

// totals asks for the measured messages' counts.
func (c *cellRun) totals(ctx context.Context) (published, pending, delivered int64, err error) {
	for _, m := range c.loaders() {
		var s protocol.LoadStatus
		if err := m.ask(ctx, askLimit, protocol.TypeStatus, nil, &s); err != nil {
			return 0, 0, 0, err
		}
		published += s.Published
		pending += s.Pending
		delivered += s.Delivered
	}
	return published, pending, delivered, nil
}

// collect stops the load and fetches the books, and reads the clocks once more.
func (c *cellRun) collect(ctx context.Context) error {
	c.collectHops(ctx)
	c.books = make(map[string]*protocol.Collected)
	var mu sync.Mutex
	return c.each(ctx, c.loaders(), func(ctx context.Context, m *member) error {
		if err := m.ask(ctx, askLimit, protocol.TypeStop, nil, nil); err != nil {
			return err
		}
		books := new(protocol.Collected)
		if err := m.ask(ctx, c.cell.Phases.Collect, protocol.TypeCollect, nil, books); err != nil {
			return err
		}
		mu.Lock()
		c.books[m.name()] = books
		mu.Unlock()
		return m.probe(ctx, probesAround)
	})
}

// stop ends load and components in reverse order of their start and fetches
// their logs.
func (c *cellRun) stop(ctx context.Context) error {
	all := c.wiring.components()
	slices.Reverse(all)
	var errs []error
	for _, p := range all {
		m := c.testbed.find(p.node)
		err := m.ask(ctx, p.spec.StopTimeout+askLimit, protocol.TypeStopComponent, protocol.ComponentStop{Name: p.spec.Name, Instance: p.spec.Instance}, nil)
		if err == nil {
			c.emit(event.ComponentState{Position: c.cell.Position, Component: p.spec.Name, Instance: p.spec.Instance, Node: p.node, State: "stopped"})
		}
		errs = append(errs, err)
	}
	errs = append(errs, c.each(ctx, c.testbed.members, func(ctx context.Context, m *member) error {
		return errors.Join(m.ask(ctx, stopLimit, protocol.TypeReset, nil, nil), c.fetchLogs(ctx, m))
	}))
	return errors.Join(errs...)
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
		c.exits = append(c.exits, fmt.Sprintf("%s-%d on %s: %s", e.Name, e.Instance, node, e.Detail))
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
