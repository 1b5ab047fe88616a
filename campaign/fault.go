package campaign

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"bela/agents/protocol"
	"bela/event"
	"bela/experiment"
	"bela/measure"
	"bela/nodes"
)

// Faults of a cell: each is begun and healed at its time on the testbed's axis,
// and all are healed before the books are collected.

// faultLimit is how long beginning and healing a fault may take on a node.
const faultLimit = 45 * time.Second

// faultError is a fault that could not be begun, or not be healed, as asked: the
// cell measured something else.
type faultError struct {
	name string
	err  error
}

func (e *faultError) Error() string { return fmt.Sprintf("fault %q: %v", e.name, e.err) }
func (e *faultError) Unwrap() error { return e.err }

// faultRun is a fault of a cell, planned, in force or over.
type faultRun struct {
	experiment.Fault
	parts []faultPart
	over  chan struct{} // closed when it is healed, or never began

	// Testbed times; 0 for what has not happened. They are written before over is
	// closed, under the cell's mutex.
	started, healed int64
	measured        []string
}

// faultPart is what one node does of a fault.
type faultPart struct {
	*member
	spec protocol.FaultSpec
}

// planFaults lays out what each node has to do.
func (c *cellRun) planFaults() error {
	for n, f := range c.cell.Faults {
		run := &faultRun{Fault: f, over: make(chan struct{})}
		base := protocol.FaultSpec{ID: fmt.Sprintf("c%d-f%d", c.wiring.attempt, n+1), For: f.For}
		var err error
		switch f.Kind {
		case experiment.FaultCut, experiment.FaultSlow:
			err = c.networkParts(run, base)
		case experiment.FaultPressure, experiment.FaultDisk:
			for _, node := range f.Nodes {
				spec := base
				if f.Kind == experiment.FaultDisk {
					spec.Disk = &protocol.DiskFault{Leave: f.Leave}
				} else {
					spec.Pressure = &protocol.PressureFault{CPU: f.CPU, Memory: f.Memory}
				}
				run.parts = append(run.parts, faultPart{c.testbed.find(node), spec})
			}
		default:
			c.processParts(run, base)
		}
		if err != nil {
			return &faultError{f.Name, err}
		}
		c.faults = append(c.faults, run)
	}
	return nil
}

func (c *cellRun) processParts(run *faultRun, base protocol.FaultSpec) {
	do := map[experiment.FaultKind]string{
		experiment.FaultKill: protocol.ProcessKill, experiment.FaultPause: protocol.ProcessPause, experiment.FaultRestart: protocol.ProcessStop,
	}[run.Kind]
	for _, i := range run.Instances {
		m := c.testbed.find(i.Node)
		at := slices.IndexFunc(run.parts, func(p faultPart) bool { return p.member == m })
		if at < 0 {
			spec := base
			spec.Process = &protocol.ProcessFault{Do: do}
			at = len(run.parts)
			run.parts = append(run.parts, faultPart{m, spec})
		}
		p := run.parts[at].spec.Process
		p.Instances = append(p.Instances, protocol.ComponentName{Name: i.Component, Instance: i.Instance})
	}
}

// networkParts gives every node on either side those on the other: a node can
// only tell its own packets by the addresses of others.
func (c *cellRun) networkParts(run *faultRun, base protocol.FaultSpec) error {
	peers := make(map[string][]string)
	for _, a := range run.Between[0] {
		for _, b := range run.Between[1] {
			if a == b {
				continue
			}
			if err := c.tellApart(a, b); err != nil {
				return err
			}
			for _, pair := range [][2]string{{a, b}, {b, a}} {
				if address := c.wiring.address(pair[1]); !slices.Contains(peers[pair[0]], address) {
					peers[pair[0]] = append(peers[pair[0]], address)
				}
			}
		}
	}
	for _, node := range run.RootNodes() {
		m, spec := c.testbed.find(node), base
		spec.Network = &protocol.NetworkFault{
			Local: c.wiring.address(node), Peers: peers[node],
			Cut: run.Kind == experiment.FaultCut, Delay: run.Delay, Jitter: run.Jitter, Loss: run.Loss, Rate: run.Rate,
		}
		if m.target.Port > 0 {
			spec.Network.Keep = []int{m.target.Port}
		}
		run.parts = append(run.parts, faultPart{m, spec})
	}
	return nil
}

