package campaign

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"bela/agents/client"
	"bela/agents/protocol"
	"bela/event"
	"bela/measure"
	"bela/store"
)

// epoch anchors the controller's clock once: it is the testbed's time axis, and
// nothing that sets the machine's clock moves it while a run goes on.
var epoch = time.Now()

// controllerClock is the controller's time in nanoseconds since the Unix epoch.
func controllerClock() int64 { return epoch.UnixNano() + int64(time.Since(epoch)) }

// How often an agent's clock is read.
const (
	probesAround  = 24 // before and after a cell, in quick succession
	probeInterval = time.Second
	probesKept    = 4096
)

// clockKeeper holds what is known of one agent's clock.
type clockKeeper struct {
	mu      sync.Mutex
	samples []measure.ProbeSample
	applied protocol.Clock
}

// probe reads the agent's clock n times, after a lost link has come back.
func (m *member) probe(ctx context.Context, n int) error {
	c := m.link()
	if c == nil {
		return &lostError{node: m.name(), state: event.NodeLost, err: errors.New("its agent is not connected")}
	}
	for n > 0 {
		err := m.ping(ctx, c, askLimit)
		if errors.Is(err, client.ErrAway) {
			err = c.Await(ctx)
		} else {
			n--
		}
		switch {
		case c.Err() != nil:
			return m.lostBy(c)
		case err != nil:
			return fmt.Errorf("node %s: clock: %w", m.name(), err)
		}
	}
	return nil
}

// glance reads the agent's clock once, if it answers soon.
func (m *member) glance(ctx context.Context) error {
	c := m.link()
	if c == nil {
		return nil
	}
	return m.ping(ctx, c, 2*probeInterval)
}

func (m *member) ping(ctx context.Context, c *client.Client, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	s, err := c.Ping(ctx)
	if err == nil {
		m.clock.add(s)
	}
	return err
}

// add keeps a sample. When there is no room, the older half is thinned out: a
// cell that lasts for hours needs its beginning as much as its end.
func (k *clockKeeper) add(s measure.ProbeSample) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.samples) >= probesKept {
		k.samples = thinned(k.samples)
	}
	k.samples = append(k.samples, s)
}

// thinned keeps, of each two neighbours in the older half, the one with the
// smaller round trip, which says more.
func thinned(samples []measure.ProbeSample) []measure.ProbeSample {
	half := len(samples) / 2 &^ 1
	kept := samples[:0]
	for i := 0; i < half; i += 2 {
		a, b := samples[i], samples[i+1]
		if b.RoundTrip() > 0 && b.RoundTrip() < a.RoundTrip() {
			a = b
		}
		kept = append(kept, a)
	}
	return append(kept, samples[half:]...)
}

func (k *clockKeeper) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.samples = nil
}

// fit is the clock as all samples so far show it.
func (k *clockKeeper) fit() (measure.ClockFit, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return measure.FitClock(k.samples)
}

// apply tells the agent the testbed's time axis; it holds until the next cell.
func (m *member) apply(ctx context.Context) error {
	fit, err := m.clock.fit()
	if err != nil {
		return fmt.Errorf("node %s: %w", m.name(), err)
	}
	clock := axisOf(fit)
	m.clock.mu.Lock()
	m.clock.applied = clock
	m.clock.mu.Unlock()
	return m.ask(ctx, askLimit, protocol.TypeClock, clock, nil)
}

// axisOf is the time axis that a fit makes for an agent.
func axisOf(fit measure.ClockFit) protocol.Clock {
	return protocol.Clock{Offset: fit.Offset, Drift: fit.Drift, At: fit.Epoch}
}

// axis corrects the times that one agent took in a cell, with all that is known
// of its clock after the cell.
type axis struct {
	fit     measure.ClockFit
	applied protocol.Clock
}

// axis is the agent's, and what a cell keeps of it. Without a usable probe there
// is no axis, only what is kept.
func (m *member) axis() (a axis, kept store.NodeClock, ok bool) {
	m.clock.mu.Lock()
	defer m.clock.mu.Unlock()
	k := &m.clock
	fit, err := measure.FitClock(k.samples)
	return axis{fit, k.applied}, store.NodeClock{
		Node:    m.name(),
		Applied: store.Axis{At: k.applied.At, Offset: k.applied.Offset, Drift: k.applied.Drift},
		Fit:     fit,
		Probes:  slices.Clone(k.samples),
	}, err == nil
}

// residual is what must be added to the testbed time t that the agent took to
// have the controller's, and how far that can be off, both in nanoseconds.
func (a axis) residual(t int64) (correction, uncertainty int64) {
	// t = local + Offset + Drift×(local − At), solved for local.
	since := float64(t-a.applied.Offset-a.applied.At) / (1 + a.applied.Drift)
	local := a.applied.At + int64(since)
	offset, uncertainty := a.fit.At(local)
	return local + offset - t, uncertainty
}

// clocks fits every agent's clock with the probes before, during and after, and
// keeps them.
func (r *result) clocks() {
	r.axes = make(map[string]axis)
	loaders := r.loaders()
	for _, m := range r.testbed.members {
		a, kept, ok := m.axis()
		r.out.Clocks = append(r.out.Clocks, kept)
		if !ok || !slices.Contains(loaders, m) {
			continue // a loader's books are missing too, and said so
		}
		r.axes[m.name()] = a
		for _, s := range a.fit.Steps {
			at := s.Before + a.fit.Offset
			if at >= r.start && at <= r.window.to+int64(r.cell.Phases.Drain) {
				r.steps = append(r.steps, fmt.Sprintf("%s by %v", m.name(), time.Duration(-s.By))) // the clock gained what its offset lost
			}
		}
	}
}
