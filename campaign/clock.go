package campaign

import (
	"context"
	"fmt"
	"sync"
	"time"

	"bela/agents/protocol"
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
)

// clockKeeper holds what is known of one agent's clock.
type clockKeeper struct {
	mu      sync.Mutex
	samples []measure.ProbeSample
	applied protocol.Clock
}

// probe reads the agent's clock n times.
func (m *member) probe(ctx context.Context, n int) error {
	c := m.link()
	if c == nil {
		return &lostError{m.name(), fmt.Errorf("its agent is not connected")}
	}
	for range n {
		ctx, cancel := context.WithTimeout(ctx, askLimit)
		s, err := c.Ping(ctx)
		cancel()
		if err != nil {
			return fmt.Errorf("node %s: clock: %w", m.name(), err)
		}
		m.clock.add(s)
	}
	return nil
}

func (k *clockKeeper) add(s measure.ProbeSample) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.samples) >= probesKept {
		k.samples = append(k.samples[:0], k.samples[probesKept/4:]...)
	}
	k.samples = append(k.samples, s)
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
	clock := protocol.Clock{Offset: fit.Offset, Drift: fit.Drift, At: fit.Epoch}
	m.clock.mu.Lock()
	m.clock.applied = clock
	m.clock.mu.Unlock()
	return m.ask(ctx, askLimit, protocol.TypeClock, clock, nil)
}

// axis corrects the times that one agent took in a cell, with all that is known
// of its clock after the cell.
type axis struct {
	fit     measure.ClockFit
	applied protocol.Clock
}

func (m *member) axis() (axis, error) {
	fit, err := m.clock.fit()
	if err != nil {
		return axis{}, fmt.Errorf("node %s: %w", m.name(), err)
	}
	m.clock.mu.Lock()
	defer m.clock.mu.Unlock()
	return axis{fit, m.clock.applied}, nil
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
