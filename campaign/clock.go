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
	recentProbes  = 60 // one a second while load is on
)

// clockKeeper holds what is known of one agent's clock.
type clockKeeper struct {
	mu      sync.Mutex
	log     *measure.ProbeLog // nil before the first
	applied protocol.Clock
	told    bool    // the agent knows the axis
	recent  []int64 // the last probes' round trips, in nanoseconds
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

// add keeps a sample.
func (k *clockKeeper) add(s measure.ProbeSample) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.log == nil {
		log := measure.NewProbeLog(probesKept)
		k.log = &log
	}
	k.log.Add(s)
	if len(k.recent) >= recentProbes {
		k.recent = slices.Delete(k.recent, 0, 1)
	}
	if trip := s.RoundTrip(); trip > 0 {
		k.recent = append(k.recent, trip)
	}
}

// uncertainty is how far the clock may be off in milliseconds, by the quickest of
// the last probes; nil before the first.
func (k *clockKeeper) uncertainty() *float64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.recent) == 0 {
		return nil
	}
	ms := float64(slices.Min(k.recent)) / 2 / 1e6
	return &ms
}

func (k *clockKeeper) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.log, k.recent, k.told = nil, nil, false
}

// fit is the clock as all samples so far show it.
func (k *clockKeeper) fit() (measure.ClockFit, error) {
	return measure.FitClock(k.samples())
}

// samples are all that is kept, in the order in which they were taken.
func (k *clockKeeper) samples() []measure.ProbeSample {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.log == nil {
		return nil
	}
	return k.log.Samples()
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
	err = m.ask(ctx, askLimit, protocol.TypeClock, clock, nil)
	if err == nil {
		m.clock.mu.Lock()
		m.clock.told = true
		m.clock.mu.Unlock()
	}
	return err
}

// onAxis tells whether the agent's times are the testbed's.
func (k *clockKeeper) onAxis() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.told
}

// axisOf is the time axis that a fit makes for an agent.
func axisOf(fit measure.ClockFit) protocol.Clock {
	return protocol.Clock{Offset: fit.Offset, Drift: fit.Drift, At: fit.Epoch}
}

// known is what a cell keeps of the agent's clock, with all that is known of it
// after the cell. Without a usable probe the fit has no samples.
func (m *member) known() measure.NodeClock {
	samples := m.clock.samples()
	fit, _ := measure.FitClock(samples)
	m.clock.mu.Lock()
	defer m.clock.mu.Unlock()
	a := m.clock.applied
	return measure.NodeClock{
		Node:    m.name(),
		Applied: measure.TimeAxis{At: a.At, Offset: a.Offset, Drift: a.Drift},
		Fit:     fit,
		Probes:  samples,
	}
}

// clocks fits every agent's clock with the probes before, during and after,
// against the controller's and against each other, and keeps them.
func (r *result) clocks() {
	for _, m := range r.testbed.members {
		r.out.Clocks = append(r.out.Clocks, m.known())
	}
	r.out.ClockPairs = r.peers.pairs()
	r.correction = measure.NewCorrection(r.out.Clocks, r.out.ClockPairs)
	loaders := r.loaders()
	var found []clockStep
	for i, m := range r.testbed.members {
		if fit := r.out.Clocks[i].Fit; slices.Contains(loaders, m) {
			for _, s := range fit.Steps {
				found = append(found, clockStep{who: m.name(), nodes: []string{m.name()}, at: s.Before + fit.Offset, by: -s.By}) // the clock gained what its offset lost
			}
		}
	}
	for _, s := range pairSteps(r.out.ClockPairs, r.out.Clocks) {
		if !slices.ContainsFunc(found, s.explainedBy) {
			found = append(found, s)
		}
	}
	for _, s := range found {
		if s.at >= r.start && s.at <= r.window.to+int64(r.cell.Phases.Drain) {
			r.steps = append(r.steps, fmt.Sprintf("%s by %v", s.who, time.Duration(s.by)))
		}
	}
}