// tellApart refuses a link whose packets look like all others: on the loopback
// interface only devices and customers send from their node's address.
func (c *cellRun) tellApart(a, b string) error {
	local := func(node string) bool {
		ip := net.ParseIP(c.wiring.address(node))
		return ip != nil && ip.IsLoopback()
	}
	if !local(a) || !local(b) {
		return nil
	}
	for _, m := range c.loaders() {
		if m.name() == a || m.name() == b {
			return nil
		}
	}
	return fmt.Errorf("%s and %s share this machine, and components there do not show from which node they send: use nodes with devices or customers, or real machines", a, b)
}

// checkFaults asks the nodes whether they can do what is planned, before any
// time is spent on the cell.
func (c *cellRun) checkFaults(ctx context.Context) error {
	if err := c.planFaults(); err != nil {
		return err
	}
	for _, f := range c.faults {
		err := nodes.Each(ctx, f.parts, fanOut, func(ctx context.Context, p faultPart) error {
			return p.ask(ctx, faultLimit, protocol.TypeFaultCheck, p.spec, nil)
		})
		if err != nil {
			return &faultError{f.Name, err}
		}
	}
	return nil
}

// scheduleFaults sees to it that each fault begins and ends at its time. What it
// returns ends all of them now, and waits for that.
func (c *cellRun) scheduleFaults(ctx context.Context) (heal func() error) {
	ctx, stop := context.WithCancel(ctx)
	errs := make([]error, len(c.faults))
	var tasks sync.WaitGroup
	for i, f := range c.faults {
		tasks.Go(func() {
			defer close(f.over)
			if err := c.runFault(ctx, f); err != nil {
				errs[i] = &faultError{f.Name, err}
				c.cause(errs[i]) // what is measured from here on is not what was asked for
			}
		})
	}
	return func() error {
		stop()
		tasks.Wait() // each has deadlines of its own
		return errors.Join(errs...)
	}
}

// faultsOver says that no fault is in force or still to come.
func (c *cellRun) faultsOver() bool {
	for _, f := range c.faults {
		select {
		case <-f.over:
		default:
			return false
		}
	}
	return true
}

// runFault is the life of a fault. When ctx ends, one that has not begun does
// not, and one that is in force is healed.
func (c *cellRun) runFault(ctx context.Context, f *faultRun) error {
	if sleep(ctx, time.Duration(c.start+int64(f.Begin(c.cell.Phases))-controllerClock())) != nil {
		return nil
	}
	// Begun or not, it must be ended: ctx does not reach what follows.
	after := context.WithoutCancel(ctx)
	begun, measured, err := c.beginFault(after, f)
	if err == nil {
		c.mu.Lock()
		f.started, f.measured = begun, measured
		c.mu.Unlock()
		c.emit(event.FaultStarted{Fault: c.faultEvent(f, begun, measured), Text: f.Does(), For: f.For.Seconds()})
		if _, ends := f.End(c.cell.Phases); !ends {
			return nil
		}
		_ = sleep(ctx, time.Duration(begun+int64(f.For)-controllerClock()))
	}
	healed, measured, ended := c.endFault(after, f)
	if err != nil || ended != nil {
		return errors.Join(err, ended)
	}
	c.mu.Lock()
	f.healed, f.measured = healed, append(f.measured, measured...)
	c.mu.Unlock()
	c.emit(event.FaultHealed{Fault: c.faultEvent(f, healed, measured), Lasted: float64(healed-begun) / 1e9})
	return nil
}

// beginFault begins a fault on all its nodes side by side.
func (c *cellRun) beginFault(ctx context.Context, f *faultRun) (begun int64, measured []string, err error) {
	answers := make([]protocol.FaultBegun, len(f.parts))
	err = c.eachPart(ctx, f, func(ctx context.Context, i int, p faultPart) error {
		return p.ask(ctx, faultLimit, protocol.TypeFaultBegin, p.spec, &answers[i])
	})
	for i, a := range answers {
		if at := near(a.At); at != 0 && (begun == 0 || at < begun) {
			begun = at
		}
		measured = appendMeasured(measured, f.parts[i], a.Measured)
	}
	if err == nil {
		c.tellEnded(f)
	}
	return begun, measured, err
}

func appendMeasured(all []string, p faultPart, text string) []string {
	if text == "" {
		return all
	}
	return append(all, p.name()+": "+text)
}

