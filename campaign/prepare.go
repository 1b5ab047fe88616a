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

	"bela/agents/client"
	"bela/agents/protocol"
	"bela/event"
	"bela/nodes"
)

// The steps of a cell up to the start of load.

// clean ends what an earlier cell may have left on the agents.
func (c *cellRun) clean(ctx context.Context) error {
	return c.each(ctx, c.testbed.members, func(ctx context.Context, m *member) error {
		return m.ask(ctx, cleanLimit, protocol.TypeReset, nil, nil)
	})
}

// startLimit allows each component its time, since they start one after another.
func (c *cellRun) startLimit() time.Duration {
	limit := time.Duration(len(c.cell.Components)) * (c.cell.Phases.Ready + 5*time.Second)
	for _, of := range c.cell.Components {
		limit += provideLimit(of) * time.Duration(len(of.Instances))
		for _, i := range of.Instances {
			if _, sure := c.testbed.find(i.Node).provisions.platformPath(); of.BuiltIn() && !sure {
				limit += platformLimit
			}
		}
	}
	return limit
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

func (c *cellRun) startInstance(ctx context.Context, p placed) error {
	state := event.ComponentState{Position: c.cell.Position, Component: p.spec.Name, Instance: p.spec.Instance, Node: p.node, State: "starting"}
	c.emit(state)
	var started protocol.ComponentStarted
	m := c.testbed.find(p.node)
	err := p.err
	if err == nil {
		err = c.provide(ctx, m, p.of)
	}
	if err == nil && p.of.BuiltIn() {
		p.spec.Executable, err = c.platform(ctx, m)
	}
	if err == nil {
		err = m.ask(ctx, p.spec.ReadyTimeout+askLimit, protocol.TypeStartComponent, p.spec, &started)
	}
	if err != nil {
		if p.of.BuiltIn() {
			m.provisions.doubtPlatform()
		}
		state.State, state.Detail = "exited", err.Error()
		if e, ok := errors.AsType[*protocol.Error](err); ok {
			state.Log = e.Log
		}
		c.emit(state)
		return fmt.Errorf("component %s-%d on %s: %w%s", p.spec.Name, p.spec.Instance, p.node, err, lastLines(state.Log))
	}
	state.State, state.Detail = "ready", fmt.Sprintf("pid %d", started.PID)
	if started.LimitsBy != "" {
		state.Detail += ", limits by " + started.LimitsBy
	}
	c.emit(state)
	if limited := p.spec.LimitCPU > 0 || p.spec.LimitMemory > 0; limited && !started.LimitsEnforced {
		text := fmt.Sprintf("%s-%d on %s: %s", p.spec.Name, p.spec.Instance, p.node, started.LimitsReason)
		c.mu.Lock()
		if !slices.Contains(c.limits, text) { // one that a fault ended is started again
			c.limits = append(c.limits, text)
		}
		c.mu.Unlock()
	}
	return nil
}

// probeChain sends single messages through the whole chain, from each node with
// devices, until one arrives: from then on a message that is missing was
// dropped, and a node that cannot reach the broker shows by name. Then the nodes
// begin to read each other's clocks.
func (c *cellRun) probeChain(ctx context.Context) error {
	if err := c.each(ctx, c.devices, c.probeFrom); err != nil {
		return err
	}
	c.watchPeers(ctx)
	return nil
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
				m.name(), n, err, filepath.Join(c.Store.Dir(), "cells", cellName(c.cell), "logs"))
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
	ctx, cancel := client.Limit(ctx, askLimit, c.testbed.absence.sum, fmt.Errorf("agreeing on the start took longer than %v", askLimit))
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
	if len(c.faults) > 0 {
		c.meter.quiet = make(map[int64]*quietSecond)
	}
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
