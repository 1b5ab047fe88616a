package campaign

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"bela/agents/protocol"
	"bela/event"
)

// The steps of a cell from the start of load to its end.

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
		// One probe of each clock a second. One that does not come, because the link
		// is lost or slow, is a gap in what is known of that clock.
		_ = c.each(ctx, c.testbed.members, func(ctx context.Context, m *member) error { return m.glance(ctx) })
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
		case err == nil && pending == 0 && left <= 0 && c.faultsOver():
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
		if err := extentOf(c.cell).status(s, c.cell.Customers.Count); err != nil {
			return 0, 0, 0, m.refuse(err)
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
	defer c.settle(ctx)
	c.books = make(map[string]*protocol.Collected)
	defer c.collectPeers(ctx)
	var mu sync.Mutex
	return c.each(ctx, c.loaders(), func(ctx context.Context, m *member) error {
		if err := m.ask(ctx, askLimit, protocol.TypeStop, nil, nil); err != nil {
			return err
		}
		check := newBookCheck(c.cell, m.name())
		books, err := m.collect(ctx, c.cell.Phases.Collect, check)
		if err != nil {
			return err
		}
		if check.beyond {
			c.emit(event.Message{Level: "warn", Node: m.name(), Position: c.cell.Position, Text: "its customers' books have messages with numbers that no device gives: the node, or a component, makes them up"})
		}
		mu.Lock()
		c.books[m.name()] = books
		mu.Unlock()
		return m.probe(ctx, probesAround)
	})
}

// maxPages bounds the books of one agent: what nobody's memory holds has an end
// as well.
const maxPages = 1024

// collect fetches an agent's books, page by page; limit is for each of them. None
// is kept that check refuses.
func (m *member) collect(ctx context.Context, limit time.Duration, check *bookCheck) (*protocol.Collected, error) {
	books := new(protocol.Collected)
	for range maxPages {
		var page protocol.Collected
		if err := m.askLarge(ctx, limit, check.pageSize(), protocol.TypeCollect, protocol.Collect{From: books.Next}, &page); err != nil {
			return nil, err
		}
		if err := check.page(&page); err != nil {
			return nil, m.refuse(err)
		}
		books.Add(page)
		if books.Next == nil {
			return books, nil
		}
	}
	return nil, fmt.Errorf("node %s: its books have more than %d pages of %d MiB: fewer devices a node, or shorter cells", m.name(), maxPages, protocol.PageSize>>20)
}

// settle waits for the samples of all nodes that are under way, and hands out
// the last seconds of load.
func (c *cellRun) settle(ctx context.Context) {
	err := c.each(ctx, c.testbed.members, func(ctx context.Context, m *member) error {
		err := m.settle(ctx)
		if _, lost := errors.AsType[*lostError](err); lost {
			return nil // that is told already
		}
		return err
	})
	if err != nil {
		c.emit(event.Message{Level: "warn", Position: c.cell.Position, Text: "samples may be missing: " + err.Error()})
	}
	c.mu.Lock()
	rest := c.meter.flush()
	c.mu.Unlock()
	for _, l := range rest {
		c.emit(l)
	}
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