func (c *cellRun) eachPart(ctx context.Context, f *faultRun, do func(context.Context, int, faultPart) error) error {
	numbers := make([]int, len(f.parts))
	for i := range numbers {
		numbers[i] = i
	}
	return nodes.Each(ctx, numbers, fanOut, func(ctx context.Context, i int) error { return do(ctx, i, f.parts[i]) })
}

// endFault heals a fault on all its nodes, and starts again what it ended.
func (c *cellRun) endFault(ctx context.Context, f *faultRun) (healed int64, measured []string, err error) {
	answers := make([]protocol.FaultEnded, len(f.parts))
	err = c.eachPart(ctx, f, func(ctx context.Context, i int, p faultPart) error {
		return p.ask(ctx, faultLimit, protocol.TypeFaultEnd, p.spec, &answers[i])
	})
	for i, a := range answers {
		healed = max(healed, near(a.At))
		measured = appendMeasured(measured, f.parts[i], a.Measured)
	}
	if err != nil || !f.endsComponents() {
		return healed, measured, err
	}
	if err := c.startAgain(ctx, f); err != nil {
		return 0, nil, fmt.Errorf("start again: %w", err)
	}
	return controllerClock(), measured, nil
}

// endsComponents says that the fault's components have ended and are not merely
// kept from working.
func (f *faultRun) endsComponents() bool {
	return f.Kind == experiment.FaultKill || f.Kind == experiment.FaultRestart
}

// startAgain starts what a fault ended, in the order of a cell's start, with the
// same specs.
func (c *cellRun) startAgain(ctx context.Context, f *faultRun) error {
	all := slices.DeleteFunc(c.wiring.components(), func(p placed) bool { return !f.hits(p) })
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].spec.Name == all[0].spec.Name {
			n++
		}
		if err := nodes.Each(ctx, all[:n], 0, c.startInstance); err != nil {
			return err
		}
		all = all[n:]
	}
	return nil
}

// hits says whether an instance is among a fault's targets.
func (f *faultRun) hits(p placed) bool {
	return slices.ContainsFunc(f.Instances, func(i experiment.FaultInstance) bool {
		return i.Component == p.spec.Name && i.Instance == p.spec.Instance
	})
}

// tellEnded says which components a fault has ended, and remembers it: what
// they knew of single messages is gone.
func (c *cellRun) tellEnded(f *faultRun) {
	if !f.endsComponents() {
		return
	}
	for _, i := range f.Instances {
		c.mu.Lock()
		if c.killed == nil {
			c.killed = make(map[instanceKey]bool)
		}
		c.killed[instanceKey{i.Component, i.Instance}] = true
		c.mu.Unlock()
		c.emit(event.ComponentState{
			Position: c.cell.Position, Component: i.Component, Instance: i.Instance, Node: i.Node,
			State: "stopped", Detail: fmt.Sprintf("by fault %q", f.Name),
		})
	}
}

func (c *cellRun) faultEvent(f *faultRun, at int64, measured []string) event.Fault {
	e := event.Fault{
		Position: c.cell.Position, Name: f.Name, Does: string(f.Kind), Target: f.Target(),
		At: at, T: float64(at-c.start) / 1e9, Measured: measured,
	}
	for _, p := range f.parts {
		e.Nodes = append(e.Nodes, p.name())
	}
	return e
}

// faultResults are the faults that began, in the order of their start.
func (c *cellRun) faultResults() []measure.Fault {
	var all []measure.Fault
	for _, f := range c.faults {
		if f.started == 0 {
			continue
		}
		r := measure.Fault{
			Name: f.Name, Kind: string(f.Kind), Target: f.Target(), Text: f.Does(),
			Started: float64(f.started-c.start) / 1e9, Measured: f.measured,
		}
		if f.healed != 0 {
			healed := float64(f.healed-c.start) / 1e9
			r.Healed = &healed
		}
		all = append(all, r)
	}
	slices.SortStableFunc(all, func(a, b measure.Fault) int {
		switch {
		case a.Started < b.Started:
			return -1
		case a.Started > b.Started:
			return 1
		}
		return 0
	})
	return all
}

// deadByFault says that a fault ended an instance and it was not started again.
func (c *cellRun) deadByFault(k instanceKey) bool {
	for _, f := range c.faults {
		for _, i := range f.Instances {
			if f.endsComponents() && (instanceKey{i.Component, i.Instance}) == k && f.started != 0 && f.healed == 0 {
				return true
			}
		}
	}
	return false
}
